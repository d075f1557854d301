//! Why one set is kept, and what has to come for each reason to end.

use std::fmt::Write as _;

use jiff::{SignedDuration, Span as Calendar, Timestamp};

use super::rules::{Reason, Verdict, judge};
use super::{PruneFacts, Retention, prune};
use crate::measure::counted;
use crate::name::SnapshotId;
use crate::plan::Rule;

/// Explains what becomes of a set, a line for each reason.
#[must_use]
pub fn explain(wanted: &Retention, facts: &PruneFacts, id: SnapshotId, now: Timestamp) -> String {
    let verdicts = judge(&wanted.keep, &facts.candidates(wanted), now);
    let newest = facts.sets.last().map_or(id, |set| set.id);
    let Some(verdict) = facts.sets.iter().zip(verdicts).find(|(set, _)| set.id == id).map(|(_, verdict)| verdict)
    else {
        return String::new();
    };
    match verdict {
        Verdict::Delete(ground) => {
            let brake = prune(wanted, facts, false, now).brake;
            let held = brake.map(|brake| format!("  not now: {brake}\n")).unwrap_or_default();
            format!("  to be deleted: {ground}\n{held}")
        }
        Verdict::Keep(reasons) => reasons.iter().fold(String::new(), |mut text, reason| {
            let _ = writeln!(text, "  {reason}: {}", until(reason, newest, id, wanted));
            text
        }),
    }
}

/// Says what has to come for a reason to end.
fn until(reason: &Reason, newest: SnapshotId, id: SnapshotId, wanted: &Retention) -> String {
    match reason {
        Reason::Newest => "the newest complete set is never deleted".to_owned(),
        Reason::Min { place, of } | Reason::Rule { rule: Rule::Last, place, of } => {
            format!("until {} more", counted((of - place) as usize + 1, "set"))
        }
        Reason::Rule { rule, place, of } => {
            let left = of - place + 1;
            let more = format!("until {} more with a set", counted(left as usize, noun(*rule)));
            let own = if *place == 1 { format!(", or a newer set of the same {}", noun(*rule)) } else { String::new() };
            let earliest = earliest(*rule, left, newest, wanted).map(|at| format!("; not before {at}"));
            // A newer set of the same period may come at any time.
            more + &own + &earliest.filter(|_| *place > 1).unwrap_or_default()
        }
        Reason::Within(span) => {
            let span = SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX);
            let end = id.moment().saturating_add(span).unwrap_or(Timestamp::MAX);
            format!("until a set is made after {end:.0}")
        }
        Reason::Pinned => "until it is unpinned".to_owned(),
        Reason::Guarded { by } => format!("until {by} is deleted"),
        Reason::Waiting(_) => "until there are enough that count, a week newer".to_owned(),
        Reason::Damaged | Reason::Stranger | Reason::Foreign | Reason::Unknown => {
            "never deleted by this program".to_owned()
        }
        Reason::Unfinished => "until it is a day old".to_owned(),
    }
}

fn noun(rule: Rule) -> &'static str {
    match rule {
        Rule::Last => "set",
        Rule::Hourly => "hour",
        Rule::Daily => "day",
        Rule::Weekly => "week",
        Rule::Monthly => "month",
        Rule::Yearly => "year",
    }
}

/// Returns the day on which this many more periods after that of the newest set can have begun.
fn earliest(rule: Rule, left: u32, newest: SnapshotId, wanted: &Retention) -> Option<jiff::civil::Date> {
    let today = newest.moment().to_zoned_datetime(wanted.zone.clone());
    let (date, count) = (today.date(), i64::from(left));
    match rule {
        Rule::Last => None,
        Rule::Hourly => today.checked_add(Calendar::new().try_hours(count).ok()?).ok().map(|at| at.date()),
        Rule::Daily => date.checked_add(Calendar::new().try_days(count).ok()?).ok(),
        Rule::Weekly => {
            let monday = date.iso_week_date().first_of_week().ok()?.date();
            monday.checked_add(Calendar::new().try_weeks(count).ok()?).ok()
        }
        Rule::Monthly => date.first_of_month().checked_add(Calendar::new().try_months(count).ok()?).ok(),
        Rule::Yearly => date.first_of_year().checked_add(Calendar::new().try_years(count).ok()?).ok(),
    }
}
