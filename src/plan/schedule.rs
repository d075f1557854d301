//! When a job runs: the five fields of a crontab line, with crontab's own meaning.
//!
//! The `cron` crate finds the next time that the fields match. Its dialect is another one: seconds come first, weekday 1 is
//! Sunday, and a day must match both day fields. So it is given lists of numbers that mean the same to it, and times
//! of the wall clock without a zone; what becomes of a time that the clock skips or shows twice is decided here, as
//! Vixie's cron does it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime as Instant, Utc};
use cron::TimeUnitSpec;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// The longest that a clock change was ever felt: Samoa skipped a whole day in 2011.
const FELT: SignedDuration = SignedDuration::from_hours(26);

/// How far back the latest slot is looked for, in hours: at first where that of a dense schedule is, at last where that of
/// a 29th of February is.
const BACK: [i64; 4] = [2, 48, 24 * 70, 24 * 366 * 9];

/// When a job runs.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    /// What a time must match one of.
    patterns: Vec<cron::Schedule>,
    /// Whether minutes or hours are counted on through a change of the clock: what is skipped is left out, and what is
    /// shown twice is run twice.
    runs_through: bool,
}

/// A time that a schedule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The instant.
    pub at: Timestamp,
    /// What the fields ask for, on the wall clock: another time than that of the instant where the clock skips it.
    pub wall: DateTime,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error("it has {found} field{}, where five are expected: minute, hour, day of the month, month, weekday", if *found == 1 { "" } else { "s" })]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// Six fields, of which the first seems to be seconds: `instead` leaves it out.
    #[error("it has six fields; a crontab line has no seconds: write `{instead}`")]
    Seconds {
        /// The same without the first field.
        instead: String,
    },
    /// A name that begins with `@`, and is none of crontab's.
    #[error("`{name}` is none of `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly`")]
    Nickname {
        /// What is written.
        name: String,
    },
    /// A part of a field that says nothing.
    #[error("`{part}` is no {field}: {reason}")]
    Part {
        /// The part, as it is written.
        part: String,
        /// What the field is.
        field: &'static str,
        /// Why not.
        reason: String,
    },
    /// A date that never comes.
    #[error("no day matches it, ever")]
    Never,
}

/// One of the five fields.
#[derive(Debug)]
struct Field {
    what: &'static str,
    first: u8,
    last: u8,
    /// The names that stand for numbers, that of `first` first.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { what: "minute", first: 0, last: 59, names: &[] };
const HOUR: Field = Field { what: "hour", first: 0, last: 23, names: &[] };
const DAY: Field = Field { what: "day of the month", first: 1, last: 31, names: &[] };
const MONTH: Field = Field {
    what: "month",
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Both 0 and 7 are Sunday.
const WEEKDAY: Field =
    Field { what: "weekday", first: 0, last: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Field {
    /// Returns the numbers that `text` stands for: `*`, numbers, ranges and their steps, with commas between.
    fn numbers(&self, text: &str) -> Result<BTreeSet<u8>, ScheduleError> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let part_of = |reason: String| ScheduleError::Part { part: part.to_owned(), field: self.what, reason };
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (first, last) = self.range(range).map_err(part_of)?;
            let step = match step {
                None => 1,
                Some(_) if range != "*" && !range.contains('-') => {
                    return Err(part_of(format!(
                        "a step needs a range: `{range}-{}/{}`",
                        self.last,
                        &part[range.len() + 1..]
                    )));
                }
                Some(step) => step
                    .parse()
                    .ok()
                    .filter(|step| *step > 0)
                    .ok_or_else(|| part_of("a step is a number from 1 on".to_owned()))?,
            };
            numbers.extend((first..=last).step_by(step));
        }
        Ok(numbers)
    }

    fn range(&self, text: &str) -> Result<(u8, u8), String> {
        match text.split_once('-') {
            None if text == "*" => Ok((self.first, self.last)),
            None => self.number(text).map(|number| (number, number)),
            Some((first, last)) => {
                let (first, last) = (self.number(first)?, self.number(last)?);
                if first > last {
                    return Err(format!("the range ends before it begins: `{text}`"));
                }
                Ok((first, last))
            }
        }
    }

    fn number(&self, text: &str) -> Result<u8, String> {
        let named = self.names.iter().zip(self.first..).find(|(name, _)| text.eq_ignore_ascii_case(name));
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let counted = || text.parse().ok().filter(|number| is_digits && (self.first..=self.last).contains(number));
        named.map(|(_, number)| number).or_else(counted).ok_or_else(|| match self.names {
            [] => format!("one is a number from {} to {}", self.first, self.last),
            [first, .., last] => {
                format!("one is a number from {} to {}, or `{first}` to `{last}`", self.first, self.last)
            }
            [_] => String::new(),
        })
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let spelt = if text.starts_with('@') { nickname(text)? } else { text };
        let [minute, hour, day, month, weekday] = fields(spelt)?;
        let (minutes, hours) = (MINUTE.numbers(minute)?, HOUR.numbers(hour)?);
        let (days, months) = (DAY.numbers(day)?, MONTH.numbers(month)?);
        let weekdays: BTreeSet<u8> = WEEKDAY.numbers(weekday)?.into_iter().map(|weekday| weekday % 7).collect();
        let pattern = |days: &BTreeSet<u8>, weekdays: &BTreeSet<u8>| {
            let weekdays = weekdays.iter().map(|weekday| weekday + 1).collect();
            let lists = [&minutes, &hours, days, &months, &weekdays].map(list);
            // All of them are numbers that the crate knows.
            format!("0 {}", lists.join(" ")).parse().map_err(|_| ScheduleError::Never)
        };
        let (any_day, any_weekday) = ((1..=31).collect(), (0..=6).collect());
        let patterns = if day.starts_with('*') || weekday.starts_with('*') {
            vec![pattern(&days, &weekdays)?]
        } else {
            vec![pattern(&days, &any_weekday)?, pattern(&any_day, &weekdays)?]
        };
        let runs_through = minute.starts_with('*') || hour.starts_with('*');
        let schedule = Self { text: text.to_owned(), patterns, runs_through };
        schedule.wall_after(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)).ok_or(ScheduleError::Never)?;
        Ok(schedule)
    }
}

/// Returns the five fields that a name of crontab's stands for.
fn nickname(name: &str) -> Result<&'static str, ScheduleError> {
    Ok(match name {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => return Err(ScheduleError::Nickname { name: name.to_owned() }),
    })
}

fn fields(text: &str) -> Result<[&str; 5], ScheduleError> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    <[&str; 5]>::try_from(fields).map_err(|fields| match fields.as_slice() {
        [_, rest @ ..] if rest.len() == 5 => ScheduleError::Seconds { instead: rest.join(" ") },
        fields => ScheduleError::Fields { found: fields.len() },
    })
}

fn list(numbers: &BTreeSet<u8>) -> String {
    numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

impl Schedule {
    /// Returns the first slot after an instant, in a time zone; none in the year 2100 and later, where calendars end here.
    ///
    /// A time that the clock skips comes at once when it has been skipped, and one that it shows twice comes the first time. Where
    /// minutes or hours are counted (`*`, `*/15`), the ones that are skipped are left out and those shown twice come twice.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Slot> {
        if self.runs_through { self.next_counted(after, zone) } else { self.next_fixed(after, zone) }
    }

    /// Returns the last slot that is not after an instant.
    #[must_use]
    pub fn latest(&self, until: Timestamp, zone: &TimeZone) -> Option<Slot> {
        BACK.into_iter().find_map(|hours| {
            let from = until.checked_sub(SignedDuration::from_hours(hours)).ok()?;
            std::iter::successors(self.next(from, zone), |slot| self.next(slot.at, zone))
                .take_while(|slot| slot.at <= until)
                .last()
        })
    }

    /// Returns the minutes of the hour that it may come at.
    pub fn minutes(&self) -> impl Iterator<Item = u32> {
        self.patterns.iter().flat_map(|pattern| pattern.minutes().iter())
    }

    fn next_counted(&self, after: Timestamp, zone: &TimeZone) -> Option<Slot> {
        let mut offset = zone.to_offset(after);
        let mut wall = offset.to_datetime(after);
        let mut turns = zone.following(after);
        loop {
            let next = self.wall_after(wall)?;
            let at = offset.to_timestamp(next).ok()?;
            match turns.next().filter(|turn| turn.timestamp() <= at) {
                Some(turn) => {
                    offset = turn.offset();
                    wall = offset.to_datetime(turn.timestamp()).checked_sub(SignedDuration::from_secs(1)).ok()?;
                }
                None => return Some(Slot { at, wall: next }),
            }
        }
    }

    fn next_fixed(&self, after: Timestamp, zone: &TimeZone) -> Option<Slot> {
        let turn = zone.preceding(after).next();
        let is_felt = turn.is_some_and(|turn| after.duration_since(turn.timestamp()) < FELT);
        let mut wall = zone.to_datetime(after).checked_sub(if is_felt { FELT } else { SignedDuration::ZERO }).ok()?;
        loop {
            wall = self.wall_after(wall)?;
            let at = first_shown(wall, zone)?;
            if at > after {
                return Some(Slot { at, wall });
            }
        }
    }

    /// Returns the first time of the wall clock that matches and is later than `wall`.
    fn wall_after(&self, wall: DateTime) -> Option<DateTime> {
        let seconds = TimeZone::UTC.to_timestamp(wall).ok()?.as_second();
        let after = Instant::<Utc>::from_timestamp(seconds, 0)?;
        let next = self.patterns.iter().filter_map(|pattern| pattern.after(&after).next()).min()?;
        Some(TimeZone::UTC.to_datetime(Timestamp::from_second(next.timestamp()).ok()?))
    }
}

/// Returns when the wall clock first shows a time, or when it has just skipped it.
fn first_shown(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            let beyond = before.to_timestamp(wall).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
            zone.preceding(beyond).next().map(|turn| turn.timestamp())
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
