//! What HitKeep is told by its variables, `HITKEEP_*`, and the plan that asks for the same.
//!
//! Texts come in: an environment, an env file, a compose file. [`Settings`] come out, with what is odd about them, and
//! [`Settings::plan`] writes them as a plan. Nothing here reads a file or the environment. Of a secret, [`Variables`] keep
//! only that it is set. The facts are HitKeep's own code and images, versions 2.8 to 2.13.

mod code;
mod compose;
mod env_file;
mod expand;
mod paths;
mod render;
mod server;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use self::compose::{EnvFile, Service};
pub use self::env_file::values;
use self::expand::Expanded;
pub use self::expand::Lookup;
pub use self::paths::Ground;
use self::paths::Place;
use self::server::Server;
use crate::diagnose::Diagnostic;
use crate::plan::environment::{
    S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_REGION, S3_SECRET_ACCESS_KEY, S3_SESSION_TOKEN, S3_URL_STYLE, S3_USE_SSL,
};

const DATA_PATH: &str = "HITKEEP_DATA_PATH";
const DB_PATH: &str = "HITKEEP_DB_PATH";
const BACKUP_PATH: &str = "HITKEEP_BACKUP_PATH";
const BACKUP_INTERVAL: &str = "HITKEEP_BACKUP_INTERVAL";
const BACKUP_RETENTION: &str = "HITKEEP_BACKUP_RETENTION";
const ARCHIVE_PATH: &str = "HITKEEP_ARCHIVE_PATH";

/// The variables that a plan has an answer to, and whether they hold secrets.
const KNOWN: [(&str, bool); 13] = [
    (DATA_PATH, false),
    (DB_PATH, false),
    (BACKUP_PATH, false),
    (BACKUP_INTERVAL, false),
    (BACKUP_RETENTION, false),
    (ARCHIVE_PATH, false),
    (S3_REGION, false),
    (S3_ENDPOINT, false),
    (S3_URL_STYLE, false),
    (S3_USE_SSL, false),
    (S3_ACCESS_KEY_ID, true),
    (S3_SECRET_ACCESS_KEY, true),
    (S3_SESSION_TOKEN, true),
];

/// What is set of the variables of HitKeep that a plan has an answer to.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    values: BTreeMap<&'static str, Variable>,
    notes: Vec<Diagnostic>,
    /// What else may set some of them, and was not read.
    unseen: Vec<Diagnostic>,
}

/// A variable that is set, to more than nothing.
#[derive(Clone, Debug)]
struct Variable {
    name: &'static str,
    /// Empty for a secret.
    value: String,
    /// The file and the line, as far as they need to be said.
    place: String,
}

/// Writes the name, and where it is set.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " ({})", self.place) }
    }
}

impl Variables {
    /// Takes the variables from the environment of a process.
    pub fn take_environment(&mut self, environment: &BTreeMap<String, String>) {
        for (name, value) in environment {
            self.set(name, Some(Expanded::literal(value.clone())), String::new());
        }
    }

    /// Takes the variables from a file of `NAME=VALUE`, which is spoken of as `label` where it is one of several.
    pub fn take_file(&mut self, text: &str, label: Option<&str>, lookup: Lookup<'_>) {
        let place = |line| label.map_or_else(|| format!("line {line}"), |label| format!("{label}, line {line}"));
        let file = env_file::read(text, lookup);
        for assignment in file.assignments {
            self.set(&assignment.name, assignment.value, place(assignment.line));
        }
        for line in file.unread {
            let is_ours = text.lines().nth(line - 1).is_some_and(|text| text.contains("HITKEEP_"));
            let problem = || Diagnostic::error(code::INVALID_VALUE, format!("{} is no assignment", place(line)));
            let help = "write `NAME=value`, with the same quote at both ends of the value, if any";
            self.notes.extend(is_ours.then(|| problem().help(help)));
        }
    }

    /// Takes the variables that a service sets itself; they come before those of its files.
    pub fn take_service(&mut self, service: Service) -> Ground {
        self.unseen.extend(service.unseen().map(|what| unseen(&what)));
        for entry in &service.environment {
            self.set(&entry.name, entry.value.clone(), format!("line {}", entry.line));
        }
        Ground::Container(service)
    }

    /// Notes that Compose reads this file as well, which was not read here.
    pub fn pass_over(&mut self, file: &str) {
        self.unseen.push(unseen(&format!("Compose also reads `{file}`")));
    }

    /// Returns what there is to say of what may set variables and was not read.
    #[must_use]
    pub fn unseen(&self) -> &[Diagnostic] {
        &self.unseen
    }

    /// Returns whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.notes.is_empty()
    }

    /// Sets a variable; one that is empty means its default to HitKeep. A secret that is passed on without a known value is
    /// set all the same.
    fn set(&mut self, name: &str, value: Option<Expanded>, place: String) {
        let Some((name, is_secret)) = KNOWN.into_iter().find(|(known, _)| *known == name) else { return };
        let Expanded { text, missing } = match value {
            Some(value) => value,
            None if is_secret => Expanded::literal("passed on".to_owned()),
            None => Expanded { text: String::new(), missing: vec![name.to_owned()] },
        };
        let is_set = !text.trim().is_empty() || (is_secret && !missing.is_empty());
        let value = if is_secret { String::new() } else { text.trim().to_owned() };
        let variable = Variable { name, value, place };
        if !is_secret && !missing.is_empty() {
            self.notes.push(not_set(&variable, &missing));
        }
        if is_set {
            self.values.insert(name, variable);
        } else {
            self.values.remove(name);
        }
    }

    fn get(&self, name: &str) -> Option<&Variable> {
        self.values.get(name)
    }
}

/// Says of something that it was not followed.
fn unseen(what: &str) -> Diagnostic {
    Diagnostic::warning(code::UNSEEN, format!("{what}, and what is set there is not seen"))
        .help("name a file with what `docker compose config` prints: that is all in one")
}

fn not_set(variable: &Variable, missing: &[String]) -> Diagnostic {
    let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
    Diagnostic::warning(
        code::NOT_SET,
        format!("{variable} takes its value from {}, which is not set", names.join(", ")),
    )
    .help("set it for this command, too: it is taken for empty")
}

/// What HitKeep does by itself, as its variables say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the variables were read from, as people call it.
    origin: String,
    data_path: PathBuf,
    /// The shared database; nothing where it lies in the data path by its usual name.
    db_path: Option<PathBuf>,
    /// Where backups go that can stay there.
    backups: Option<Place>,
    /// Where archives go that can stay there.
    archive: Option<Place>,
    /// Whether archives are to be kept at all.
    archives: bool,
    /// How many minutes lie between two backups; nothing where HitKeep makes none.
    interval: Option<u64>,
    /// How many backups are kept; nothing where all are.
    retention: Option<u32>,
    /// How buckets are spoken to; nothing where there are none.
    server: Option<Server>,
}

/// The minutes between two backups where HitKeep is not told.
const DEFAULT_INTERVAL: u64 = 60;

/// The number of backups in a directory where HitKeep is not told.
const DEFAULT_RETENTION: u32 = 24;

impl Settings {
    /// Reads the variables of a HitKeep that runs on this ground, which were found in `origin`; returns nothing where one
    /// of them is an error, and what there is to say of them.
    #[must_use]
    pub fn read(variables: &Variables, ground: &Ground, origin: &str) -> (Option<Self>, Vec<Diagnostic>) {
        let mut notes = [&variables.unseen[..], &variables.notes].concat();
        let paths = paths::read(variables, ground, &mut notes);
        let is_bucket = |place: &Option<Place>| matches!(place, Some(Place::Bucket { .. }));
        let interval = number(variables, BACKUP_INTERVAL, DEFAULT_INTERVAL, 1, &mut notes);
        let retention = retention(variables, is_bucket(&paths.backups), &mut notes);
        let has_bucket = is_bucket(&paths.backups) || is_bucket(&paths.archive);
        let server = has_bucket.then(|| server::read(variables, ground, paths.is_on_host, &mut notes));
        let is_refused = notes.iter().any(|note| note.severity() == crate::diagnose::Severity::Error);
        let settings = Self {
            origin: origin.to_owned(),
            data_path: paths.data,
            db_path: paths.database,
            archives: variables.get(ARCHIVE_PATH).is_some(),
            interval: variables.get(BACKUP_PATH).map(|_| interval),
            backups: paths.backups,
            archive: paths.archive,
            retention,
            server,
        };
        ((!is_refused).then_some(settings), notes)
    }

    /// Returns the plan that asks for the same, with comments that name the variables.
    #[must_use]
    pub fn plan(&self) -> String {
        render::plan(self)
    }

    /// Returns the variables that have to be set where the plan is run.
    #[must_use]
    pub fn secrets(&self) -> &[&'static str] {
        self.server.as_ref().map_or(&[], Server::secrets)
    }

    /// Returns what HitKeep's own backup leaves out and the plan does not, an item each, in lines of up to
    /// 80 columns; empty where HitKeep makes none.
    #[must_use]
    pub fn left_out(&self) -> Vec<&'static str> {
        if self.interval.is_none() {
            return Vec::new();
        }
        let always = [
            "proof: nothing is read back, and no checksum is kept",
            "a mark of the end: a backup that broke off looks like a whole one, and up to\n\
             2.12 one counts as good in which the export of a team failed",
        ];
        let by_place: &[&str] = match self.backups {
            Some(Place::Bucket { .. }) => &[
                "the latest in a bucket: HitKeep's restore wants the exact time of a backup, and\n\
                 up to 2.12 it brings back the shared database, but no other team's;\n\
                 `hitkeep-plan list URL` tells the times, also of HitKeep's own backups",
                "deleting in a bucket: every backup stays",
            ],
            _ => &["care in deleting: a backup that broke off counts like a whole one"],
        };
        always.into_iter().chain(by_place.iter().copied()).collect()
    }
}

/// Reads a variable that holds a whole number, which is at least `least`.
fn number(variables: &Variables, name: &str, default: u64, least: u64, notes: &mut Vec<Diagnostic>) -> u64 {
    let Some(variable) = variables.get(name) else { return default };
    let number = variable.value.parse().ok().filter(|number| (least..=u64::from(u32::MAX)).contains(number));
    number.unwrap_or_else(|| {
        let message = format!("{variable} is {:?}, which is no whole number from {least} on", variable.value);
        notes.push(
            Diagnostic::error(code::INVALID_VALUE, message).help(format!("HitKeep takes {default} if it is not set")),
        );
        default
    })
}

fn retention(variables: &Variables, in_bucket: bool, notes: &mut Vec<Diagnostic>) -> Option<u32> {
    let retention = number(variables, BACKUP_RETENTION, DEFAULT_RETENTION.into(), 0, notes);
    let retention = u32::try_from(retention).unwrap_or(u32::MAX);
    let Some(variable) = variables.get(BACKUP_RETENTION) else { return (!in_bucket).then_some(retention) };
    if retention == 0 {
        let message =
            format!("{variable} is 0: HitKeep deletes every backup in a directory, the one just made included");
        notes.push(Diagnostic::warning(code::RETENTION, message).help("the plan keeps all; add `keep` for fewer"));
    } else if in_bucket {
        let message = format!("{variable} does nothing in a bucket: HitKeep deletes no backup there");
        notes.push(
            Diagnostic::warning(code::RETENTION, message)
                .help(format!("the plan keeps the newest {retention} of its own sets; remove `keep` to keep all")),
        );
    }
    Some(retention).filter(|retention| *retention > 0)
}
