//! Brings archived rows back: every file is fetched and compared before the first row goes in, and each database gets its
//! rows in one transaction. What one has got stays when the next fails; to do it again then inserts what is left.

use super::load::remove_folder;
use super::{Cause, Failure, Gauge, Outside, files, make_private_folder};
use crate::duck::archive::{self, AtHand, Returned};
use crate::duck::{DuckError, Session};
use crate::event::Event;
use crate::measure::{Grouped, counted};
use crate::name::Name;
use crate::work::{FetchRows, InsertRows, RowsWork, Task};

/// Carries out `work` from `destination`, and returns what came of the archived rows.
///
/// # Errors
/// The first failure.
pub async fn rows(work: &RowsWork, destination: &Name, outside: &Outside) -> Result<Returned, Failure> {
    let databases = counted(work.chains.len(), "database");
    let title = format!("bring back rows {} into {databases}, from {}", work.period, work.at);
    outside.tell.hear(&Event::RunStarted { title, tasks: work.task_count() });
    work.warnings.iter().for_each(|warning| outside.warn(warning.clone()));
    let returned = outside.bring_back(work, destination).await;
    if let Err(cause) = remove_folder(&work.staging) {
        outside.warn(cause.to_string());
    }
    let (result, exit_code) = match &returned {
        Ok(Returned { inserted, .. }) => (format!("{} rows are back", Grouped(*inserted)), 0),
        Err(failure) => (failure.cause.to_string(), failure.cause.exit_code()),
    };
    outside.tell.hear(&Event::RunFinished { result, exit_code });
    returned
}

impl Outside {
    async fn bring_back(&self, work: &RowsWork, destination: &Name) -> Result<Returned, Failure> {
        for chain in &work.chains {
            self.fetch_rows(&chain.fetch, destination).await?;
        }
        let mut all = Returned::default();
        for chain in &work.chains {
            let Returned { archived, inserted } = self.insert_rows(&chain.insert).await?;
            all = Returned { archived: all.archived + archived, inserted: all.inserted + inserted };
        }
        Ok(all)
    }

    async fn fetch_rows(&self, task: &Task<FetchRows>, destination: &Name) -> Result<(), Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let fetch = async {
            make_private_folder(&action.into)?;
            let store = self.store(destination)?;
            files::get_archived(store, &action.prefix, &action.files, &action.into, &gauge).await?;
            Ok(((), format!("{}, each as sealed", counted(action.files.len(), "file"))))
        };
        self.perform(task, Some(action.bytes), &gauge, fetch).await
    }

    async fn insert_rows(&self, task: &Task<InsertRows>) -> Result<Returned, Failure> {
        let InsertRows { path, from, files, period, .. } = task.action.clone();
        let at_hand =
            files.into_iter().map(|(file, schemas)| AtHand { path: from.join(&file.file.path), file, schemas });
        let at_hand: Vec<AtHand> = at_hand.collect();
        let insert = async {
            let insert = move |session: &Session| archive::insert(session, &path, &at_hand, period);
            let returned = self.engine(insert).await.map_err(|error| match error {
                locked @ DuckError::Locked { .. } => Cause::Living(locked),
                DuckError::Differs(how) => Cause::Unfit(how),
                other => other.into(),
            })?;
            let (inserted, archived) = (Grouped(returned.inserted), Grouped(returned.archived));
            Ok((returned, format!("{inserted} of {archived} archived rows were missing")))
        };
        self.perform(task, None, &Gauge::default(), insert).await
    }
}
