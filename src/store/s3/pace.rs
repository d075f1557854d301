//! How long an attempt may take, and how fast bytes may leave.
//!
//! A peer that accepts bytes and then reads no more never fails by itself, so each attempt has a time limit. How long
//! a part takes is not known beforehand: the limit begins at what a good line needs, grows with every attempt, and
//! follows what was measured, so that a stalled connection costs seconds and a slow line still gets through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::Instant;

/// How long making a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How long an attempt may take that moves next to nothing, and the least that any may take.
const LEAST: Duration = Duration::from_secs(3);

/// What a good line moves in a second on one of several connections, in bytes.
const GOOD_LINE: u64 = 8 << 20;

/// How much longer than the slowest part of late the next may take.
const MARGIN: u32 = 4;

/// By how much the limit grows from attempt to attempt: after nine it is sixty times the first.
const GROWTH: f64 = 1.6;

/// How much is handed out at a time where a bandwidth is set, in bytes.
const SLICE: usize = 16 << 10;

/// What was learnt about the line, and what may leave on it.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    slowest: Arc<AtomicU64>,
    bandwidth: Option<Bandwidth>,
}

impl Pace {
    /// Returns the pace of a line that nothing is known of, on which this many bytes may leave in a second.
    pub(super) fn new(bandwidth: Option<u64>) -> Self {
        let bandwidth = bandwidth.map(|rate| Bandwidth { rate, free_at: Arc::new(Mutex::new(Instant::now())) });
        Self { slowest: Arc::default(), bandwidth }
    }

    /// Returns how patient to be with one request that moves `bytes` while `abreast` others do.
    pub(super) fn patience(&self, bytes: u64, abreast: usize) -> Patience {
        let good = LEAST + Duration::from_millis(bytes * 1000 / GOOD_LINE);
        let of_late = Duration::from_millis(self.slowest.load(Ordering::Relaxed)) * MARGIN;
        let allowed = self.bandwidth.as_ref().map_or(0, |limit| bytes * 1000 * abreast as u64 / limit.rate);
        Patience { first: good.max(of_late) + Duration::from_millis(allowed) * 2, begun: Arc::default() }
    }

    /// Notes how long the attempt took that succeeded: a slower one counts at once, faster ones make it fade.
    pub(super) fn note(&self, patience: &Patience) {
        let Some(begun) = *patience.begun.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let fade = |slowest: u64| Some(took.max(slowest - slowest / 8));
        // The update always succeeds, since `fade` always has a value.
        let _ = self.slowest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fade);
    }

    /// Returns `bytes` as the body of a request, which leaves as fast as it may.
    pub(super) fn body(&self, bytes: Bytes) -> SdkBody {
        let Some(bandwidth) = self.bandwidth.clone() else { return SdkBody::from(bytes) };
        SdkBody::retryable(move || {
            let slices = stream::unfold((bytes.clone(), bandwidth.clone()), |(mut rest, bandwidth)| async move {
                if rest.is_empty() {
                    return None;
                }
                let slice = rest.split_to(rest.len().min(SLICE));
                bandwidth.wait(slice.len() as u64).await;
                Some((Ok::<_, std::io::Error>(Frame::data(slice)), (rest, bandwidth)))
            });
            SdkBody::from_body_1_x(StreamBody::new(slices))
        })
    }
}

/// A rate that all connections together keep to.
#[derive(Clone, Debug)]
struct Bandwidth {
    /// Bytes in a second.
    rate: u64,
    /// When the next byte may leave.
    free_at: Arc<Mutex<Instant>>,
}

impl Bandwidth {
    /// Waits until `bytes` may leave.
    async fn wait(&self, bytes: u64) {
        let turn = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*free_at).max(Instant::now());
            *free_at = turn + Duration::from_micros(bytes * 1_000_000 / self.rate.max(1));
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

/// How patient to be with one request.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    first: Duration,
    /// When the attempt of now has begun.
    begun: Arc<Mutex<Option<Instant>>>,
}

impl Patience {
    /// Returns the limits of the attempt of this number, from 1.
    fn limits(&self, attempt: u32) -> TimeoutConfig {
        let growth = GROWTH.powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX));
        TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(self.first.mul_f64(growth.min(1000.0)))
            .build()
    }
}

impl Intercept for Patience {
    fn name(&self) -> &'static str {
        "patience"
    }

    fn modify_before_retry_loop(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        settings.interceptor_state().store_put(self.limits(1));
        Ok(())
    }

    /// The limit of an attempt is read before this is called: what is set here holds for the next one.
    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let attempt = settings.load::<RequestAttempts>().map_or(1, RequestAttempts::attempts);
        settings.interceptor_state().store_put(self.limits(attempt + 1));
        Ok(())
    }
}
