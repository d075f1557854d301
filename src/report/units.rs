//! The files by which a scheduler that is there already asks a plan what is due.

mod kubernetes;

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::{Environment, Value, context};

use crate::plan::{Plan, Secret, Store, Way, When};

pub use kubernetes::{Unfit, kubernetes, workflow};

/// The characters of a path that mean themselves to systemd and to a shell.
const PLAIN: &str = "/._-+@:,";

/// A file for a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name of the file.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Returns a service that runs what is due, and the timer that starts it, for systemd. Both paths are absolute.
#[must_use]
pub fn systemd(plan: &Plan, file: &Path, program: &Path) -> Vec<Unit> {
    let timer = fill(include_str!("units/timer.txt"), plan, "", "", false);
    vec![service(plan, file, program, false), Unit { name: format!("hitkeep-plan-{}.timer", plain(plan)), text: timer }]
}

/// Returns a service that keeps the schedules itself, for systemd. Both paths are absolute.
#[must_use]
pub fn daemon(plan: &Plan, file: &Path, program: &Path) -> Unit {
    service(plan, file, program, true)
}

fn service(plan: &Plan, file: &Path, program: &Path, is_daemon: bool) -> Unit {
    let text = fill(include_str!("units/service.txt"), plan, &in_a_unit(program), &in_a_unit(file), is_daemon);
    Unit { name: format!("hitkeep-plan-{}.service", plain(plan)), text }
}

/// Returns a line for a crontab.
#[must_use]
pub fn crontab(plan: &Plan, file: &Path, program: &Path) -> Unit {
    let text = fill(include_str!("units/crontab.txt"), plan, &in_a_crontab(program), &in_a_crontab(file), false);
    Unit { name: format!("hitkeep-plan-{}.crontab", plain(plan)), text }
}

/// Fills in what a host's scheduler is given.
fn fill(template: &str, plan: &Plan, program: &str, file: &str, is_daemon: bool) -> String {
    let writable: Vec<String> = written(plan).into_iter().map(in_a_unit).collect();
    let has_bucket = plan.destinations().iter().any(|destination| destination.is_bucket());
    let has_address = plan.notices().iter().any(|notice| !matches!(notice.way(), Way::Command(_)));
    let (has_network, may_skip) = (has_bucket || has_address, !plan.hooks().at(When::Before).is_empty());
    let (name, minutes, credentials) = (plain(plan), tick(plan), credentials(plan));
    render(
        template,
        context! { name, program, plan => file, is_daemon, writable, has_network, may_skip, minutes, credentials },
    )
}

/// Renders a template of this program's own, which is whole.
fn render(template: &str, values: Value) -> String {
    let text = Environment::new().render_str(template, values).unwrap_or_default();
    text.trim_end().to_owned() + "\n"
}

/// Returns the name of a plan as far as it can be part of the name of a unit: another character is a hyphen there.
fn plain(plan: &Plan) -> String {
    plan.name().chars().map(|c| if c.is_ascii_alphanumeric() || "_.".contains(c) { c } else { '-' }).collect()
}

/// Returns where a plan has something written, but for temporary folders and the state directory that systemd gives.
fn written(plan: &Plan) -> Vec<&Path> {
    let directories = plan.destinations().iter().filter_map(|destination| match destination.store() {
        Store::Directory(path) => Some(path.as_path()),
        Store::Bucket(_) => None,
    });
    let metrics = plan.metrics().and_then(|metrics| metrics.textfile().parent());
    directories.chain(plan.local().chosen()).chain(metrics).collect()
}

/// Returns the names of the credentials that systemd is to hand over.
fn credentials(plan: &Plan) -> BTreeSet<String> {
    let name = |secret: &Secret| match secret {
        Secret::Credential(name) => Some(name.clone()),
        _ => None,
    };
    plan.secrets().filter_map(name).collect()
}

/// Returns how many minutes lie between two questions what is due: five, unless a job may come in between.
fn tick(plan: &Plan) -> u32 {
    let timetables = plan.jobs().filter_map(|job| plan.timetable(job));
    let mut minutes = timetables.flat_map(|timetable| timetable.minutes());
    if minutes.all(|minute| minute % 5 == 0) { 5 } else { 1 }
}

/// Writes a path as systemd reads it.
fn in_a_unit(path: &Path) -> String {
    let text = path.display().to_string();
    if is_plain(&text) {
        return text;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

/// Writes a path as cron and then a shell read it.
fn in_a_crontab(path: &Path) -> String {
    let text = path.display().to_string();
    if is_plain(&text) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''").replace('%', "\\%"))
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(c))
}
