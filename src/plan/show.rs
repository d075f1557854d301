//! The effective plan as text: every value that holds, and where it comes from.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::sync::Arc;

use toml::Value;

use super::bucket::Credentials;
use super::keep::Keeping;
use super::lifecycle::{Lifecycling, Transition};
use super::timetable::Timing;
use super::upload::Uploading;
use super::{
    Archive, Backup, Bucket, Chosen, Command, Destination, Encryption, Hooks, Installation, Local, Metrics, Notice,
    Origin, Plan, Secret, Selection, Snapshots, Source, SourceKind, Store, Way,
};
use crate::measure::{Bytes, Span};
use crate::name::Prefix;

/// Returns the plan as TOML, each line with its origin in a comment.
pub(super) fn show(plan: &Plan) -> String {
    let parts = &plan.parts;
    let mut tables = vec![top(plan)];
    if !parts.variables.is_empty() {
        tables.push(variables(plan));
    }
    tables.extend(parts.sources.iter().map(|item| source(item)));
    tables.extend(parts.destinations.iter().map(|item| destination(item)));
    tables.extend(parts.backups.iter().map(backup));
    tables.extend(parts.archives.iter().map(archive));
    if !parts.hooks.is_empty() {
        tables.push(hooks(&parts.hooks));
    }
    tables.extend(parts.notices.iter().map(notice));
    tables.extend(parts.metrics.as_ref().map(metrics));
    tables.push(local(&parts.local));
    let of_shard = plan.shard().map(|shard| format!("# Of the databases, those of shard {shard}.\n"));
    let tables: Vec<String> = of_shard.into_iter().chain(tables.iter().map(Table::text)).collect();
    tables.join("\n")
}

/// One table: its header, then lines of a key's text and its origin.
struct Table {
    header: String,
    lines: Vec<(String, String)>,
}

impl Table {
    fn new(header: String) -> Self {
        Self { header, lines: Vec::new() }
    }

    fn add<T>(&mut self, key: &str, value: impl Display, chosen: &Chosen<T>) {
        self.line(key, value, &chosen.origin);
    }

    fn line(&mut self, key: &str, value: impl Display, origin: &Origin) {
        self.lines.push((format!("{key} = {value}"), origin.to_string()));
    }

    /// Adds a value that may be left to others: then the line says to whom.
    fn add_or<T>(&mut self, key: &str, chosen: Option<&Chosen<T>>, value: impl Fn(&T) -> String, otherwise: &str) {
        match chosen {
            Some(chosen) => self.add(key, value(&chosen.value), chosen),
            None => self.lines.push((format!("# {key}: {otherwise}"), Origin::Default.to_string())),
        }
    }

    fn text(&self) -> String {
        let width = self.lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        let mut text = self.header.clone();
        for (line, origin) in &self.lines {
            let _ = writeln!(text, "{line:width$}  # {origin}");
        }
        text
    }
}

fn top(plan: &Plan) -> Table {
    let zone = &plan.parts.timezone;
    let mut table = Table::new(format!("# the plan `{}`, sha256 {}\nversion = 1\n", plan.name, plan.digest()));
    table.add("timezone", quoted(zone.value.iana_name().unwrap_or("UTC")), zone);
    table
}

fn variables(plan: &Plan) -> Table {
    let mut table = Table::new("[vars]\n".to_owned());
    for (name, variable) in &plan.parts.variables {
        table.add(name, quoted(&variable.value), variable);
    }
    table
}

fn source(source: &Source) -> Table {
    let mut table = Table::new(format!("[source.{}]  # line {}\n", source.name, source.line));
    match &source.kind {
        SourceKind::Installation(Installation { data_path, db_path, capture }) => {
            table.add("data_path", path(&data_path.value), data_path);
            table.add("db_path", path(&db_path.value), db_path);
            table.add("capture", quoted(capture.value.as_str()), capture);
        }
        SourceKind::Snapshots(Snapshots { folder }) => table.add("snapshots", path(&folder.value), folder),
    }
    table
}

fn destination(destination: &Destination) -> Table {
    let mut table = Table::new(format!("[destination.{}]  # line {}\n", destination.name, destination.line));
    match &destination.store.value {
        Store::Directory(root) => table.add("url", path(root), &destination.store),
        Store::Bucket(held) => {
            table.add("url", quoted(&held.to_string()), &destination.store);
            bucket(&mut table, held);
        }
    }
    table
}

fn bucket(table: &mut Table, bucket: &Bucket) {
    table.add_or("region", bucket.region.as_ref(), |region| quoted(region), "what the AWS SDK finds");
    table.add_or("endpoint", bucket.endpoint.as_ref(), |endpoint| quoted(&endpoint.to_string()), "AWS");
    table.add("url_style", quoted(bucket.url_style.value.as_str()), &bucket.url_style);
    table.add("use_ssl", bucket.use_ssl.value, &bucket.use_ssl);
    credentials(table, bucket.credentials.as_ref());
    table.add_or("storage_class", bucket.storage_class.as_ref(), |class| quoted(class), "the server's choice");
    table.add_or("encryption", bucket.encryption.as_ref(), |kind| quoted(kind.as_str()), "the bucket's choice");
    if let Some(Encryption::Kms { key: Some(key) }) = bucket.encryption() {
        table.line("kms_key", quoted(key), &bucket.kms_key);
    }
    table.add_or("ca_bundle", bucket.ca_bundle.as_ref(), |file| path(file), "none but this host's");
    table.add("checksum", quoted(bucket.checksum.value.as_str()), &bucket.checksum);
    lifecycle(table, bucket.lifecycling.as_ref());
}

fn lifecycle(table: &mut Table, lifecycling: Option<&Lifecycling>) {
    let Some(Lifecycling { expire_after, expire_versions_after, transitions, abort_uploads_after }) = lifecycling
    else {
        return table.add_or::<Lifecycling>("lifecycle", None, |_| String::new(), "what others have told the bucket");
    };
    let days = |days: &u32| quoted(&format!("{days}d"));
    table.add_or("lifecycle.expire_after", expire_after.as_ref(), days, "never");
    table.add_or("lifecycle.expire_versions_after", expire_versions_after.as_ref(), days, "never");
    let step = |Transition { after, class }: &Transition| {
        format!("{{ after = {}, class = {} }}", days(&after.value), quoted(&class.value))
    };
    if let Some(first) = transitions.first() {
        let steps: Vec<String> = transitions.iter().map(step).collect();
        table.add("lifecycle.transition", format!("[{}]", steps.join(", ")), &first.after);
    }
    table.add("lifecycle.abort_uploads_after", days(&abort_uploads_after.value), abort_uploads_after);
}

fn credentials(table: &mut Table, credentials: Option<&Credentials>) {
    let Some(found) = credentials else {
        table.add_or::<Secret>("access_key_id", None, secret, "what the AWS SDK finds");
        return;
    };
    table.line("access_key_id", secret(&found.keys.access_key_id), &found.access_key_id);
    table.line("secret_access_key", secret(&found.keys.secret_access_key), &found.secret_access_key);
    if let Some(token) = &found.keys.session_token {
        table.line("session_token", secret(token), &found.session_token);
    }
}

fn backup(job: &Backup) -> Table {
    let mut table = Table::new(format!("[backup.{}]  # line {}\n", job.name, job.line));
    table.add("source", quoted(job.source.value.name.as_str()), &job.source);
    table.add("to", list(job.to.value.iter().map(|destination| destination.name.to_string())), &job.to);
    prefix(&mut table, &job.prefix, &job.template);
    let databases = match &job.databases.value {
        Selection::All | Selection::Shard(_) => quoted("all"),
        Selection::Only(ids) => list(ids.iter().map(ToString::to_string)),
    };
    timing(&mut table, job.timing.as_ref());
    table.add("databases", databases, &job.databases);
    if matches!(job.source().kind(), SourceKind::Installation(_)) {
        table.add("compression", quoted(job.compression.value.as_str()), &job.compression);
    }
    table.add("verify", quoted(job.verify.value.as_str()), &job.verify);
    table.add_or("assert", job.assertions.as_ref(), |queries| list(queries.iter().cloned()), "nothing");
    keep(&mut table, job.keeping.as_ref());
    let objective = &job.objectives;
    let span = |span: &Span| quoted(&span.to_string());
    table.add_or("objective.rpo", objective.rpo.as_ref(), span, "not judged");
    table.add_or("objective.drill_every", objective.drill_every.as_ref(), span, "not judged");
    table.add("max_shrink", quoted(&job.max_shrink.value.to_string()), &job.max_shrink);
    table.add_or("timeout", job.timeout.as_ref(), |timeout| quoted(&timeout.to_string()), "no limit");
    upload(&mut table, &job.uploading, &job.to.value);
    table
}

fn keep(table: &mut Table, keeping: Option<&Keeping>) {
    let Some(keeping) = keeping else {
        return table.add_or::<Keeping>("keep", None, |_| String::new(), "every set");
    };
    for (rule, count) in &keeping.rules {
        table.add(&format!("keep.{rule}"), count.value, count);
    }
    if let Some(within) = &keeping.within {
        table.add("keep.within", quoted(&within.value.to_string()), within);
    }
    table.add("keep.min", keeping.min.value, &keeping.min);
}

fn archive(job: &Archive) -> Table {
    let mut table = Table::new(format!("[archive.{}]  # line {}\n", job.name, job.line));
    table.add("source", quoted(job.source.value.name.as_str()), &job.source);
    table.add("to", list(job.to.value.iter().map(|destination| destination.name.to_string())), &job.to);
    prefix(&mut table, &job.prefix, &job.template);
    timing(&mut table, job.timing.as_ref());
    table.add("older_than", quoted(&job.older_than.value.to_string()), &job.older_than);
    table.add("layout", quoted(job.layout.value.as_str()), &job.layout);
    table.add("delete", job.delete.value, &job.delete);
    table.add_or("timeout", job.timeout.as_ref(), |timeout| quoted(&timeout.to_string()), "no limit");
    upload(&mut table, &job.uploading, &job.to.value);
    table
}

/// Adds when a job runs.
fn timing(table: &mut Table, timing: Option<&Timing>) {
    let Some(Timing { schedule, catch_up, jitter }) = timing else {
        return table.add_or::<Timing>("schedule", None, |_| String::new(), "by hand only");
    };
    table.add("schedule", quoted(&schedule.value.to_string()), schedule);
    table.add("catch_up", catch_up.value, catch_up);
    table.add_or("jitter", jitter.as_ref(), |jitter| quoted(&jitter.to_string()), "none");
}

/// Adds the folder of a job, and the template that it comes from.
fn prefix(table: &mut Table, prefix: &Chosen<Prefix>, template: &str) {
    table.add("prefix", quoted(prefix.value.as_str()), prefix);
    if let Some((_, origin)) = table.lines.last_mut().filter(|_| template != prefix.value.as_str()) {
        let _ = write!(origin, ", from {}", quoted(template));
    }
}

fn upload(table: &mut Table, uploading: &Uploading, to: &[Arc<Destination>]) {
    if !to.iter().any(|destination| destination.is_bucket()) {
        return;
    }
    let Uploading { concurrency, part_size, bandwidth } = uploading;
    table.add("upload.concurrency", concurrency.value, concurrency);
    table.add("upload.part_size", quoted(&size(part_size.value)), part_size);
    let rate = |bytes: &Bytes| quoted(&format!("{}/s", size(*bytes)));
    table.add_or("upload.bandwidth", bandwidth.as_ref(), rate, "no limit");
}

fn hooks(hooks: &Hooks) -> Table {
    let mut table = Table::new("[hooks]\n".to_owned());
    for (key, commands) in [("before", &hooks.before), ("after", &hooks.after), ("failure", &hooks.failure)] {
        table.add(key, Value::Array(commands.value.iter().map(command).collect()), commands);
    }
    table.add("timeout", quoted(&hooks.timeout.value.to_string()), &hooks.timeout);
    table
}

fn notice(notice: &Notice) -> Table {
    let mut table = Table::new(format!("[notify.{}]  # line {}\n", notice.name, notice.line));
    table.add("on", list(notice.on.value.iter().map(ToString::to_string)), &notice.on);
    let way = match notice.way() {
        Way::Healthchecks(found) | Way::Webhook(found) => secret(found),
        Way::Command(held) => command(held).to_string(),
    };
    table.add(notice.way().as_str(), way, &notice.way);
    if let Some(template) = &notice.template {
        table.add("template", quoted(&template.value), template);
    }
    table.add("timeout", quoted(&notice.timeout.value.to_string()), &notice.timeout);
    table
}

fn metrics(metrics: &Metrics) -> Table {
    let mut table = Table::new("[metrics]\n".to_owned());
    table.add("textfile", path(&metrics.textfile.value), &metrics.textfile);
    table
}

fn command(command: &Command) -> Value {
    Value::Array(command.words().iter().cloned().map(Value::String).collect())
}

fn local(local: &Local) -> Table {
    let mut table = Table::new("[local]\n".to_owned());
    table.add("state", path(&local.state.value), &local.state);
    table.add("staging", path(&local.staging.value), &local.staging);
    table.add("memory_limit", quoted(&size(local.memory_limit.value)), &local.memory_limit);
    table
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn list(items: impl Iterator<Item = String>) -> String {
    Value::Array(items.map(Value::String).collect()).to_string()
}

/// Returns the reference, which is all that is known of a secret here.
fn secret(secret: &Secret) -> String {
    match secret {
        Secret::Variable(name) => format!("{{ env = {} }}", quoted(name)),
        Secret::File(file) => format!("{{ file = {} }}", path(file)),
        Secret::Command(words) => format!("{{ command = {} }}", command(words)),
        Secret::Credential(name) => format!("{{ credential = {} }}", quoted(name)),
    }
}

/// Returns the size as plans write it, exactly: in the largest unit that divides it.
fn size(bytes: Bytes) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = |(_, shift): &(&str, u32)| bytes.0.trailing_zeros() >= *shift && bytes.0 != 0;
    let (unit, shift) = units.into_iter().find(fits).unwrap_or(("B", 0));
    format!("{}{unit}", bytes.0 >> shift)
}
