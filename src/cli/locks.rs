//! The locks that a run holds while it is at work, one at each destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::Name;
use crate::plan::Job;
use crate::store::{Lease, Lock, Store, StoreError};

/// The locks of a job's destinations.
#[derive(Default)]
pub(super) struct Locks {
    held: BTreeMap<Name, Lock>,
    /// Why the others could not be locked.
    pub(super) unlocked: BTreeMap<Name, String>,
}

impl Locks {
    /// Takes the lock of each destination of a job for `holder`. One that another run holds ends this; one that does not
    /// answer is left to be a fact.
    pub(super) async fn take(
        &mut self,
        job: Job<'_>,
        stores: &[Arc<dyn Store>],
        holder: &str,
    ) -> Result<(), StoreError> {
        for (destination, store) in job.to().iter().zip(stores) {
            match store.lock(job.prefix(), holder).await {
                Ok(lock) => drop(self.held.insert(destination.name().clone(), lock)),
                Err(busy @ StoreError::Busy { .. }) => return Err(busy),
                Err(error) => drop(self.unlocked.insert(destination.name().clone(), error.to_string())),
            }
        }
        Ok(())
    }

    /// Returns those of the locks that are leases.
    pub(super) fn leases(&self) -> BTreeMap<Name, Lease> {
        let lease = |(name, lock): (&Name, &Lock)| Some((name.clone(), lock.lease()?.clone()));
        self.held.iter().filter_map(lease).collect()
    }

    /// Gives every lock back.
    pub(super) async fn release(self) {
        for lock in self.held.into_values() {
            lock.release().await;
        }
    }
}
