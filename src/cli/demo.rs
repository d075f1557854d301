//! `demo`: everything once, on an installation made for it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::error::CliError;
use super::init::make_demo;
use super::subject::Subject;
use super::{Arguments, Voice, desk};
use crate::demo::Installation;
use crate::duck::{Session, compare};
use crate::hitkeep;
use crate::measure::{Grouped, counted};
use crate::name::DatabaseId;
use crate::report::table;
use crate::run::exit;
use crate::survey::Asked;
use clap::Parser;

/// Make a HitKeep installation, back it up, list the set, restore it elsewhere and compare.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The directory, which must not hold an installation yet.
    #[arg(default_value = "hitkeep-demo")]
    directory: PathBuf,
    /// How many page views the installation has; 10 million take minutes.
    #[arg(long, default_value_t = 50_000)]
    hits: u64,
}

impl Demo {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let (plan, installation) = self.make(voice)?;
        let restored = self.directory.join("restored");
        voice.say("\n2. It is backed up: exported, stored, read back, sealed.\n")?;
        step(voice, &["run".as_ref(), plan.as_os_str()]).await?;
        voice.say("\n3. These are the sets there are.\n")?;
        self.list(&plan, voice).await?;
        voice.say("\n4. It is restored to another place.\n")?;
        step(voice, &["restore".as_ref(), plan.as_os_str(), "--to".as_ref(), restored.as_os_str()]).await?;
        let compared = compare_all(&self.directory, &installation, &restored)?;
        voice.say(&format!(
            "\n5. It is compared: {} with {} and {} rows hold the same rows as before.\n",
            counted(compared.databases, "database"),
            counted(compared.tables, "table"),
            Grouped(compared.rows)
        ))?;
        voice.say(&next_steps(&self.directory, &plan))?;
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

    async fn list(&self, plan: &Path, voice: Voice) -> Result<(), CliError> {
        let subject = Subject::read(plan, None, None)?;
        for spot in &subject.spots {
            voice.say(&table::sets(&spot.catalogue(Asked::All).await?, jiff::Timestamp::now()))?;
        }
        Ok(())
    }
}

/// Carries out another verb the way a person would.
async fn step(voice: Voice, words: &[&std::ffi::OsStr]) -> Result<(), CliError> {
    let words = std::iter::once("hitkeep-plan".as_ref()).chain(words.iter().copied());
    let arguments = Arguments::try_parse_from(words).map_err(|error| CliError::Differs(error.to_string()))?;
    match Box::pin(arguments.verb.carry_out(voice)).await? {
        exit::DONE => Ok(()),
        code => Err(CliError::Differs(format!("the demo's step ended with exit code {code}"))),
    }
}

/// What was compared and found equal.
#[derive(Debug, Default)]
struct Compared {
    databases: usize,
    tables: usize,
    rows: u64,
}

/// Compares every database that was backed up with its restored twin.
fn compare_all(directory: &Path, installation: &Installation, restored: &Path) -> Result<Compared, CliError> {
    let session = Session::open(&desk::default_limits(directory.join("staging").join("spill")))?;
    let is_archived =
        |id| installation.tenants.iter().any(|(tenant, _, archived)| *archived && DatabaseId::Tenant(*tenant) == id);
    let mut compared = Compared::default();
    for database in installation.databases.iter().filter(|database| !is_archived(database.id)) {
        let twin = hitkeep::database_path(&restored.join(hitkeep::DATABASE_FILE), restored, database.id);
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
