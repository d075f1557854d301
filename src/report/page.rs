//! How the series of a plan stand, as one page for a browser: a calendar of sets, how tables grow, what is kept and why.
//!
//! The page holds everything that it shows, and runs nothing. What it shows comes from backups, and may be anything: the
//! template escapes every value.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use super::status::{lines, verdict};
use super::table::span;
use crate::measure::{Bytes, Grouped};
use crate::name::SnapshotId;
use crate::plan::Objective;
use crate::record::{Set, State};
use crate::work::{Looked, SeriesStatus, Trend};

/// The most months that a calendar shows, and tables whose growth is shown.
const MONTHS: usize = 12;
const TABLES: usize = 15;

/// How many sets are listed at once, and how many more where someone wants to see older ones.
const SETS: usize = 14;
const OLDER: usize = 100;

/// What a page is about.
#[derive(Debug)]
pub struct Heading {
    /// The plan.
    pub plan: String,
    /// The host that looked.
    pub host: String,
    /// The program and its version.
    pub tool: String,
    /// Whose days the calendar shows.
    pub zone: TimeZone,
    /// When everything was looked at.
    pub now: Timestamp,
}

/// What a page shows of one job at one destination.
#[derive(Debug)]
pub struct Series {
    /// How it stands.
    pub status: SeriesStatus,
    /// What it is judged by.
    pub objective: Objective,
    /// Its sets, oldest first, each with why it is kept.
    pub sets: Vec<(Set, String)>,
    /// For some of its sets, oldest first, the rows of each table of all databases.
    pub tables: Vec<(SnapshotId, BTreeMap<String, u64>)>,
}

#[derive(Serialize)]
struct Page<'p> {
    plan: &'p str,
    host: &'p str,
    tool: &'p str,
    made: String,
    made_at: String,
    verdict: String,
    class: &'static str,
    series: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    title: String,
    at: String,
    verdict: &'static str,
    class: &'static str,
    facts: Vec<Fact>,
    months: Vec<Month>,
    growth_since: String,
    growth: Vec<Growth>,
    growth_more: Option<String>,
    sets: Vec<SetRow>,
    older: Vec<SetRow>,
    sets_more: Option<String>,
}

#[derive(Serialize)]
struct Fact {
    key: &'static str,
    value: String,
    class: &'static str,
}

#[derive(Serialize)]
struct Month {
    name: String,
    /// One for each day of the first week that is of the month before.
    before: Vec<()>,
    days: Vec<Day>,
}

#[derive(Serialize)]
struct Day {
    number: i8,
    class: &'static str,
    said: String,
}

#[derive(Serialize)]
struct Growth {
    name: String,
    rows: String,
    change: String,
    /// The corners of a curve in a field of 100 by 24; none where there is nothing to compare with.
    points: String,
    said: String,
}

#[derive(Serialize)]
struct SetRow {
    name: String,
    state: String,
    class: &'static str,
    age: String,
    size: String,
    rows: String,
    why: String,
}

/// Writes the page.
///
/// # Errors
/// When the template cannot be filled, which a test rules out.
pub fn page(heading: &Heading, all: &[Series]) -> Result<String, minijinja::Error> {
    let series: Vec<Shown> = all.iter().map(|series| shown(series, heading)).collect();
    let count = |class: &str| series.iter().filter(|series| series.class == class).count();
    let (verdict, class) = match (count("bad"), count("good")) {
        (0, 0) => ("no objectives".to_owned(), ""),
        (0, _) => ("all objectives met".to_owned(), "good"),
        (bad, _) => (format!("{bad} of {} broken", series.len()), "bad"),
    };
    let Heading { plan, host, tool, zone, now } = heading;
    let made = now.to_zoned_datetime(zone.clone()).strftime("%-d %B %Y, %H:%M %Z").to_string();
    let page = Page { plan, host, tool, made, made_at: format!("{now:.0}"), verdict, class, series };
    let mut environment = Environment::new();
    // The ending of its name is what makes every value be escaped.
    environment.add_template("page.html", include_str!("page.html"))?;
    environment.get_template("page.html")?.render(context! { page => Value::from(Serde(&page)) })
}

fn shown(series: &Series, heading: &Heading) -> Shown {
    let Series { status, objective, sets, tables } = series;
    let now = heading.now;
    let (verdict, class, mut facts) = match &status.standing {
        Looked::Unreachable(cause) => ("unreachable", "bad", vec![fact("cause", cause.clone())]),
        Looked::Standing(standing) => {
            let verdict = verdict(standing, *objective);
            let class = match verdict {
                "broken" => "bad",
                "met" => "good",
                _ => "",
            };
            let facts = lines(standing, *objective, now).into_iter().map(|(key, value)| fact(key, value));
            (verdict, class, facts.collect())
        }
    };
    let next = status.next_run.map(|next| format!("{next:.0}, in {}", span(next.duration_since(now))));
    facts.extend(next.map(|next| fact("next run", next)));
    let more = |count: usize, what: &str| (count > 0).then(|| format!("and {} {what}", Grouped(count as u64)));
    let mut rows = sets.iter().rev().map(|(set, why)| row(set, why, now));
    Shown {
        title: format!("{} → {}", status.job, status.destination),
        at: status.at.clone(),
        verdict,
        class,
        facts,
        months: months(sets.iter().map(|(set, _)| set), heading),
        growth_since: tables.first().map(|(first, _)| since(*first, heading)).unwrap_or_default(),
        growth: growth(tables),
        growth_more: more(names(tables).len().saturating_sub(TABLES), "more tables, with fewer rows"),
        sets: rows.by_ref().take(SETS).collect(),
        older: rows.by_ref().take(OLDER).collect(),
        sets_more: more(rows.count(), "that only `list --all` shows"),
    }
}

/// Returns a fact, in the colour of what it says.
fn fact(key: &'static str, value: String) -> Fact {
    let class = match key {
        "cause" | "drill failed" | "bad sample" | "last failure" => "bad",
        "last partial" => "odd",
        "rpo" | "drill every" if value.contains("broken") => "bad",
        "last success" if value == "never" => "bad",
        _ => "",
    };
    Fact { key, value, class }
}

fn since(first: SnapshotId, heading: &Heading) -> String {
    let at = first.moment().to_zoned_datetime(heading.zone.clone());
    format!("since {}", at.strftime("%-d %B %Y"))
}

/// Returns the class of a set's colour: what can be relied on, what lacks something, what cannot be relied on.
fn class(state: &State) -> &'static str {
    match state {
        State::Complete | State::Foreign => "good",
        State::Partial => "odd",
        State::Damaged(_) | State::Stranger(_) => "bad",
        State::Orphan => "",
    }
}

fn row(set: &Set, why: &str, now: Timestamp) -> SetRow {
    let rows = set.record.as_ref().map_or_else(String::new, |(record, _)| Grouped(record.rows()).to_string());
    let reason = match &set.state {
        State::Damaged(reason) | State::Stranger(reason) => format!(" ({reason})"),
        _ => String::new(),
    };
    SetRow {
        name: set.id.to_string(),
        state: set.state.to_string(),
        class: class(&set.state),
        age: span(now.duration_since(set.id.moment())),
        size: Bytes(set.bytes()).to_string(),
        rows,
        why: format!("{why}{reason}"),
    }
}

/// Returns the months from that of the first set to now, at most the newest ones of a year.
fn months<'s>(sets: impl Iterator<Item = &'s Set>, heading: &Heading) -> Vec<Month> {
    let date = |at: Timestamp| at.to_zoned_datetime(heading.zone.clone()).date();
    let mut by_day: BTreeMap<Date, Vec<&Set>> = BTreeMap::new();
    for set in sets.filter(|set| set.state != State::Orphan) {
        by_day.entry(date(set.id.moment())).or_default().push(set);
    }
    let Some(first) = by_day.keys().next().copied() else { return Vec::new() };
    let today = date(heading.now).max(by_day.keys().next_back().copied().unwrap_or(first));
    let mut firsts = Vec::new();
    let mut month = today.first_of_month();
    while firsts.len() < MONTHS && month >= first.first_of_month() {
        firsts.push(month);
        let Ok(before) = month.checked_sub(1.month()) else { break };
        month = before;
    }
    firsts.into_iter().rev().map(|month| month_of(month, first, today, &by_day)).collect()
}

fn month_of(month: Date, first: Date, today: Date, by_day: &BTreeMap<Date, Vec<&Set>>) -> Month {
    let day = |number: i8| {
        let date = month.with().day(number).build().unwrap_or(month);
        let sets = by_day.get(&date).map(Vec::as_slice).unwrap_or_default();
        let class = match sets {
            [] if date < first || date > today => "",
            [] => "none",
            sets => ["good", "odd", "bad"]
                .into_iter()
                .find(|word| sets.iter().any(|set| class(&set.state) == *word))
                .unwrap_or(""),
        };
        let named = sets.iter().map(|set| format!("{} {}", set.id, set.state)).collect::<Vec<_>>().join(", ");
        let said = if sets.is_empty() { format!("{date}") } else { format!("{date}: {named}") };
        Day { number, class, said }
    };
    let before = usize::try_from(month.weekday().to_monday_zero_offset()).unwrap_or_default();
    Month {
        name: month.strftime("%B %Y").to_string(),
        before: vec![(); before],
        days: (1..=month.days_in_month()).map(day).collect(),
    }
}

/// Returns the names of all tables.
fn names(tables: &[(SnapshotId, BTreeMap<String, u64>)]) -> BTreeSet<&str> {
    tables.iter().flat_map(|(_, rows)| rows.keys().map(String::as_str)).collect()
}

/// Returns how the tables with the most rows have grown.
fn growth(tables: &[(SnapshotId, BTreeMap<String, u64>)]) -> Vec<Growth> {
    let course = |name: &str| -> Vec<(i64, u64)> {
        let rows = |rows: &BTreeMap<String, u64>| rows.get(name).copied().unwrap_or_default();
        tables.iter().map(|(set, counts)| (set.moment().as_second(), rows(counts))).collect()
    };
    let mut courses: Vec<(&str, Vec<(i64, u64)>)> =
        names(tables).into_iter().map(|name| (name, course(name))).collect();
    courses.sort_by_key(|(name, course)| (std::cmp::Reverse(course.last().map(|(_, rows)| *rows)), *name));
    courses.into_iter().take(TABLES).map(|(name, course)| grown(name, &course)).collect()
}

fn grown(name: &str, course: &[(i64, u64)]) -> Growth {
    let first = course.first().map(|(_, rows)| *rows).unwrap_or_default();
    let now = course.last().map(|(_, rows)| *rows).unwrap_or_default();
    let trend = Trend { now, before: None, first: Some(first).filter(|_| course.len() > 1) };
    let change = match (trend.change(trend.first), trend.first) {
        (Some(change), _) => change.to_string(),
        (None, Some(0)) if now > 0 => "new".to_owned(),
        (None, _) => "–".to_owned(),
    };
    let said = format!("from {} to {} rows", Grouped(first), Grouped(now));
    Growth { name: name.to_owned(), rows: Grouped(now).to_string(), change, points: points(course), said }
}

/// Returns the corners of a curve in a field of 100 by 24, from no rows at its bottom to the most at its top.
fn points(course: &[(i64, u64)]) -> String {
    let [(begin, _), .., (end, _)] = course else { return String::new() };
    let (length, most) = ((end - begin).max(1), course.iter().map(|(_, rows)| *rows).max().unwrap_or_default().max(1));
    let point = |(at, rows): &(i64, u64)| {
        let across = i128::from(at - begin) * 1000 / i128::from(length);
        let up = i128::from(*rows) * 220 / i128::from(most);
        let down = 230 - up;
        format!("{}.{},{}.{}", across / 10, across % 10, down / 10, down % 10)
    };
    course.iter().map(point).collect::<Vec<_>>().join(" ")
}
