//! Takes the snapshots of a backup: exports what was captured of databases, or what is in them, or adopts what HitKeep has
//! exported.

use super::capture::{Captures, Taken};
use super::{Failure, Gauge, Outside, make_private_folder};
use crate::duck::Database;
use crate::duck::export::Exported;
use crate::event::Event;
use crate::measure::{Grouped, counted};
use crate::work::{Export, Origin, Take, Task};

/// What came of taking a snapshot; nothing where nobody wants it.
pub(super) type Attempt = Option<Result<(Taken, Exported), Failure>>;

/// The snapshots of a backup, on their way.
pub(super) struct Taking<'t> {
    outside: &'t Outside,
    captures: Captures,
    /// Whether someone has opened a database since the work was planned.
    has_come: bool,
}

impl<'t> Taking<'t> {
    /// Begins with the databases that others have open captured.
    pub(super) fn of(captures: Captures, outside: &'t Outside) -> Self {
        Self { outside, captures, has_come: false }
    }

    /// Takes a database's snapshot, unless there is a reason not to. Where that needs more room than was planned, it waits
    /// until what was taken before is `delivered`.
    pub(super) async fn take(
        &mut self,
        take: &Take,
        why_not: Option<&str>,
        delivered: impl Future<Output = ()>,
    ) -> Attempt {
        if let Some(why) = why_not {
            self.outside.tell.hear(&Event::TaskSkipped { task: take.id(), why: why.to_owned() });
            return None;
        }
        Some(match take {
            Take::Export(task) => {
                let exported = self.export(task, delivered).await;
                self.outside.remove_copy(&task.action).await;
                exported
            }
            Take::Adopt(task) => self.outside.adopt(task).await,
        })
    }

    /// Exports what was captured of a database, or what is in it now.
    async fn export(
        &mut self,
        task: &Task<Export>,
        delivered: impl Future<Output = ()>,
    ) -> Result<(Taken, Exported), Failure> {
        let (gauge, action, outside) = (Gauge::default(), &task.action, self.outside);
        let captured = self.captures.remove(&action.input.database).transpose()?;
        let has_come = &mut self.has_come;
        let export = async {
            make_private_folder(&action.into)?;
            let (taken, exported) = if let (Some(taken), Origin::Copy(copy)) = (captured, &action.input.from) {
                (taken, outside.export(action, Database::Copy(copy.clone()), &gauge).await?)
            } else {
                let export = async |database| outside.export(action, database, &gauge).await;
                outside.read_present(&action.input, has_come, delivered, &gauge, export).await?
            };
            let rows: u64 = exported.tables.iter().map(|table| table.rows).sum();
            let result = format!("{}, {} rows", counted(exported.tables.len(), "table"), Grouped(rows));
            Ok(((taken, exported), result))
        };
        outside.perform(task, None, &gauge, export).await
    }
}
