//! The client of a bucket: credentials, TLS, retries, and a clock that is the server's.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{BeforeDeserializationInterceptorContextRef, InterceptorContext};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, ConfigBag, Credentials, Intercept, ProvideCredentials, Region,
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_s3::error::BoxError;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;
use jiff::Timestamp;

use super::pace;
use super::proxy::Fork;
use super::refusal::chain;
use crate::plan::{Bucket, Keys, Upload};
use crate::secret::{self, Hidden, NotHad};

/// How often a request is sent at most before it counts as failed.
const ATTEMPTS: u32 = 10;

/// How long to wait before a request is sent again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long an attempt may take whose answer is small, until the answer begins.
const ANSWER: Duration = Duration::from_secs(30);

/// Why the store of a bucket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A secret is not where the plan says.
    #[error(transparent)]
    Secret(#[from] NotHad),
    /// The certificates of a CA cannot be used.
    #[error("the certificates in `{}` cannot be used: {cause}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The environment names a proxy that cannot be asked. What it says may hold a password, and is not told.
    #[error("`{variable}` names no proxy that speaks HTTP")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
}

/// Opens a client; `hidden` learns its credentials. Nothing is sent yet, unless the AWS chain asks for them. One that does
/// not insist gives up where nobody listens.
pub(super) async fn open(
    bucket: &Bucket,
    upload: &Upload,
    insists: bool,
    is_by_proxy: bool,
    clock: &ServerClock,
    hidden: &Hidden,
) -> Result<Quiet, OpenError> {
    let http = http_client(bucket, upload, is_by_proxy)?;
    let mut surroundings = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = bucket.region() {
        surroundings = surroundings.region(Region::new(region.to_owned()));
    }
    if let Some(keys) = bucket.credentials() {
        surroundings = surroundings.credentials_provider(credentials(keys, hidden).await?);
    }
    let surroundings = surroundings.load().await;
    if let (None, Some(chain)) = (bucket.credentials(), surroundings.credentials_provider()) {
        // Where there are none, the first request says so.
        hidden.learn(chain.provide_credentials().await.into_iter().flat_map(|found| secrets(&found)));
    }
    let mut settings = Builder::from(&surroundings)
        .force_path_style(bucket.is_path_style())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(FIRST_PAUSE)
                .with_max_backoff(LONGEST_PAUSE),
        )
        .retry_partition(retry_partition())
        .retry_classifier(Hopelessness { insists, clock: clock.clone() })
        .timeout_config(
            TimeoutConfig::builder().connect_timeout(pace::CONNECT).operation_attempt_timeout(ANSWER).build(),
        )
        // What the server must compare is sent as a value with each request: trailers are refused by too many.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .interceptor(clock.clone());
    settings.set_app_name(AppName::new(env!("CARGO_PKG_NAME")).ok());
    if surroundings.region().is_none() {
        settings = settings.region(Region::from_static("us-east-1"));
    }
    if let Some(endpoint) = bucket.endpoint() {
        settings = settings.endpoint_url(endpoint);
    }
    Ok(Quiet(Client::from_conf(settings.build())))
}

/// A client that shows nothing of itself: the SDK's would show the id of the access key.
#[derive(Clone)]
pub(super) struct Quiet(Client);

impl Deref for Quiet {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// Returns a quota of retries of this store's own: on a bad line a bulk upload would use up the SDK's in a moment.
fn retry_partition() -> RetryPartition {
    let quota = TokenBucket::builder().capacity(10_000).refill_rate(100.0).success_reward(5.0).build();
    RetryPartition::custom("hitkeep-plan").token_bucket(quota).build()
}

/// Tells the SDK what will be no better the next time: a certificate that is not to be trusted, TLS where plain HTTP is
/// spoken or the other way round, a proxy that does not know who asks, and, for someone who does not insist, a server that
/// was never there.
#[derive(Debug)]
struct Hopelessness {
    insists: bool,
    clock: ServerClock,
}

impl ClassifyRetry for Hopelessness {
    fn name(&self) -> &'static str {
        "hopelessness"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }

    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        const ABSENT: [&str; 3] = ["Connection refused", "dns error", "tunnel error"];
        const FOR_GOOD: [&str; 4] = [
            "invalid peer certificate",
            "InvalidContentType",
            "invalid HTTP version parsed",
            "proxy authorization required",
        ];
        let error = context.output_or_error().and_then(|outcome| outcome.err()?.as_connector_error());
        let said = error.map(|error| chain(error)).unwrap_or_default();
        let is_one_of = |words: &[&str]| words.iter().any(|words| said.contains(words));
        let is_absent = is_one_of(&ABSENT) || context.response().is_some_and(is_gateways);
        let is_awaited = self.insists || self.clock.was_read();
        if is_one_of(&FOR_GOOD) || (is_absent && !is_awaited) {
            RetryAction::RetryForbidden
        } else {
            RetryAction::NoActionIndicated
        }
    }
}

/// Tells whether an answer is that of a gateway or a proxy which cannot reach the server.
fn is_gateways(answer: &HttpResponse) -> bool {
    matches!(answer.status().as_u16(), 502 | 504)
}

fn http_client(bucket: &Bucket, upload: &Upload, is_by_proxy: bool) -> Result<SharedHttpClient, OpenError> {
    let mut trusted = TrustStore::default();
    if let Some(path) = bucket.ca_bundle() {
        let failed = |cause: String| OpenError::Certificates { path: path.to_owned(), cause };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        if !pem.windows(27).any(|line| line == b"-----BEGIN CERTIFICATE-----") {
            return Err(failed("it holds no certificate in PEM form".to_owned()));
        }
        trusted = trusted.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| OpenError::Certificates {
        path: bucket.ca_bundle().map(Into::into).unwrap_or_default(),
        cause: error.to_string(),
    })?;
    let idle = upload.concurrency * 2;
    if !is_by_proxy {
        let client = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        return Ok(client.tls_context(context).pool_max_idle_per_host(idle).build_https());
    }
    let connector = |proxy| {
        let settings = HttpConnectorSettings::builder().connect_timeout(pace::CONNECT).build();
        let connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
        let connector = connector.tls_context(context.clone()).pool_max_idle_per_host(idle);
        connector.connector_settings(settings).proxy_config(proxy).build()
    };
    let fork = Fork { direct: connector(ProxyConfig::disabled()), by_proxy: connector(ProxyConfig::from_env()) };
    let fork = SharedHttpConnector::new(fork);
    Ok(http_client_fn(move |_, _| fork.clone()))
}

/// Fetches the credentials that a plan refers to, and remembers what must not be told.
async fn credentials(keys: &Keys, hidden: &Hidden) -> Result<Credentials, OpenError> {
    let id = secret::fetch(&keys.access_key_id).await?;
    let secret = secret::fetch(&keys.secret_access_key).await?;
    let token = match &keys.session_token {
        Some(token) => Some(secret::fetch(token).await?),
        None => None,
    };
    let found = Credentials::new(id, secret, token, None, "plan");
    hidden.learn(secrets(&found));
    Ok(found)
}

/// Returns what of credentials must not be told.
fn secrets(found: &Credentials) -> Vec<String> {
    let secrets = [Some(found.access_key_id()), Some(found.secret_access_key()), found.session_token()];
    secrets.into_iter().flatten().map(str::to_owned).collect()
}

/// The server's clock, as far as its answers have told it: leases go by it, whatever the clock of this host says.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerClock {
    /// The seconds that the server is ahead of this host.
    ahead: Arc<AtomicI64>,
    was_read: Arc<AtomicBool>,
}

impl ServerClock {
    /// Returns what time the server has.
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.saturating_add(self.ahead()).unwrap_or(now)
    }

    /// Tells whether the server has answered before.
    fn was_read(&self) -> bool {
        self.was_read.load(Ordering::Relaxed)
    }

    /// Returns how far the server's clock is ahead of this host's.
    pub(super) fn ahead(&self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed))
    }
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "server clock"
    }

    fn read_before_deserialization(
        &self,
        answer: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if is_gateways(answer.response()) {
            return Ok(());
        }
        self.was_read.store(true, Ordering::Relaxed);
        let date = answer.response().headers().get("date").map(jiff::fmt::rfc2822::parse);
        if let Some(Ok(date)) = date {
            self.ahead.store(date.timestamp().as_second() - Timestamp::now().as_second(), Ordering::Relaxed);
        }
        Ok(())
    }
}
