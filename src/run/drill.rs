//! Carries out a restore drill: fetches and loads every database of a set into a scratch folder, compares what came back
//! with what was captured, asks what the plan asserts, writes down what came of it, and throws the databases away.

use std::path::Path;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::load::{self, remove_folder};
use super::{Cause, Failure, Gauge, Outside, exit, make_private_folder};
use crate::duck::examine::{self, Examined};
use crate::duck::export::Table;
use crate::duck::{Database, DuckError, Session, check, compare};
use crate::event::Event;
use crate::measure::{Bytes, Grouped, counted};
use crate::name::Name;
use crate::record::{Assertion, Capture, DrillRecord, DrilledDatabase, FORMAT, Failed, Manifest, TableRecord};
use crate::store::{Body, Mode};
use crate::work::{ABREAST, DrillChain, DrillWork, Examine, Note, Question, Task, missing_tenants};

/// Carries out `work` from `destination`, and returns the record of it, which lies next to the set where it could be
/// stored. It has always thrown away what it loaded.
pub async fn drill(work: &DrillWork, destination: &Name, outside: &Outside) -> DrillRecord {
    let title = format!("drill set {}, {}, from {}", work.snapshot, counted(work.chains.len(), "database"), work.at);
    outside.tell.hear(&Event::RunStarted { title, tasks: work.task_count() });
    let walk = Walk { work, destination, outside };
    let (started_at, mut found) = ((outside.clock)(), Found::default());
    match make_private_folder(&work.scratch) {
        Ok(()) => walk.walk(&mut found).await,
        Err(cause) => found.failures.push(Failure { task: "make the scratch folder".to_owned(), cause }),
    }
    let mut record = walk.record(started_at, found);
    if let Err(failure) = walk.note(&work.note, &record).await {
        record.exit_code = exit::worse(record.exit_code, failure.cause.exit_code());
        record.failures.push(walk.failed(&failure));
    }
    outside.tell.hear(&Event::RunFinished { result: result(&record), exit_code: record.exit_code });
    record
}

/// Says in a line what a drill found.
fn result(record: &DrillRecord) -> String {
    let rows: u64 = record.databases.iter().map(|database| database.rows).sum();
    let verdict = if record.passed { "passed" } else { "failed" };
    format!("drill {verdict}: {} and {} rows came back", counted(record.databases.len(), "database"), Grouped(rows))
}

struct Walk<'w> {
    work: &'w DrillWork,
    destination: &'w Name,
    outside: &'w Outside,
}

/// What a drill found so far.
#[derive(Default)]
struct Found {
    databases: Vec<DrilledDatabase>,
    assertions: Vec<Assertion>,
    recovery_milliseconds: Option<u64>,
    /// Whether a database was captured while someone wrote to the others.
    has_live: bool,
    engine: String,
    warnings: Vec<String>,
    failures: Vec<Failure>,
}

/// A database that was loaded, and is still to be looked through.
struct Loaded<'w> {
    task: &'w Task<Examine>,
    manifest: Option<Manifest>,
    tables: Vec<Table>,
}

impl Walk<'_> {
    async fn walk(&self, found: &mut Found) {
        self.bring_back(found).await;
        if let Some(task) = self.work.question.as_ref().filter(|_| found.failures.is_empty()) {
            let asked = self.ask(task, found).await;
            found.failures.extend(asked.err());
        }
        if let Err(cause) = remove_folder(&self.work.scratch) {
            found.failures.push(Failure { task: "throw the restored databases away".to_owned(), cause });
        }
    }

    /// Fetches and loads every database, some of them abreast, and then looks through one after the other. One that fails
    /// does not stop the others: a drill says everything that is wrong.
    async fn bring_back(&self, found: &mut Found) {
        let begun = Instant::now();
        let loaded = match self.sessions() {
            Ok(sessions) => {
                let chains = self.work.chains.iter().zip(sessions);
                let load = |(chain, session)| self.load(chain, session);
                stream::iter(chains).map(load).buffered(ABREAST).collect::<Vec<_>>().await
            }
            Err(failure) => vec![Err(failure)],
        };
        if loaded.iter().all(Result::is_ok) {
            found.recovery_milliseconds = u64::try_from(begun.elapsed().as_millis()).ok();
        }
        // Whoever asks an engine what it has attached asks about the databases of all its connections, and is in the way
        // of those that load. So nothing is looked through before everything is loaded.
        for one in loaded {
            let examined = match one {
                Ok(loaded) => self.examine(loaded, found).await,
                Err(failure) => Err(failure),
            };
            found.failures.extend(examined.err());
        }
    }

    /// Opens one engine for all loads, with a connection for each.
    fn sessions(&self) -> Result<Vec<Session>, Failure> {
        let opened = Session::open_several(&self.outside.limits, self.work.chains.len(), ABREAST);
        opened.map_err(|error| Failure { task: "open an engine".to_owned(), cause: error.into() })
    }

    async fn load<'w>(&self, chain: &'w DrillChain, session: Session) -> Result<Loaded<'w>, Failure> {
        let manifest = load::fetch(&chain.fetch, self.destination, self.outside).await?;
        let loaded = load::load(&chain.load, manifest.as_ref(), session, self.outside).await;
        let tables = loaded.map_err(|Failure { task, cause }| Failure { task, cause: as_difference(cause) })?;
        Ok(Loaded { task: &chain.examine, manifest, tables })
    }

    /// Compares a database with what was captured, and follows its keys.
    async fn examine(&self, loaded: Loaded<'_>, found: &mut Found) -> Result<(), Failure> {
        let Loaded { task, manifest, tables } = loaded;
        let path = task.action.path.clone();
        let examine = async {
            let seen = self.outside.engine(move |session| examine::examine(session, &path, tables)).await;
            let Examined { tables, foreign_keys, engine } = seen.map_err(|error| as_difference(error.into()))?;
            let records = manifest.as_ref().map_or(&[][..], |manifest| &manifest.tables);
            let compared = compare_contents(records, &tables, &engine)?;
            let database = DrilledDatabase {
                database: task.action.database,
                tables: tables.len() as u64,
                rows: load::rows(&tables),
                compared,
                foreign_keys,
            };
            let result = format!("content of {compared} of {} as captured", counted(tables.len(), "table"));
            found.has_live |= manifest.is_some_and(|manifest| manifest.capture == Capture::Live);
            found.warnings.extend(incomparable(&database, &engine));
            found.databases.push(database);
            found.engine = engine;
            Ok(((), result))
        };
        self.outside.perform(task, None, &Gauge::default(), examine).await
    }

    /// Asks the shared database for its tenants, and what the plan asserts of it.
    async fn ask(&self, task: &Task<Question>, found: &mut Found) -> Result<(), Failure> {
        let Question { path, databases, wanted, assertions } = &task.action;
        let ask = async {
            let shared = Database::Source(path.clone());
            let (tenants, layout) = self.outside.engine(move |session| check::tenants(session, &shared)).await?;
            match missing_tenants(&tenants, layout, databases, wanted.as_ref()) {
                // Someone may have made or removed a tenant between the captures.
                Some(odd) if found.has_live => found.warnings.push(odd),
                Some(odd) => return Err(Cause::Differs(odd)),
                None => {}
            }
            self.assert(path, assertions, found).await?;
            Ok(((), format!("{}, {} true", counted(tenants.len(), "tenant"), counted(assertions.len(), "assertion"))))
        };
        self.outside.perform(task, None, &Gauge::default(), ask).await
    }

    async fn assert(&self, path: &Path, assertions: &[String], found: &mut Found) -> Result<(), Cause> {
        if assertions.is_empty() {
            return Ok(());
        }
        let (limits, path, queries) = (self.outside.limits.clone(), path.to_owned(), assertions.to_vec());
        let ask = move |_: &Session| examine::ask(&limits, &path, &queries);
        let answers = self.outside.engine(ask).await?;
        let mut broken = Vec::new();
        for (sql, answer) in assertions.iter().zip(answers) {
            found.assertions.push(Assertion { sql: sql.clone(), holds: matches!(answer, Ok(true)) });
            match answer {
                Ok(true) => {}
                Ok(false) => broken.push(format!("`{sql}` is false")),
                Err(DuckError::Differs(why)) => broken.push(format!("`{sql}` asserts nothing: {why}")),
                Err(error) => broken.push(format!("`{sql}` cannot be asked: {error}")),
            }
        }
        if broken.is_empty() { Ok(()) } else { Err(Cause::Differs(broken.join("; "))) }
    }

    fn record(&self, started_at: Timestamp, found: Found) -> DrillRecord {
        let exit_code = found.failures.iter().map(|failure| failure.cause.exit_code()).fold(exit::DONE, exit::worse);
        DrillRecord {
            format: FORMAT,
            run: self.work.run,
            plan: self.outside.about.plan.clone(),
            job: self.work.job.clone(),
            destination: self.destination.clone(),
            snapshot: self.work.snapshot,
            record_sha256: self.work.record_sha256,
            passed: found.failures.is_empty(),
            exit_code,
            started_at,
            finished_at: (self.outside.clock)(),
            recovery_milliseconds: found.recovery_milliseconds,
            host: self.outside.about.host.clone(),
            tool: self.outside.about.tool.clone(),
            duckdb: found.engine,
            databases: found.databases,
            assertions: found.assertions,
            warnings: found.warnings,
            failures: found.failures.iter().map(|failure| self.failed(failure)).collect(),
        }
    }

    fn failed(&self, failure: &Failure) -> Failed {
        Failed { task: failure.task.clone(), plan_line: self.work.plan_line, cause: failure.cause.to_string() }
    }

    /// Stores the record next to the set. What was stopped proves nothing, and leaves none.
    async fn note(&self, task: &Task<Note>, record: &DrillRecord) -> Result<(), Failure> {
        let gauge = Gauge::default();
        let put = async {
            let store = self.outside.store(self.destination)?;
            store.put(&task.action.key, Body::Bytes(record.write()), Mode::Create, &gauge.meter).await?;
            Ok(((), Bytes(record.write().len() as u64).to_string()))
        };
        self.outside.perform(task, None, &gauge, put).await
    }
}

/// Calls it a difference when the engine cannot make a database of what was fetched, unless the reason is this host.
fn as_difference(cause: Cause) -> Cause {
    match cause {
        Cause::Duck(DuckError::Refused { ref message, .. })
            if ["Out of Memory", "IO Error"].iter().any(|kind| message.starts_with(kind)) =>
        {
            cause
        }
        Cause::Duck(DuckError::Refused { .. } | DuckError::Differs(_) | DuckError::Unopenable { .. }) => {
            Cause::Differs(cause.to_string())
        }
        cause => cause,
    }
}

/// Compares the digests of tables with those of their manifest, and returns how many could be compared: a digest of
/// another algorithm or engine says nothing about this one's.
fn compare_contents(wanted: &[TableRecord], found: &[Table], engine: &str) -> Result<u64, Cause> {
    let mut compared = 0;
    for table in wanted {
        let is_it = |found: &&Table| (&found.schema, &found.name) == (&table.schema, &table.name);
        let comparable = |content: &&crate::record::ContentRecord| {
            (content.algorithm.as_str(), content.engine.as_str()) == (compare::ALGORITHM, engine)
        };
        let Some(content) = table.content.as_ref().filter(comparable) else { continue };
        let Some(digest) = found.iter().find(is_it).and_then(|found| found.digest.as_ref()) else { continue };
        if *digest != content.digest {
            return Err(Cause::Differs(format!(
                "table `{}` does not hold the rows that were captured: their digest is {digest}, and was {}",
                table.title(),
                content.digest
            )));
        }
        compared += 1;
    }
    Ok(compared)
}

/// Says that some tables were compared by the number of their rows alone.
fn incomparable(database: &DrilledDatabase, engine: &str) -> Option<String> {
    let DrilledDatabase { database, tables, compared, .. } = database;
    (compared < tables).then(|| {
        format!(
            "{database}: of {} of {tables} tables only the number of rows could be compared: no digest of DuckDB {engine} \
             was made of them",
            tables - compared
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ContentRecord;

    /// Returns a table as its manifest has it, with a digest by this algorithm and engine.
    fn captured(content: Option<[&str; 3]>) -> TableRecord {
        let content = content.map(|[algorithm, engine, digest]| ContentRecord {
            algorithm: algorithm.to_owned(),
            engine: engine.to_owned(),
            digest: digest.to_owned(),
        });
        TableRecord { schema: None, name: "hits".to_owned(), rows: 1, content }
    }

    #[test]
    fn digests_compare_only_with_those_of_the_same_algorithm_and_engine() {
        let restored = |digest: Option<&str>| {
            [Table { schema: None, name: "hits".to_owned(), rows: 1, digest: digest.map(str::to_owned) }]
        };
        let own = compare::ALGORITHM;
        for (content, digest, expected) in [
            (Some([own, "v2", "a"]), Some("a"), Some(1)),
            (Some([own, "v2", "a"]), Some("b"), None),
            (Some([own, "v1", "a"]), Some("b"), Some(0)),
            (Some(["other", "v2", "a"]), Some("b"), Some(0)),
            (None, Some("b"), Some(0)),
            (Some([own, "v2", "a"]), None, Some(0)),
        ] {
            let compared = compare_contents(&[captured(content)], &restored(digest), "v2").ok();
            assert_eq!(compared, expected, "{content:?} and {digest:?}");
        }
    }
}
