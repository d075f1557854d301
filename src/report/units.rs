//! The files by which a host's own scheduler asks a plan what is due.

use std::path::Path;

use minijinja::{Environment, context};

use crate::plan::{Plan, Store, Way, When};

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
    let unit = |kind: &str, template: &str| Unit {
        name: format!("hitkeep-plan-{}.{kind}", plan.name()),
        text: fill(template, plan, &in_a_unit(program), &in_a_unit(file)),
    };
    vec![unit("service", include_str!("units/service.txt")), unit("timer", include_str!("units/timer.txt"))]
}

/// Returns a line for a crontab.
#[must_use]
pub fn crontab(plan: &Plan, file: &Path, program: &Path) -> Unit {
    let text = fill(include_str!("units/crontab.txt"), plan, &in_a_crontab(program), &in_a_crontab(file));
    Unit { name: format!("hitkeep-plan-{}.crontab", plan.name()), text }
}

/// Fills in a template of this program's own, which is whole.
fn fill(template: &str, plan: &Plan, program: &str, file: &str) -> String {
    let writable: Vec<String> = written(plan).into_iter().map(in_a_unit).collect();
    let has_bucket = plan.destinations().iter().any(|destination| matches!(destination.store(), Store::Bucket(_)));
    let has_address = plan.notices().iter().any(|notice| !matches!(notice.way(), Way::Command(_)));
    let (has_network, may_skip) = (has_bucket || has_address, !plan.hooks().at(When::Before).is_empty());
    let values =
        context! { name => plan.name(), program, plan => file, writable, has_network, may_skip, minutes => tick(plan) };
    Environment::new().render_str(template, values).unwrap_or_default() + "\n"
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
