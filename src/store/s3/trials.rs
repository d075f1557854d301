//! What was stored for a trial goes for good, also where a bucket keeps what is deleted as an older version.

use std::collections::BTreeSet;

use super::lease::TRYING;
use super::{LEASES, Opened};
use crate::name::Prefix;
use crate::store::StoreError;

/// What the names of objects begin with that are stored for a trial.
pub(super) const TRIAL: &str = ".doctor-";

impl Opened {
    /// Erases the versions of objects that trials have stored inside a prefix and deleted: as many as one listing shows, the
    /// others the next time.
    pub(super) async fn erase_trials(&self, prefix: &Prefix) -> Result<(), StoreError> {
        for trials in [TRIAL.to_owned(), format!("{LEASES}/{TRYING}")] {
            self.erase_deleted(prefix, &trials).await?;
        }
        Ok(())
    }

    /// Erases the versions of deleted objects inside a prefix whose names begin like this. What is still there is another's.
    async fn erase_deleted(&self, prefix: &Prefix, names: &str) -> Result<(), StoreError> {
        let list = self.client.list_object_versions().bucket(self.bucket.name());
        let listed = list.prefix(format!("{}{names}", self.beginning(prefix))).send().await;
        let listed = listed.map_err(self.failed("list versions in", prefix.as_str()))?;
        let deletions = listed.delete_markers();
        let deleted: BTreeSet<&str> = deletions
            .iter()
            .filter(|deletion| deletion.is_latest() == Some(true))
            .filter_map(|one| one.key())
            .collect();
        // The deletion goes last: without it, what it has hidden would be there again.
        let versions = listed.versions().iter().map(|version| (version.key(), version.version_id()));
        let versions = versions.chain(deletions.iter().map(|deletion| (deletion.key(), deletion.version_id())));
        for (key, version) in versions.filter_map(|(key, version)| Some((key?, version?))) {
            if deleted.contains(key) {
                let erase = self.client.delete_object().bucket(self.bucket.name()).key(key).version_id(version);
                erase.send().await.map_err(self.failed("erase a version in", prefix.as_str()))?;
            }
        }
        Ok(())
    }
}
