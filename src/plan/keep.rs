//! Which sets of a job are kept, as rules: what none of them keeps may be deleted.

use std::fmt;

use super::raw::{self, At};
use super::resolve::Desk;
use super::{Chosen, Origin, code};
use crate::diagnose::Diagnostic;
use crate::measure::Span;

/// The largest number that a rule takes: an hourly set for eleven years.
const MOST: u32 = 100_000;

/// A rule that keeps a number of sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The newest sets.
    Last,
    /// The newest set of each hour.
    Hourly,
    /// The newest set of each day.
    Daily,
    /// The newest set of each week, which begins on Monday.
    Weekly,
    /// The newest set of each month.
    Monthly,
    /// The newest set of each year.
    Yearly,
}

impl Rule {
    /// Every rule, from the shortest memory to the longest.
    pub const ALL: [Self; 6] = [Self::Last, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// Returns the key that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which sets are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Each rule that counts sets, with its number: at least 1, none twice.
    pub rules: Vec<(Rule, u32)>,
    /// How much older than the newest set another may be and is kept by its age alone.
    pub within: Option<Span>,
    /// How many of the newest sets are kept whatever the rules say: at least 1.
    pub min: u32,
}

/// The same, value by value with who chose it.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    pub(super) rules: Vec<(Rule, Chosen<u32>)>,
    pub(super) within: Option<Chosen<Span>>,
    pub(super) min: Chosen<u32>,
}

impl Keeping {
    /// Reads `keep` of a job; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, at: At<raw::Keep>) -> Option<Self> {
        let raw::Keep { last, hourly, daily, weekly, monthly, yearly, within, min } = at.value;
        let numbers = Rule::ALL.into_iter().zip([last, hourly, daily, weekly, monthly, yearly]);
        let written = numbers.filter_map(|(rule, number)| Some((rule, number?)));
        let read: Vec<_> = written.map(|(rule, number)| Some((rule, count(desk, rule.as_str(), &number)?))).collect();
        let (is_bare, age) = (
            read.is_empty() && within.is_none(),
            within
                .map(|at| desk.span(&at, "within", "keeps nothing", "leave the key out for a rule that keeps nothing")),
        );
        if is_bare && desk.is_whole {
            desk.problems.push(
                Diagnostic::error(code::KEEP_NOTHING, "`keep` has no rule: it would keep nothing but the newest sets")
                    .at(at.span, "no rule in it")
                    .help("add one, as in `{ last = 7, daily = 14 }`, or leave `keep` out to keep every set"),
            );
        }
        let min = match min {
            Some(at) => count(desk, "min", &at),
            None => Some(Chosen { value: 1, origin: Origin::Default }),
        };
        let rules = read.into_iter().collect::<Option<_>>()?;
        (!is_bare).then_some(Self { rules, within: age.map_or(Some(None), |age| age.map(Some))?, min: min? })
    }

    /// Returns the values alone.
    pub(super) fn keep(&self) -> Keep {
        Keep {
            rules: self.rules.iter().map(|(rule, count)| (*rule, count.value)).collect(),
            within: self.within.as_ref().map(|within| within.value),
            min: self.min.value,
        }
    }
}

/// Returns the number of a rule.
fn count(desk: &mut Desk<'_>, key: &str, at: &At<i64>) -> Option<Chosen<u32>> {
    let (code, word, bound) = match u32::try_from(at.value) {
        Ok(1..=MOST) => return Some(desk.chosen(u32::try_from(at.value).ok()?, &at.span)),
        _ if at.value < 1 => (code::TOO_SMALL, "small", "at least `1`".to_owned()),
        _ => (code::TOO_LARGE, "large", format!("at most `{MOST}`")),
    };
    let help = match key {
        "min" => "the newest complete set is always kept: leave the key out for that",
        _ => "leave the key out for a rule that keeps nothing",
    };
    desk.problems.push(
        Diagnostic::error(code, format!("`{}` is too {word} a number for `{key}`", at.value))
            .at(at.span.clone(), bound)
            .help(help),
    );
    None
}
