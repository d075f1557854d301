//! What a server's refusal means, and how it is told to a person without the secrets it may quote.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::secret::Hidden;
use crate::store::StoreError;

/// The code that the SDK gives to an answer which says 404 and no more.
const NOT_FOUND: &str = "NotFound";

/// An error of the SDK, whatever was asked for.
pub(super) trait Refused: Sized {
    /// Returns the HTTP status and the code of the server's answer; nothing where it did not answer.
    fn answer(&self) -> Option<(u16, &str)>;

    /// Returns what the server says in words, if it does.
    fn words(&self) -> &str;

    /// Returns the error of a request to `server` as a store's, with `hidden` taken out of all words.
    fn worded(self, doing: &'static str, at: String, server: &str, hidden: &Hidden) -> StoreError;

    /// Tells whether the object that was asked for is not there. A bucket that is not there is another matter, and so is an
    /// answer in which no server of objects says so.
    fn is_missing(&self) -> bool {
        const OTHERS: [&str; 3] = ["", "NoSuchBucket", "NoSuchUpload"];
        matches!(self.answer(), Some((404, code)) if !OTHERS.contains(&code))
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

    fn worded(self, doing: &'static str, at: String, server: &str, hidden: &Hidden) -> StoreError {
        match self.answer() {
            Some((status, code)) if is_foreign(&self, status, code) => {
                StoreError::Foreign { doing, at, server: server.to_owned(), status }
            }
            Some((status, code)) => {
                let code = if code.is_empty() { format!("HTTP status {status}") } else { code.to_owned() };
                let message = hidden.hide(self.words());
                StoreError::Refused { doing, at, code, message }
            }
            None => {
                let said = hidden.hide(&chain(&self));
                let cause = match &self {
                    Self::ResponseError(_) => format!("no whole answer from {server}: {said}"),
                    error if is_of_the_line(error, &said) => format!("no answer from {server}: {said}"),
                    _ => said,
                };
                StoreError::Unreachable { doing, at, cause }
            }
        }
    }
}

/// Tells whether an answer is none of an S3 server's: it has words, and no code among them, or says 404 and no more; or it
/// says that all is well, and cannot be read. Who asks for a password is a proxy.
fn is_foreign<E>(error: &SdkError<E, HttpResponse>, status: u16, code: &str) -> bool {
    let SdkError::ServiceError(refusal) = error else { return false };
    let has_words = refusal.raw().body().bytes().is_some_and(|body| !body.is_empty());
    code == NOT_FOUND || status == 407 || (code.is_empty() && (status < 400 || has_words))
}

/// Tells whether a request failed on its way, and not before there was one, going by what is `said` where the SDK does not
/// tell.
fn is_of_the_line<E>(error: &SdkError<E, HttpResponse>, said: &str) -> bool {
    match error {
        SdkError::DispatchFailure(failure) => {
            failure.is_io() || failure.is_timeout() || said.starts_with("client error")
        }
        SdkError::TimeoutError(_) => true,
        _ => false,
    }
}

/// Returns what an error and its sources say, each once, without the layers that every error comes through.
pub(super) fn chain(error: &dyn Error) -> String {
    const LAYERS: [&str; 5] = ["dispatch failure", "response error", "io error", "other", "client error (Connect)"];
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
