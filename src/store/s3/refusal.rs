//! What a server's refusal means, and how it is told to a person without the secrets it may quote.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::secret::Hidden;
use crate::store::StoreError;

/// An error of the SDK, whatever was asked for.
pub(super) trait Refused: Sized {
    /// Returns the HTTP status and the code of the server's answer; nothing where it did not answer.
    fn answer(&self) -> Option<(u16, &str)>;

    /// Returns what the server says in words, if it does.
    fn words(&self) -> &str;

    /// Returns the error as a store's, with `hidden` taken out of all words.
    fn worded(self, doing: &'static str, at: String, hidden: &Hidden) -> StoreError;

    /// Tells whether the object is not there. A bucket that is not there is another matter.
    fn is_missing(&self) -> bool {
        matches!(self.answer(), Some((404, code)) if code != "NoSuchBucket" && code != "NoSuchUpload")
    }

    /// Tells whether a condition of the write did not hold: the object is there.
    fn is_taken(&self) -> bool {
        matches!(self.answer(), Some((412, _)))
    }

    /// Tells whether another write of the object is under way: what comes of it is not known yet.
    fn is_conflict(&self) -> bool {
        matches!(self.answer(), Some((409, "ConditionalRequestConflict")))
    }

    /// Tells whether the server has found that the bytes are not those that the checksum is of.
    fn is_damage(&self) -> bool {
        const CODES: [&str; 5] =
            ["BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "InvalidRequest", "InvalidArgument"];
        matches!(self.answer(), Some((400, code)) if CODES.contains(&code))
    }

    /// Tells whether the server does not know something that was asked of it, named by one of these `words`.
    fn is_ignorance_of(&self, words: &[&str]) -> bool {
        let said = self.words().to_lowercase();
        let is_named = words.iter().any(|word| said.contains(word));
        match self.answer() {
            Some((501, _)) => true,
            Some((400, "InvalidRequest" | "InvalidArgument" | "NotImplemented")) => is_named,
            _ => false,
        }
    }
}

impl<E> Refused for SdkError<E, HttpResponse>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn answer(&self) -> Option<(u16, &str)> {
        let Self::ServiceError(refusal) = self else { return None };
        let status = refusal.raw().status().as_u16();
        Some((status, refusal.err().code().unwrap_or_default()))
    }

    fn words(&self) -> &str {
        self.as_service_error().and_then(|error| error.message()).unwrap_or_default()
    }

    fn worded(self, doing: &'static str, at: String, hidden: &Hidden) -> StoreError {
        match self.answer() {
            Some(_) if self.is_missing() => StoreError::Missing { at },
            Some((status, code)) => {
                let code = if code.is_empty() { format!("HTTP status {status}") } else { code.to_owned() };
                let message = hidden.hide(self.words());
                StoreError::Refused { doing, at, code, message }
            }
            None => StoreError::Unreachable { doing, at, cause: hidden.hide(&chain(&self)) },
        }
    }
}

/// Returns what an error and its sources say, each once, without the layers that every error comes through.
pub(super) fn chain(error: &dyn Error) -> String {
    const LAYERS: [&str; 4] = ["dispatch failure", "io error", "other", "client error (Connect)"];
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !LAYERS.contains(&said.as_str()) && !words.iter().any(|before| before.contains(&said)) {
            words.push(said);
        }
        next = error.source();
    }
    words.join(": ")
}
