//! The effective plan as text: every value that holds, and where it comes from.

use std::fmt::{Display, Write as _};
use std::path::Path;

use toml::Value;

use super::{Backup, Chosen, Destination, Local, Origin, Plan, Selection, Source};
use crate::measure::Bytes;

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
    tables.push(local(&parts.local));
    let tables: Vec<String> = tables.iter().map(Table::text).collect();
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
        self.lines.push((format!("{key} = {value}"), chosen.origin.to_string()));
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
    table.add("data_path", path(&source.data_path.value), &source.data_path);
    table.add("db_path", path(&source.db_path.value), &source.db_path);
    table.add("capture", quoted(source.capture.value.as_str()), &source.capture);
    table
}

fn destination(destination: &Destination) -> Table {
    let mut table = Table::new(format!("[destination.{}]  # line {}\n", destination.name, destination.line));
    table.add("url", path(destination.store.value.directory()), &destination.store);
    table
}

fn backup(job: &Backup) -> Table {
    let mut table = Table::new(format!("[backup.{}]  # line {}\n", job.name, job.line));
    table.add("source", quoted(job.source.value.name.as_str()), &job.source);
    table.add("to", list(job.to.value.iter().map(|destination| destination.name.to_string())), &job.to);
    table.add("prefix", quoted(job.prefix.value.as_str()), &job.prefix);
    if let Some((_, origin)) = table.lines.last_mut().filter(|_| job.template != job.prefix.value.as_str()) {
        let _ = write!(origin, ", from {}", quoted(&job.template));
    }
    let databases = match &job.databases.value {
        Selection::All => quoted("all"),
        Selection::Only(ids) => list(ids.iter().map(ToString::to_string)),
    };
    table.add("databases", databases, &job.databases);
    table.add("compression", quoted(job.compression.value.as_str()), &job.compression);
    table.add("verify", quoted(job.verify.value.as_str()), &job.verify);
    match &job.timeout {
        Some(timeout) => table.add("timeout", quoted(&timeout.value.to_string()), timeout),
        None => table.lines.push(("# timeout: no limit".to_owned(), Origin::Default.to_string())),
    }
    table
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

/// Returns the size as plans write it, exactly: in the largest unit that divides it.
fn size(bytes: Bytes) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = |(_, shift): &(&str, u32)| bytes.0.trailing_zeros() >= *shift && bytes.0 != 0;
    let (unit, shift) = units.into_iter().find(fits).unwrap_or(("B", 0));
    format!("{}{unit}", bytes.0 >> shift)
}
