//! `demo`: everything once, on an installation made for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser};
use jiff::Timestamp;

use super::error::CliError;
use super::init::{make_demo, write_demo_archive_plan};
use super::shard::Portion;
use super::subject::Subject;
use super::{Arguments, Voice, desk};
use crate::demo::live::{self, Server};
use crate::demo::{Database, Installation};
use crate::duck::{Session, compare};
use crate::hitkeep;
use crate::measure::{Grouped, counted};
use crate::name::DatabaseId;
use crate::record::RunRecord;
use crate::report::table;
use crate::run::exit;
use crate::stop::{Reason, Stop};
use crate::survey::Asked;

/// The verb of the process that stands for HitKeep.
const SERVE: &str = "demo-server";

/// How many batches that process has written before the backup begins: there has been a checkpoint, and there is a log.
const WRITTEN: u32 = live::BATCHES + 5;

/// Make a HitKeep installation, back it up, list the set, restore it elsewhere and compare; archive old rows and bring them back.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The directory, which must not hold an installation yet.
    #[arg(default_value = "hitkeep-demo")]
    directory: PathBuf,
    /// How many page views the installation has; 10 million take minutes and 1 GiB of memory, more take more of both.
    #[arg(long, default_value_t = 50_000)]
    hits: u64,
    /// Back it up while another process has it open and writes to it.
    #[arg(long)]
    live: bool,
}

/// Stand for HitKeep in a demo: have databases open and write to them until the input ends.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The databases.
    databases: Vec<PathBuf>,
}

impl Serve {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        live::serve(&self.databases, &mut std::io::stdout().lock())?;
        Ok(exit::DONE)
    }
}

impl Demo {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let (plan, installation) = self.make(voice)?;
        let demo = Made { directory: self.directory, plan, installation, voice, stop: desk::stop_at_signals()? };
        if self.live {
            demo.show_live().await?;
        } else {
            demo.show().await?;
        }
        demo.say(&next_steps(&demo.directory, &demo.plan))?;
        Ok(exit::DONE)
    }

    fn make(&self, voice: Voice) -> Result<(PathBuf, Installation), CliError> {
        let (hits, place) = (Grouped(self.hits), self.directory.display());
        voice.say(&format!("1. A HitKeep installation with {hits} page views of a year is made in {place}.\n"))?;
        let begun = Instant::now();
        let made = make_demo(&self.directory, self.hits)?;
        let archived = made.1.tenants.iter().filter(|(_, _, is_archived)| *is_archived).count();
        voice.say(&format!(
            "   {}, {} ({archived} of them archived: HitKeep serves those no more, and no backup holds them), in {:.1} s\n",
            counted(made.1.databases.len(), "database"),
            counted(made.1.tenants.len(), "tenant"),
            begun.elapsed().as_secs_f64()
        ))?;
        Ok(made)
    }
}

/// A demo whose installation is made.
struct Made {
    directory: PathBuf,
    plan: PathBuf,
    installation: Installation,
    voice: Voice,
    stop: Stop,
}

impl Made {
    async fn show(&self) -> Result<(), CliError> {
        self.say("\n2. It is backed up: exported, stored, read back, sealed.\n")?;
        self.back_up().await?;
        self.say("\n3. These are the sets there are.\n")?;
        self.list().await?;
        self.say("\n4. It is restored to another place.\n")?;
        self.restore().await?;
        let compared = self.compare()?;
        self.say(&format!(
            "\n5. It is compared: {} with {} and {} rows hold the same rows as before.\n",
            counted(compared.databases, "database"),
            counted(compared.tables, "table"),
            Grouped(compared.rows)
        ))?;
        self.show_archive(&compared).await
    }

    /// Archives what is old of what was restored, and brings it back.
    async fn show_archive(&self, before: &Compared) -> Result<(), CliError> {
        let plan = write_demo_archive_plan(&self.directory)?;
        let (plan, restored) = (plan.as_os_str(), self.restored());
        self.say("\n6. What is older than 300 days there is archived as Parquet, read back, and only then deleted.\n")?;
        self.step(&["run".as_ref(), plan, "cold".as_ref()]).await?;
        self.say("\n7. It is brought back from the archive.\n")?;
        let words: [&std::ffi::OsStr; 5] =
            ["restore".as_ref(), plan, "--archive".as_ref(), "--to".as_ref(), restored.as_os_str()];
        self.step(&words).await?;
        let after = self.compare()?;
        self.say(&format!(
            "   {} hold the same {} rows as before again.\n",
            counted(after.databases, "database"),
            Grouped(before.rows)
        ))
    }

    async fn show_live(&self) -> Result<(), CliError> {
        let databases: Vec<PathBuf> = self.backed_up().map(|database| database.path.clone()).collect();
        let mut server = Server::start(SERVE, &databases)?;
        server.wait_for(WRITTEN)?;
        self.say(&format!(
            "\n2. Process {} stands for HitKeep: it has {} open, and goes on writing {} rows to each at a time.\n",
            server.id(),
            counted(databases.len(), "database"),
            live::HITS + live::EVENTS
        ))?;
        self.say(
            "\n3. It is backed up while that process writes: captured live, exported, stored, read back, sealed.\n",
        )?;
        self.back_up().await?;
        let record = self.record().await?;
        self.say(&captures(&record))?;
        self.say("\n4. These are the sets there are.\n")?;
        self.list().await?;
        self.say("\n5. It is restored to another place.\n")?;
        self.restore().await?;
        server.check()?;
        let acknowledged = server.acknowledged();
        drop(server);
        self.say(&self.compare_live(&record, &acknowledged)?)
    }

    fn say(&self, text: &str) -> Result<(), CliError> {
        self.stop.check()?;
        self.voice.say(text)
    }

    async fn back_up(&self) -> Result<(), CliError> {
        self.step(&["run".as_ref(), self.plan.as_os_str()]).await
    }

    async fn restore(&self) -> Result<(), CliError> {
        let restored = self.restored();
        self.step(&["restore".as_ref(), self.plan.as_os_str(), "--to".as_ref(), restored.as_os_str()]).await
    }

    fn restored(&self) -> PathBuf {
        self.directory.join("restored")
    }

    /// Carries out another verb the way a person would.
    async fn step(&self, words: &[&std::ffi::OsStr]) -> Result<(), CliError> {
        let words = std::iter::once("hitkeep-plan".as_ref()).chain(words.iter().copied());
        let arguments = Arguments::try_parse_from(words).map_err(|error| CliError::Differs(error.to_string()))?;
        match Box::pin(arguments.verb.carry_out(self.voice)).await? {
            exit::DONE => Ok(()),
            exit::INTERRUPTED => Err(Reason::Interrupt.into()),
            exit::TERMINATED => Err(Reason::Terminate.into()),
            code => Err(CliError::Differs(format!("the demo's step ended with exit code {code}"))),
        }
    }

    async fn list(&self) -> Result<(), CliError> {
        for spot in &Subject::read(&self.plan, Portion::default(), None, None)?.spots {
            self.say(&table::sets(&spot.catalogue(Asked::All).await?, &BTreeMap::new(), Timestamp::now()))?;
        }
        Ok(())
    }

    /// Reads the record of the one run there was.
    async fn record(&self) -> Result<RunRecord, CliError> {
        for spot in &Subject::read(&self.plan, Portion::default(), None, None)?.spots {
            let sets = spot.catalogue(Asked::All).await?.sets;
            if let Some((record, _)) = sets.into_iter().find_map(|set| set.record) {
                return Ok(record);
            }
        }
        Err(CliError::Differs("the run has left no record".to_owned()))
    }

    /// Returns the databases that a backup holds: those of archived tenants are left out.
    fn backed_up(&self) -> impl Iterator<Item = &Database> {
        let tenants = &self.installation.tenants;
        let is_archived =
            |id| tenants.iter().any(|(tenant, _, archived)| *archived && DatabaseId::Tenant(*tenant) == id);
        self.installation.databases.iter().filter(move |database| !is_archived(database.id))
    }

    /// Returns where a database was restored.
    fn twin(&self, database: &Database) -> PathBuf {
        let restored = self.restored();
        hitkeep::database_path(&restored.join(hitkeep::DATABASE_FILE), &restored, database.id)
    }

    /// Compares every database that was backed up with its restored twin.
    fn compare(&self) -> Result<Compared, CliError> {
        let session = Session::open(&desk::limits(None, self.directory.join("staging").join("spill")))?;
        let mut compared = Compared::default();
        for database in self.backed_up() {
            let twin = self.twin(database);
            let (before, after) = (compare::contents(&session, &database.path)?, compare::contents(&session, &twin)?);
            if before != after {
                return Err(CliError::Differs(format!(
                    "`{}` is not what `{}` is",
                    twin.display(),
                    database.path.display()
                )));
            }
            compared.databases += 1;
            compared.tables += before.len();
            compared.rows += before.values().map(|content| content.rows).sum::<u64>();
        }
        Ok(compared)
    }

    /// Looks for what was acknowledged before each capture, and says what is there.
    fn compare_live(&self, record: &RunRecord, acknowledged: &[Timestamp]) -> Result<String, CliError> {
        let mut text = String::from("\n6. It is compared with what was acknowledged before each capture began.\n");
        for database in self.backed_up() {
            let snapshot = record.snapshots.iter().find(|snapshot| snapshot.database == database.id);
            let captured_at = snapshot.and_then(|snapshot| snapshot.captured_at).unwrap_or(record.started_at);
            let before = acknowledged.iter().filter(|moment| **moment < captured_at).count() as u64;
            let held = live::count_batches(&self.twin(database))?;
            if held < before {
                return Err(CliError::Differs(format!("{}: {held} of {before} batches are there", database.id)));
            }
            let (hits, events) = (Grouped(held * live::HITS), Grouped(held * live::EVENTS));
            let _ = writeln!(
                text,
                "   {}: {before} batches before, {held} are there, each whole: {hits} page views and {events} events",
                database.id
            );
        }
        let written = Grouped(acknowledged.len() as u64);
        let _ = writeln!(
            text,
            "   The process has written {written} batches by now: it was neither stopped nor locked out."
        );
        Ok(text)
    }
}

/// Says how the copies came about.
fn captures(record: &RunRecord) -> String {
    let tries = record.snapshots.iter().filter_map(|snapshot| Some(snapshot.live.as_ref()?.tries)).sum::<u32>();
    let copied = record.snapshots.iter().filter(|snapshot| snapshot.live.is_some()).count();
    format!(
        "{} captured live in {tries} tries, within {} s of each other\n",
        counted(copied, "database"),
        record.spread_seconds
    )
}

/// What was compared and found equal.
#[derive(Debug, Default)]
struct Compared {
    databases: usize,
    tables: usize,
    rows: u64,
}

fn next_steps(directory: &Path, plan: &Path) -> String {
    let (directory, plan) = (directory.display(), plan.display());
    format!(
        "\nTry next:
  hitkeep-plan list {plan} latest
  hitkeep-plan run {plan} --dry-run
  hitkeep-plan verify {plan}
  hitkeep-plan restore {directory}/backups/hitkeep --to {directory}/again
  hitkeep-plan init plan.toml\n"
    )
}
