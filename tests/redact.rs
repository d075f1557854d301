//! What differs from run to run is taken out of what is compared: names of sets, times, ids, digests, sizes, places.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hitkeep_plan::name::SnapshotId;
use serde_json::Value;
use snapbox::{Data, assert_data_eq};

use crate::fixture::{Site, walk};

/// Compares a text with `tests/golden/<name>`; with `SNAPSHOTS=overwrite` the file is written.
pub(crate) fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    assert_data_eq!(Data::text(actual), Data::read_from(&path, None).raw());
}

/// Replaces what differs from run to run in a text.
pub(crate) fn text(site: &Site, text: &str) -> String {
    let folder = site.path("").display().to_string();
    let text = unwrapped(text).replace(folder.trim_end_matches('/'), "[SITE]");
    let host = rustix::system::uname();
    let on_host = |after: &str| format!(" on {}{after}", host.nodename().to_string_lossy());
    let text =
        [",", " stored"].iter().fold(text, |text, after| text.replace(&on_host(after), &format!(" on [HOST]{after}")));
    let mut redacted = String::new();
    let mut rest = text.as_str();
    let mut is_inside_word = false;
    while let Some(first) = rest.chars().next() {
        if let Some((length, name)) = (!is_inside_word).then(|| volatile(rest)).flatten() {
            redacted.push_str(name);
            rest = &rest[length..];
        } else {
            redacted.push(first);
            rest = &rest[first.len_utf8()..];
            is_inside_word = first.is_alphanumeric();
        }
    }
    redacted
}

/// Joins the lines that a drawn message was broken into: where depends on the length of what is taken out.
fn unwrapped(text: &str) -> String {
    let mut joined = String::new();
    let mut is_message = false;
    for line in text.split_inclusive('\n') {
        let next = line.trim_start().strip_prefix("│ ").filter(|_| is_message);
        is_message = next.is_some() || line.trim_start().starts_with('×');
        match next {
            Some(rest) => {
                joined.truncate(joined.trim_end().len());
                // Long words are broken after a slash or a hyphen.
                joined.push_str(if joined.ends_with(['/', '-']) { "" } else { " " });
                joined.push_str(rest);
            }
            None => joined.push_str(line),
        }
    }
    joined
}

/// Returns the length of what a text begins with, and what stands in its place, if it is of those that differ.
fn volatile(rest: &str) -> Option<(usize, &'static str)> {
    let head = |length| rest.get(..length);
    if head(18).is_some_and(|head| head.parse::<SnapshotId>().is_ok()) {
        return Some((18, "[SET]"));
    }
    if head(36).and_then(|head| uuid::Uuid::parse_str(head).ok()).is_some_and(is_recent) {
        return Some((36, "[RUN]"));
    }
    if head(64).is_some_and(|head| head.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Some((64, "[SHA256]"));
    }
    if head(32).is_some_and(|head| head.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Some((32, "[ID]"));
    }
    let end = |is_part: fn(char) -> bool| rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let length = end(|c| c.is_ascii_digit() || "-:.TZ".contains(c));
    let moment = rest[..length].trim_end_matches(['.', ':']);
    if moment.len() > 18 && moment.parse::<jiff::Timestamp>().is_ok() {
        return Some((moment.len(), "[TIME]"));
    }
    if rest.get(8..).is_some_and(|after| after.starts_with('/')) && rest[..8].bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some((8, "[DAY]"));
    }
    if let Some(number) = rest.strip_prefix("PID ") {
        let digits = number.find(|c: char| !c.is_ascii_digit())?;
        return Some((rest.len() - number.len() + digits, "PID [PID]"));
    }
    amount(rest)
}

/// Finds a number with a unit that differs.
fn amount(rest: &str) -> Option<(usize, &'static str)> {
    let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|digits| *digits > 0)?;
    let unit = rest[digits..].strip_prefix(' ')?;
    let word = &unit[..unit.find(|c: char| !c.is_alphanumeric()).unwrap_or(unit.len())];
    let length = digits + 1 + word.len();
    match word {
        "B" | "KiB" | "MiB" | "GiB" => Some((length, "[SIZE]")),
        "bytes" => Some((length, "[SIZE] bytes")),
        "s" | "min" | "h" | "d" => Some((length, "[AGE]")),
        _ => None,
    }
}

fn is_recent(id: uuid::Uuid) -> bool {
    let seconds = id.get_timestamp().map_or(0, |moment| moment.to_unix().0);
    jiff::Timestamp::now().as_second().unsigned_abs().abs_diff(seconds) < 86_400
}

/// Replaces what differs from run to run in a JSON document.
pub(crate) fn json(site: &Site, value: &Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(site, string)),
        Value::Array(values) => values.iter().map(|value| json(site, value)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), member(site, key, value))).collect(),
        other => other.clone(),
    }
}

fn member(site: &Site, key: &str, value: &Value) -> Value {
    match key {
        "bytes"
        | "database_bytes"
        | "spread_seconds"
        | "copy_milliseconds"
        | "milliseconds"
        | "recovery_milliseconds"
        | "took"
        | "total"
        | "moved"
        | "host"
        | "crc64nvme"
            if !value.is_null() =>
        {
            "[…]".into()
        }
        "spread_seconds" | "copy_milliseconds" | "milliseconds" => "[…]".into(),
        _ => json(site, value),
    }
}

/// Lists a folder with the mode of everything in it, in order.
pub(crate) fn tree(site: &Site, folder: &str) -> String {
    let root = site.path(folder);
    let mut lines = Vec::new();
    walk(&root, &mut |path| {
        let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let slash = if path.is_dir() { "/" } else { "" };
        lines.push(text(site, &format!("{name}{slash}  {mode:04o}")));
    });
    lines.sort();
    lines.iter().fold(String::new(), |mut all, line| {
        writeln!(all, "{line}").unwrap();
        all
    })
}

/// Makes every gap between columns two spaces wide: how wide a column is depends on what was taken out.
pub(crate) fn narrow(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.trim_end().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        words.join("  ") + "\n"
    };
    text.lines().map(line).collect()
}

/// An outcome of the program as one text: its exit code and both outputs.
pub(crate) fn outcome(site: &Site, outcome: &crate::fixture::Outcome) -> String {
    let all = format!("exit code {}\n--- stdout\n{}--- stderr\n{}", outcome.code, outcome.stdout, outcome.stderr);
    text(site, &all)
}

/// Returns what is said without the lines and frames that it is drawn in.
pub(crate) fn plain(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// Says loudly that a test could not be made here; where everything must be tested, that is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

/// Puts the lines of tasks that stand together in the order of their numbers: two tasks may be under way at the same time.
pub(crate) fn tasks_in_order(text: &str) -> String {
    let number = |line: &str| line.get(..4).and_then(|number| number.trim().parse::<u32>().ok());
    let mut lines: Vec<&str> = text.lines().collect();
    for tasks in lines.chunk_by_mut(|one, next| number(one).is_some() == number(next).is_some()) {
        tasks.sort_by_key(|line| number(line));
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}
