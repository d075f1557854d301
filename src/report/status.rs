//! How the series of a plan stand, for people: a block for each, as wide as there is room.

use jiff::{SignedDuration, Timestamp};

use super::table::span;
use crate::measure::{Bytes, Grouped, counted};
use crate::plan::Objective;
use crate::record::Status;
use crate::work::{self, Judgement, Looked, Sampled, SeriesStatus, Standing, Trend};

/// How far the values stand from the left.
const INDENT: usize = 15;

/// The least room that a value is given, however narrow the terminal is.
const NARROWEST: usize = 16;

/// Writes a block for each series, in lines of `width` characters.
#[must_use]
pub fn status(all: &[(SeriesStatus, Objective)], now: Timestamp, width: usize) -> String {
    let block = |(series, objective): &(SeriesStatus, Objective)| block(series, *objective, now, width);
    all.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn block(series: &SeriesStatus, objective: Objective, now: Timestamp, width: usize) -> String {
    let SeriesStatus { job, destination, at, next_run, standing } = series;
    let (verdict, lines) = match standing {
        Looked::Unreachable(cause) => ("unreachable", vec![("cause", cause.clone())]),
        Looked::Standing(standing) => (verdict(standing, objective), lines(standing, objective, now)),
    };
    let title = format!("{job} → {destination}: {verdict}\n");
    let next = next_run.map(|next| ("next run", format!("{next:.0}, in {}", span(next.duration_since(now)))));
    let lines = std::iter::once(("in", at.clone())).chain(lines).chain(next);
    let lines = lines.map(|(key, value)| line(key, &value, width));
    title + &lines.collect::<String>()
}

pub(super) fn verdict(standing: &Standing, objective: Objective) -> &'static str {
    match (standing.is_broken(), objective == Objective::default()) {
        (true, _) => "broken",
        (false, true) => "no objective",
        (false, false) => "met",
    }
}

pub(super) fn lines(standing: &Standing, objective: Objective, now: Timestamp) -> Vec<(&'static str, String)> {
    let ago = |then: Timestamp| {
        if work::is_ahead(then, now) {
            return format!("which is to come yet, in {}", span(then.duration_since(now)));
        }
        format!("{} ago", span(now.duration_since(then)))
    };
    let mut lines = Vec::new();
    match &standing.newest {
        None => lines.push(("last success", "never".to_owned())),
        Some(newest) => {
            lines.push(("last success", format!("{}, {}", newest.set, ago(newest.set.moment()))));
            lines.push(("size", trend(newest.bytes, Bytes(newest.bytes.now).to_string())));
            lines.push(("rows", trend(newest.rows, Grouped(newest.rows.now).to_string())));
        }
    }
    lines.push(("verified", standing.newest_verified.map_or_else(|| "none".to_owned(), |set| set.to_string())));
    if let Some(sampled) = &standing.sampled {
        lines.push(("sampled", read(sampled, &ago(sampled.at))));
        lines.extend(
            sampled.failed.iter().map(|failed| ("bad sample", format!("{}: {}", ago(failed.at), failed.cause))),
        );
    }
    lines.push(match &standing.newest_drilled {
        None => ("drilled", "none".to_owned()),
        Some(drill) => {
            let took = drill.recovery_milliseconds.map(|took| format!(", back in {}", seconds(took)));
            ("drilled", format!("{}, {}{}", drill.set, ago(drill.at), took.unwrap_or_default()))
        }
    });
    lines.extend(
        standing
            .failed_drill
            .iter()
            .map(|drill| ("drill failed", format!("{}, {}: {}", drill.set, ago(drill.at), drill.cause))),
    );
    lines.extend(standing.last_trouble.iter().map(|trouble| {
        let what = if trouble.status == Status::Partial { "last partial" } else { "last failure" };
        (what, format!("{}: {}", ago(trouble.at), trouble.cause))
    }));
    lines.push(("sets", sets(standing)));
    lines.push(("lock", standing.holder.clone().unwrap_or_else(|| "nobody writes".to_owned())));
    lines.extend(judged("rpo", objective.rpo.map(|rpo| rpo.to_string()), &standing.rpo));
    lines.extend(judged("drill every", objective.drill_every.map(|every| every.to_string()), &standing.drill));
    lines
}

/// Says how much of the newest set has been read part by part, and when the last part of any was.
fn read(sampled: &Sampled, ago: &str) -> String {
    let Sampled { files, of_files, bytes, of_bytes, .. } = sampled;
    match files {
        0 => format!("nothing of the newest set; the last reading {ago}"),
        _ => format!(
            "{} of {} files of the newest set ({} of {}), the last {ago}",
            Grouped(*files),
            Grouped(*of_files),
            Bytes(*bytes),
            Bytes(*of_bytes)
        ),
    }
}

fn sets(standing: &Standing) -> String {
    match standing.not_looked_at {
        0 => counted(standing.sets, "set"),
        more => format!("{}, the newest {} looked at", counted(standing.sets + more, "set"), standing.sets),
    }
}

fn trend(trend: Trend, now: String) -> String {
    let since = |before, what| Some(format!(", {} {what}", trend.change(before)?));
    let before = since(trend.before, "since the set before");
    let first = since(trend.first, "since the oldest looked at");
    [Some(now), before, first].into_iter().flatten().collect()
}

fn judged(key: &'static str, limit: Option<String>, verdict: &Judgement) -> Option<(&'static str, String)> {
    let limit = limit?;
    match verdict {
        Judgement::NotJudged => None,
        Judgement::Met => Some((key, format!("{limit}: met"))),
        Judgement::Broken(why) => Some((key, format!("{limit}: broken, {why}"))),
    }
}

/// Writes milliseconds as seconds with one decimal.
fn seconds(milliseconds: u64) -> String {
    match SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX)) {
        short if short < SignedDuration::from_mins(1) => {
            format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
        }
        long => span(long),
    }
}

/// Writes a key and its value, which goes on below itself where it is too long for one line.
fn line(key: &str, value: &str, width: usize) -> String {
    let parts = wrapped(value, width.saturating_sub(INDENT).max(NARROWEST));
    let below = format!("\n{:INDENT$}", "");
    format!("  {key:<width$}{}\n", parts.join(&below), width = INDENT - 2)
}

/// Breaks a text between words into lines of `width` characters; a word that is longer is broken itself.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last().map_or(0, |line| line.chars().count());
            let begins = line == 0;
            if line + usize::from(!begins) + word.len() <= width {
                let last = lines.len() - 1;
                lines[last].push_str(if begins { "" } else { " " });
                lines[last].extend(word);
                break;
            }
            if begins {
                let rest = word.split_off(width);
                let last = lines.len() - 1;
                lines[last].extend(word);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_broken_between_words_or_in_one_that_is_too_long() {
        for (text, width, lines) in [
            ("", 4, vec![""]),
            ("a bc def", 4, vec!["a bc", "def"]),
            ("abcd efgh", 4, vec!["abcd", "efgh"]),
            ("abcdefghij k", 4, vec!["abcd", "efgh", "ij k"]),
            ("a abcdefgh", 4, vec!["a", "abcd", "efgh"]),
            ("äöüß ß", 4, vec!["äöüß", "ß"]),
        ] {
            assert_eq!(wrapped(text, width), lines, "{text:?}");
        }
    }
}
