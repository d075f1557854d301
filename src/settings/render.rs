//! The settings as a plan: text for people to go on with.

use std::fmt::{Display, Write as _};

use toml::Value;

use super::paths::{Place, SOMEWHERE};
use super::server::{Server, Setting};
use super::{ARCHIVE_PATH, BACKUP_INTERVAL, BACKUP_PATH, BACKUP_RETENTION, DATA_PATH, DB_PATH, Settings};
use crate::plan::environment::{
    S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_REGION, S3_SECRET_ACCESS_KEY, S3_SESSION_TOKEN, S3_URL_STYLE, S3_USE_SSL,
};

/// The folder of the plan's backups, inside of the one that HitKeep writes its own to: HitKeep looks at `shared` and `tenants` there.
const OWN_BACKUPS: &str = "hitkeep-plan";

/// The folder of the plan's archives.
const OWN_ARCHIVE: &str = "hitkeep-plan-archive";

/// Returns the plan.
pub(super) fn plan(settings: &Settings) -> String {
    let backups = Target::of(settings.backups.as_ref(), OWN_BACKUPS);
    let mut tables = vec![source(settings), destination(settings, &backups, "backups", BACKUP_PATH)];
    let archive = settings.archive.as_ref().map(|place| Target::of(Some(place), OWN_ARCHIVE));
    let is_apart = archive.as_ref().is_some_and(|archive| archive.url != backups.url);
    if let Some(archive) = archive.as_ref().filter(|_| is_apart) {
        tables.push(destination(settings, archive, "archive", ARCHIVE_PATH));
    }
    tables.push(backup(settings, &backups));
    if settings.archives {
        let beside = Target::of(settings.backups.as_ref(), OWN_ARCHIVE);
        let destination = if is_apart { "archive" } else { "backups" };
        tables.push(archive_job(archive.as_ref().unwrap_or(&beside), destination));
    }
    head(settings) + &tables.join("")
}

/// Where a job writes: a destination, and the folder in it.
struct Target {
    url: String,
    prefix: String,
    is_bucket: bool,
    /// Whether HitKeep's variables have named it.
    is_said: bool,
}

impl Target {
    fn of(place: Option<&Place>, own: &str) -> Self {
        let (url, folder) = match place {
            None => (SOMEWHERE.to_owned(), ""),
            Some(Place::Directory(path)) => (path.display().to_string(), ""),
            Some(Place::Bucket { name, folder }) => (format!("s3://{name}"), folder.as_str()),
        };
        let prefix = if folder.is_empty() { own.to_owned() } else { format!("{folder}/{own}") };
        Self { url, prefix, is_bucket: matches!(place, Some(Place::Bucket { .. })), is_said: place.is_some() }
    }
}

/// Returns the lines above the tables.
fn head(settings: &Settings) -> String {
    let mut text = format!(
        "# What HitKeep is told by its own variables, as read from {}.\n\
         #\n\
         # HitKeep's own backups may go on beside this plan: neither touches what the other writes.\n",
        settings.origin.escape_debug()
    );
    if !settings.secrets().is_empty() {
        text.push_str("# Wherever the plan is run, the environment provides what HitKeep's own does:\n#\n");
        for name in settings.secrets() {
            let meaning = match *name {
                S3_ACCESS_KEY_ID => "the access key",
                S3_SECRET_ACCESS_KEY => "its secret",
                _ => "its session token",
            };
            // Writing into a `String` cannot fail.
            let _ = writeln!(text, "#   {name:<28}  {meaning}");
        }
    }
    text + "\nversion = 1\n"
}

fn source(settings: &Settings) -> String {
    let mut table = Table::new("source.main");
    table.key("data_path", quoted(settings.data_path.display()), DATA_PATH);
    if let Some(path) = &settings.db_path {
        table.key("db_path", quoted(path.display()), DB_PATH);
    }
    table.note("Copies the databases while HitKeep has them open, and reads them while it is stopped.");
    table.key("capture", "\"auto\"", "");
    table.0
}

fn destination(settings: &Settings, target: &Target, name: &str, variable: &str) -> String {
    let mut table = Table::new(&format!("destination.{name}"));
    if !target.is_said {
        table.note("Something to begin with: name a directory of another disk, or a bucket.");
    }
    table.key("url", quoted(&target.url), if target.is_said { variable } else { "" });
    if let Some(server) = settings.server.as_ref().filter(|_| target.is_bucket) {
        table.server(server);
    }
    table.0
}

fn backup(settings: &Settings, target: &Target) -> String {
    let mut table = Table::new("backup.main");
    table.key("source", "\"main\"", "");
    table.key("to", "[\"backups\"]", "");
    if target.is_said {
        table.note("Beside HitKeep's own `shared` and `tenants`, which are left alone.");
    }
    table.key("prefix", quoted(literal(&target.prefix)), "");
    // How many sets come in the time of one of HitKeep's backups, as a fraction.
    let mut pace = (1, 1);
    match settings.interval.map(|minutes| (minutes, schedule(minutes))) {
        Some((minutes, (text, words, step))) => {
            if step != minutes {
                pace = (minutes, step);
                table.note(&format!("No schedule says \"every {minutes} minutes\": this is {words}."));
            }
            table.key("schedule", quoted(text), BACKUP_INTERVAL);
        }
        None => table.key("schedule", quoted("0 3 * * *"), ""),
    }
    match settings.retention.map(|count| (count, (u64::from(count) * pace.0).div_ceil(pace.1))) {
        Some((count, last)) => {
            if u64::from(count) != last {
                table.note(&format!("As far back as HitKeep's {count} backups."));
            }
            table.key("keep", format!("{{ last = {last} }}"), BACKUP_RETENTION);
        }
        None => table.note("All sets are kept. For fewer: keep = { last = 24, daily = 14, monthly = 12 }"),
    }
    table.0
}

fn archive_job(target: &Target, destination: &str) -> String {
    let mut table = Table::new("archive.cold");
    table.key("source", "\"main\"", "");
    table.key("to", format!("[\"{destination}\"]"), "");
    table.note("Beside HitKeep's own archives, which go on.");
    table.key("prefix", quoted(literal(&target.prefix)), "");
    table.key("schedule", quoted("30 4 * * *"), "");
    table.note("The retention of each site. A span that is shorter, as \"300d\", comes before HitKeep deletes.");
    table.key("older_than", "\"site\"", "");
    table.note("One file for each site, as HitKeep's own; \"hive\" is for query engines.");
    table.key("layout", "\"hitkeep\"", "");
    table.0
}

/// Returns the schedule that comes as often as asked or next more often, in words, and how often that is, in minutes.
fn schedule(minutes: u64) -> (String, String, u64) {
    const STEPS: [u64; 19] = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440];
    const WEEK: u64 = 7 * 24 * 60;
    let step = STEPS.into_iter().chain([WEEK]).rfind(|step| *step <= minutes).unwrap_or(1);
    let (schedule, words) = match step {
        1 => ("* * * * *".to_owned(), "every minute".to_owned()),
        60 => ("0 * * * *".to_owned(), "every hour".to_owned()),
        1440 => ("0 3 * * *".to_owned(), "every day".to_owned()),
        WEEK => ("0 3 * * 0".to_owned(), "every week".to_owned()),
        step if step < 60 => (format!("*/{step} * * * *"), format!("every {step} minutes")),
        step => (format!("0 */{} * * *", step / 60), format!("every {} hours", step / 60)),
    };
    (schedule, words, step)
}

/// A table as text.
struct Table(String);

impl Table {
    fn new(name: &str) -> Self {
        Self(format!("\n[{name}]\n"))
    }

    /// Adds a sentence about the key that follows.
    fn note(&mut self, sentence: &str) {
        // Writing into a `String` cannot fail.
        let _ = writeln!(self.0, "# {sentence}");
    }

    /// Adds a key, with the variable that it comes from, or nothing.
    fn key(&mut self, key: &str, value: impl Display, variable: &str) {
        let comment = if variable.is_empty() { String::new() } else { format!("  # {variable}") };
        let _ = writeln!(self.0, "{key} = {value}{comment}");
    }

    /// Adds a key with a value that no variable may say, and then why it has that.
    fn key_unless_said<T: Display>(&mut self, key: &str, setting: &Setting<T>, variable: &str, why: &str) {
        if !setting.is_said {
            self.note(&format!("{variable} is not set: {why}."));
        }
        self.key(key, &setting.value, if setting.is_said { variable } else { "" });
    }

    fn server(&mut self, server: &Server) {
        if let Some(endpoint) = &server.endpoint {
            self.key("endpoint", quoted(endpoint), S3_ENDPOINT);
        }
        self.key_unless_said("region", &server.region.map(quoted), S3_REGION, "this is HitKeep's default");
        if let Some(style) = &server.url_style {
            let why = "the server has no host of the bucket's name, by its looks";
            self.key_unless_said("url_style", &style.map(quoted), S3_URL_STYLE, why);
        }
        if let Some(use_ssl) = &server.use_ssl {
            self.key_unless_said("use_ssl", use_ssl, S3_USE_SSL, "the server speaks plain HTTP, by its looks");
        }
        if server.secrets().is_empty() {
            self.note("The access key is what the AWS chain finds: environment, profile, web identity, ECS, IMDS.");
        }
        for name in server.secrets() {
            let key = match *name {
                S3_SESSION_TOKEN => "session_token",
                S3_SECRET_ACCESS_KEY => "secret_access_key",
                _ => "access_key_id",
            };
            self.key(key, format!("{{ env = \"{name}\" }}"), "");
        }
    }
}

fn quoted(text: impl Display) -> Value {
    Value::String(text.to_string())
}

/// Returns the template that means this text: a brace that would begin something becomes one that is written out.
fn literal(text: &str) -> String {
    let mut template = String::new();
    for (index, c) in text.char_indices() {
        let begins = c == '{' && text[index + 1..].starts_with(['{', '%', '#']);
        template.push_str(if begins { "{{ '{' }}" } else { &text[index..index + c.len_utf8()] });
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_said_exactly_or_by_what_comes_more_often() {
        for (minutes, expected, is_exact) in [
            (1, "* * * * *", true),
            (7, "*/6 * * * *", false),
            (15, "*/15 * * * *", true),
            (45, "*/30 * * * *", false),
            (60, "0 * * * *", true),
            (90, "0 * * * *", false),
            (300, "0 */4 * * *", false),
            (360, "0 */6 * * *", true),
            (1440, "0 3 * * *", true),
            (2880, "0 3 * * *", false),
            (10080, "0 3 * * 0", true),
            (43200, "0 3 * * 0", false),
        ] {
            let (text, _, step) = schedule(minutes);
            assert_eq!((text.as_str(), step == minutes), (expected, is_exact), "{minutes}");
            assert!(text.parse::<crate::plan::Schedule>().is_ok(), "{text}");
        }
    }
}
