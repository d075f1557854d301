//! How a payload is signed: with a digest that was computed anyway, or not at all.

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::measure::Sha256;

/// What a request's signature says of its payload.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signature {
    /// The payload has this digest. Every server compares it.
    Digest(Sha256),
    /// Nothing: TLS, or a checksum that the server compares, guards the payload.
    Unsigned,
}

impl Intercept for Signature {
    fn name(&self) -> &'static str {
        "payload signature"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        settings.interceptor_state().store_put(match self {
            Self::Digest(sha256) => PayloadSigningOverride::Precomputed(sha256.to_string()),
            Self::Unsigned => PayloadSigningOverride::UnsignedPayload,
        });
        Ok(())
    }
}
