//! What a bucket is to delete and move by itself, in whole days, as buckets count.

use std::ops::Range;

use super::raw::{self, At};
use super::resolve::Desk;
use super::words::written;
use super::{Chosen, Origin, code};
use crate::diagnose::Diagnostic;
use crate::measure::Span;

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// The longest that a rule may wait: a hundred years.
const MOST_DAYS: u32 = 36_500;

/// After how long an unfinished upload is cleared up where the plan does not say: no run takes two days.
const ABORT_AFTER: u32 = 2;

/// The classes whose objects nobody can read before they have been thawed, which takes hours and another request.
const FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// What a bucket is to delete and move by itself below the folders of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// How many days old the objects of sets become; nothing where the bucket is not to delete them.
    pub expire_after: Option<u32>,
    /// How many days older versions of objects stay; nothing for ever.
    pub expire_versions_after: Option<u32>,
    /// Cheaper classes that the objects of sets are moved to, each with the days after which, in order of these.
    pub transitions: Vec<(u32, String)>,
    /// How many days old unfinished uploads become.
    pub abort_uploads_after: u32,
}

/// The same, value by value with who chose it.
#[derive(Clone, Debug)]
pub(super) struct Lifecycling {
    pub(super) expire_after: Option<Chosen<u32>>,
    pub(super) expire_versions_after: Option<Chosen<u32>>,
    pub(super) transitions: Vec<Transition>,
    pub(super) abort_uploads_after: Chosen<u32>,
}

/// A move to a cheaper class.
#[derive(Clone, Debug)]
pub(super) struct Transition {
    pub(super) after: Chosen<u32>,
    pub(super) class: Chosen<String>,
}

impl Lifecycling {
    /// Reads `lifecycle` of a bucket; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, raw: raw::Lifecycle) -> Option<Self> {
        let mut optional = |at: Option<At<String>>, key| at.map_or(Some(None), |at| days(desk, &at, key).map(Some));
        let expire_after = optional(raw.expire_after, "expire_after");
        let expire_versions_after = optional(raw.expire_versions_after, "expire_versions_after");
        let abort_uploads_after = match raw.abort_uploads_after {
            Some(at) => days(desk, &at, "abort_uploads_after"),
            None => Some(Chosen { value: ABORT_AFTER, origin: Origin::Default }),
        };
        let steps = raw.transition.map(|at| at.value).unwrap_or_default();
        let read: Vec<Option<Transition>> = steps.into_iter().map(|at| transition(desk, at.value)).collect();
        let lifecycling = Self {
            expire_after: expire_after?,
            expire_versions_after: expire_versions_after?,
            transitions: read.into_iter().collect::<Option<_>>()?,
            abort_uploads_after: abort_uploads_after?,
        };
        lifecycling.is_in_order(desk).then_some(lifecycling)
    }

    /// Tells whether each step comes after the one before it, and deleting last; reports where one does not.
    fn is_in_order(&self, desk: &mut Desk<'_>) -> bool {
        let steps = self.transitions.iter().map(|step| &step.after).chain(&self.expire_after);
        let steps: Vec<&Chosen<u32>> = steps.collect();
        let odd = steps.windows(2).find(|two| two[0].value >= two[1].value);
        let Some([before, after]) = odd.and_then(|two| <[_; 2]>::try_from(two.to_vec()).ok()) else { return true };
        let message = format!("`{}d` does not come after `{}d`", after.value, before.value);
        let problem = [before, after]
            .into_iter()
            .filter_map(Chosen::place)
            .fold(Diagnostic::error(code::LIFECYCLE_ORDER, message), |problem, place: Range<usize>| {
                problem.at(place, "in this order")
            });
        desk.problems.push(problem.help("write the steps in order of time; a set is deleted after it was moved last"));
        false
    }

    /// Returns the values alone.
    pub(super) fn lifecycle(&self) -> Lifecycle {
        let value = |days: &Option<Chosen<u32>>| days.as_ref().map(|days| days.value);
        Lifecycle {
            expire_after: value(&self.expire_after),
            expire_versions_after: value(&self.expire_versions_after),
            transitions: self.transitions.iter().map(|step| (step.after.value, step.class.value.clone())).collect(),
            abort_uploads_after: self.abort_uploads_after.value,
        }
    }
}

fn transition(desk: &mut Desk<'_>, raw: raw::Transition) -> Option<Transition> {
    let (after, class) = (raw.after?, raw.class?);
    let after = days(desk, &after, "after");
    if FROZEN.contains(&class.value.as_str()) {
        let message = format!("what lies in `{}` cannot be read: it has to be thawed first", class.value);
        let problem = Diagnostic::error(code::FROZEN_CLASS, message).at(class.span, "frozen");
        desk.problems.push(problem.help(
            "runs, `verify` and `restore` read what lies there: take a class that can be read at once, such as `GLACIER_IR`",
        ));
        return None;
    }
    Some(Transition { after: after?, class: desk.chosen(class.value, &class.span) })
}

/// Returns a span in days: it must be of whole ones.
fn days(desk: &mut Desk<'_>, at: &At<String>, key: &str) -> Option<Chosen<u32>> {
    let Span(span) = desk.span(at, key, "leaves no time at all", "leave the key out where nothing is to happen")?.value;
    let (seconds, odd) = (span.as_secs(), span.as_secs() % SECONDS_A_DAY);
    let problem = match u32::try_from(seconds / SECONDS_A_DAY) {
        _ if odd != 0 => Diagnostic::error(code::INVALID_SPAN, format!("{} is not of whole days", written(&at.value)))
            .at(at.span.clone(), "buckets count in days")
            .help("write days or weeks, as in `30d` or `8w`"),
        Ok(days @ ..=MOST_DAYS) => return Some(desk.chosen(days, &at.span)),
        _ => Diagnostic::error(code::TOO_LARGE, format!("{} is too long a time for `{key}`", written(&at.value)))
            .at(at.span.clone(), format!("at most `{MOST_DAYS}d`"))
            .help("leave the key out where nothing is to happen"),
    };
    desk.problems.push(problem);
    None
}
