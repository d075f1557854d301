//! Uploads that were begun and never ended: their parts are seen by nobody and paid for.
//!
//! A killed run leaves one. So does an answer that is lost on the way: the SDK asks again, and nobody knows the name of
//! the first.

use aws_sdk_s3::operation::list_multipart_uploads::builders::ListMultipartUploadsFluentBuilder;
use aws_sdk_s3::types::MultipartUpload;
use jiff::{SignedDuration, Timestamp};

use super::Opened;
use super::trials::TRIAL;
use crate::hitkeep::{self, Belongs};
use crate::name::Prefix;
use crate::record;

/// How old an upload must be to be nobody's: none takes a day.
pub(super) const ABANDONED: SignedDuration = SignedDuration::from_hours(24);

impl Opened {
    /// Takes away the parts of objects that no run will ever complete. A server that does not list them is left alone.
    pub(super) async fn sweep(&self, prefix: &Prefix) {
        let now = self.clock.now();
        for upload in self.unfinished(prefix).await.unwrap_or_default() {
            let begun = upload.initiated.and_then(|moment| Timestamp::from_second(moment.secs()).ok());
            if begun.is_some_and(|begun| now.duration_since(begun) > self.abandoned) {
                let abort = self.client.abort_multipart_upload().bucket(self.bucket.name());
                drop(abort.set_key(upload.key).set_upload_id(upload.upload_id).send().await);
            }
        }
    }

    /// Lists the uploads inside a prefix that may be a run's; nothing where the server does not list them.
    pub(super) async fn unfinished(&self, prefix: &Prefix) -> Option<Vec<MultipartUpload>> {
        let beginning = self.beginning(prefix);
        let is_ours = |upload: &MultipartUpload| {
            upload.key.as_deref().and_then(|key| key.strip_prefix(&beginning)).is_some_and(is_of_a_run)
        };
        let (mut found, mut after) = (Vec::new(), None::<(String, Option<String>)>);
        loop {
            let (key, upload) = after.clone().unzip();
            let page = self.listing(&beginning).set_key_marker(key).set_upload_id_marker(upload.flatten());
            let page = match page.send().await {
                Ok(page) => page,
                // Versity's gateway refuses the marker that it has given: what it does not show is for the next run.
                Err(_) if after.is_some() => break,
                Err(_) => return None,
            };
            let is_last = page.is_truncated != Some(true);
            // The marker of an upload is left out where a page ends with the last one of a key.
            let next = page.next_key_marker.map(|key| (key, page.next_upload_id_marker));
            found.extend(page.uploads.unwrap_or_default().into_iter().filter(is_ours));
            // A server that gives the same page again would do so for ever.
            if is_last || next.is_none() || next == after {
                break;
            }
            after = next;
        }
        if found.is_empty() && !beginning.is_empty() {
            // MinIO takes a prefix for a whole key. Without one it shows at once all that was begun since it was started.
            let all = self.listing("").send().await.ok().and_then(|page| page.uploads);
            found.extend(all.unwrap_or_default().into_iter().filter(is_ours));
        }
        Some(found)
    }

    /// Asks for the uploads whose keys begin like this.
    fn listing(&self, beginning: &str) -> ListMultipartUploadsFluentBuilder {
        self.client.list_multipart_uploads().bucket(self.bucket.name()).prefix(beginning)
    }
}

/// Tells whether a key inside a prefix is one that runs upload in parts: of a set, of an archive, or for a trial. Others
/// lie there for others.
fn is_of_a_run(key: &str) -> bool {
    let is_of_a_set = matches!(hitkeep::place(key), Belongs::Snapshot(..));
    is_of_a_set || record::run_of(key).is_some() || key.starts_with(TRIAL)
}
