//! The rules of retention: a table of each and of what they do together, the laws that hold whatever the rules and the
//! series, and three years of hourly runs with everything that befalls them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use hitkeep_plan::measure::{Bytes, Span};
use hitkeep_plan::name::{Prefix, SnapshotId};
use hitkeep_plan::plan::{Keep, Rule, Verify};
use hitkeep_plan::record::{Set, State};
use hitkeep_plan::work::{Candidate, Place, PruneFacts, Retention, Simulation, Verdict, Worth, explain, judge};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Reads rules the way a plan has them, as in `last 2, daily 3, within 2d, min 2`.
fn keep(text: &str) -> Keep {
    let mut keep = Keep { rules: Vec::new(), within: None, min: 1 };
    for part in text.split(", ") {
        let (word, number) = part.split_once(' ').unwrap();
        match (word, Rule::ALL.into_iter().find(|rule| rule.as_str() == word)) {
            ("min", _) => keep.min = number.parse().unwrap(),
            ("within", _) => keep.within = Some(number.parse().unwrap()),
            (_, rule) => keep.rules.push((rule.unwrap(), number.parse().unwrap())),
        }
    }
    keep
}

/// Makes a set of `MM-DDTHH:MM` in 2026, or of `YYYY-MM-DDTHH:MM`, and of what follows: `!` not verified, `?` partial,
/// `^` pinned, `x` damaged, `f` HitKeep's own, `l` left behind, `u` of nobody known. `>` makes it partial, and guards the
/// set before it.
fn candidate(text: &str, zone: &TimeZone) -> Candidate {
    let marks = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let (time, mark) = text.split_at(marks.len());
    let time = if time.len() == 11 { format!("2026-{time}") } else { time.to_owned() };
    let id = SnapshotId::at(format!("{time}:00Z").parse().unwrap());
    let worth = match mark {
        "!" => Worth::Unverified,
        "?" | ">" => Worth::Partial,
        "x" => Worth::Damaged,
        "f" => Worth::Foreign,
        "l" => Worth::Leftover,
        "u" => Worth::Unknown,
        _ => Worth::Counts,
    };
    Candidate::new(id, worth, mark == "^", Bytes(1), zone)
}

/// Returns the verdicts on a series as `-` for each set that goes and its reasons for each that stays.
fn verdicts(rules: &str, zone_name: &str, sets: &str) -> String {
    let zone = zone(zone_name);
    let mut before = None;
    let in_order = |text: &str| {
        let guards = before.filter(|_| text.ends_with('>'));
        let set = candidate(text, &zone).guarding(guards);
        before = Some(set.id);
        set
    };
    let sets: Vec<Candidate> = sets.split_whitespace().map(in_order).collect();
    let now = sets.last().unwrap().id.moment();
    let word = |verdict: &Verdict| if verdict.keeps() { verdict.words().replace(", ", "+") } else { "-".to_owned() };
    judge(&keep(rules), &sets, now).iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Rules, zone, the series from the oldest on, and what becomes of each set.
const TABLE: &[(&str, &str, &str, &str)] = &[
    // Each rule alone.
    ("last 1", "UTC", "03-01T12:00 03-02T12:00 03-03T12:00", "- - newest+last+min"),
    ("last 2", "UTC", "03-01T12:00 03-02T12:00 03-03T12:00", "- last newest+last+min"),
    ("last 9", "UTC", "03-01T12:00 03-02T12:00", "last newest+last+min"),
    (
        "hourly 2",
        "UTC",
        "03-01T10:10 03-01T11:10 03-01T11:50 03-01T12:10 03-01T12:20",
        "- - hourly - newest+hourly+min",
    ),
    ("hourly 2", "UTC", "03-01T09:00 03-01T12:59 03-01T13:00", "- hourly newest+hourly+min"),
    ("daily 2", "UTC", "03-01T12:00 03-02T00:00 03-02T23:59 03-03T00:00", "- - daily newest+daily+min"),
    ("weekly 2", "UTC", "03-01T12:00 03-02T12:00 03-08T12:00 03-09T00:00", "- - weekly newest+weekly+min"),
    ("monthly 2", "UTC", "01-31T12:00 02-01T12:00 02-28T12:00 03-01T00:00", "- - monthly newest+monthly+min"),
    (
        "yearly 2",
        "UTC",
        "2024-12-31T12:00 2025-01-01T12:00 2025-12-31T23:59 01-01T00:00",
        "- - yearly newest+yearly+min",
    ),
    ("within 2d", "UTC", "03-01T11:59 03-01T12:00 03-02T12:00 03-03T12:00", "- within within newest+within+min"),
    ("last 1, min 3", "UTC", "03-01T12:00 03-02T12:00 03-03T12:00 03-04T12:00", "- min min newest+last+min"),
    // A week is ISO 8601's, also across the new year: 2025-12-29 is the Monday of the first week of 2026.
    ("weekly 2", "UTC", "2025-12-28T12:00 2025-12-29T12:00 01-01T12:00 01-05T12:00", "- - weekly newest+weekly+min"),
    // Rules count the periods that have a set, so that a gap costs nothing.
    ("daily 3", "UTC", "01-01T12:00 01-02T12:00 02-20T12:00 03-30T12:00", "- daily daily newest+daily+min"),
    (
        "monthly 3",
        "UTC",
        "2020-01-01T12:00 2021-06-01T12:00 2025-06-01T12:00 03-01T12:00",
        "- monthly monthly newest+monthly+min",
    ),
    // Together they keep what any of them keeps.
    ("last 1, daily 2", "UTC", "03-01T12:00 03-02T06:00 03-02T12:00 03-03T12:00", "- - daily newest+last+daily+min"),
    (
        "daily 2, monthly 2",
        "UTC",
        "01-31T12:00 02-27T12:00 02-28T12:00 03-01T12:00",
        "- - daily+monthly newest+daily+monthly+min",
    ),
    (
        "daily 1, weekly 2, monthly 3, yearly 2",
        "UTC",
        "2025-06-01T12:00 01-31T12:00 02-28T12:00 03-08T12:00 03-09T12:00",
        "yearly monthly monthly weekly newest+daily+weekly+monthly+yearly+min",
    ),
    ("hourly 1, within 1h", "UTC", "03-01T10:59 03-01T11:00 03-01T12:00", "- within newest+hourly+within+min"),
    // Days and hours are those of the zone: midnight in Berlin is 23:00 UTC in winter, 22:00 in summer.
    ("daily 2", "Europe/Berlin", "03-01T22:30 03-01T22:59 03-01T23:00 03-02T12:00", "- daily - newest+daily+min"),
    ("daily 2", "Europe/Berlin", "07-01T21:30 07-01T21:59 07-01T22:00 07-02T12:00", "- daily - newest+daily+min"),
    ("daily 2", "America/New_York", "03-02T04:59 03-02T05:00 03-03T05:00", "- daily newest+daily+min"),
    ("weekly 2", "Pacific/Auckland", "03-01T10:59 03-01T11:00 03-08T11:00", "- weekly newest+weekly+min"),
    // The hour that a clock shows twice in autumn is two, and the one that it skips in spring is none.
    (
        "hourly 4",
        "Europe/Berlin",
        "10-25T00:10 10-25T00:20 10-25T01:20 10-25T02:20 10-25T03:20",
        "- hourly hourly hourly newest+hourly+min",
    ),
    (
        "hourly 3",
        "Europe/Berlin",
        "03-29T00:20 03-29T00:50 03-29T01:20 03-29T02:20",
        "- hourly hourly newest+hourly+min",
    ),
    // A day of 23 hours, and one of 25, is a day.
    ("daily 2", "Europe/Berlin", "03-28T22:59 03-28T23:00 03-29T21:59 03-29T22:00", "- - daily newest+daily+min"),
    ("daily 2", "Europe/Berlin", "10-24T21:59 10-24T22:00 10-25T22:59 10-25T23:00", "- - daily newest+daily+min"),
    // Only what counts is counted; the rest waits until enough that counts is a week newer.
    ("last 1", "UTC", "03-01T12:00? 03-02T12:00 03-03T12:00", "waiting - newest+last+min"),
    ("last 1", "UTC", "03-01T12:00? 03-01T13:00! 03-08T12:00", "- waiting newest+last+min"),
    ("last 1, min 2", "UTC", "03-01T12:00? 03-20T12:00", "waiting newest+last+min"),
    ("last 2", "UTC", "03-01T12:00 03-02T12:00! 03-03T12:00?", "newest+last+min waiting waiting"),
    ("last 1", "UTC", "03-01T12:00! 03-20T12:00!", "waiting waiting"),
    // What a person pinned stays, and is counted like any other.
    ("last 1", "UTC", "03-01T12:00^ 03-02T12:00 03-03T12:00", "pinned - newest+last+min"),
    ("last 2", "UTC", "03-01T12:00 03-02T12:00^ 03-03T12:00", "- pinned+last newest+last+min"),
    // What a set guards that has lost much of it stays as long as that set does, and is counted like any other.
    ("last 1", "UTC", "03-01T12:00 03-02T12:00 03-03T12:00> 03-04T12:00", "- guarded waiting newest+last+min"),
    ("last 2", "UTC", "03-01T12:00 03-02T12:00 03-03T12:00> 03-04T12:00", "- guarded+last waiting newest+last+min"),
    ("last 1", "UTC", "03-01T12:00 03-02T12:00> 03-09T12:00", "- - newest+last+min"),
    ("last 1", "UTC", "03-01T12:00? 03-01T13:00> 03-08T12:00", "guarded waiting newest+last+min"),
    // What is not ours or not whole is not for rules.
    ("last 1", "UTC", "03-01T12:00f 03-02T12:00x 03-03T12:00u 03-20T12:00", "foreign damaged unknown newest+last+min"),
    ("last 1", "UTC", "03-01T12:00f 03-02T12:00f", "foreign foreign"),
    ("last 1", "UTC", "03-01T12:00l 03-02T11:59l 03-02T13:00l 03-03T12:00", "- - unfinished newest+last+min"),
];

#[test]
fn every_rule_keeps_what_the_table_says() {
    for (rules, zone, sets, expected) in TABLE {
        assert_eq!(verdicts(rules, zone, sets), *expected, "{rules} in {zone}: {sets}");
    }
}

fn any_rules() -> impl Strategy<Value = Keep> {
    let rules = prop::collection::vec(prop::option::of(1_u32..9), Rule::ALL.len());
    (rules, prop::option::of(1_u64..400), 1_u32..6).prop_map(|(numbers, within, min)| Keep {
        rules: Rule::ALL.into_iter().zip(numbers).filter_map(|(rule, number)| Some((rule, number?))).collect(),
        within: within.map(|hours| Span(std::time::Duration::from_hours(hours))),
        min,
    })
}

/// A series: gaps in hours, and what each set is worth.
fn any_series() -> impl Strategy<Value = Vec<Candidate>> {
    let worth = prop_oneof![
        8 => Just(Worth::Counts),
        1 => Just(Worth::Partial),
        1 => Just(Worth::Unverified),
        1 => Just(Worth::Damaged),
        1 => Just(Worth::Foreign),
        1 => Just(Worth::Leftover),
    ];
    let guarded = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let set = (prop_oneof![4 => 1_i64..30, 1 => 30_i64..3000], worth, prop::bool::weighted(0.1), guarded);
    let zone = prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("Australia/Lord_Howe")];
    (prop::collection::vec(set, 0..60), zone).prop_map(|(sets, name)| {
        let (zone, mut at) = (zone_of(name), "2024-02-27T23:10:00Z".parse::<Timestamp>().unwrap());
        let mut older = Vec::<SnapshotId>::new();
        let candidate = |(gap, worth, pinned, guarded): (i64, Worth, bool, Option<prop::sample::Index>)| {
            at += SignedDuration::from_hours(gap);
            let guards = guarded.filter(|_| !older.is_empty()).map(|guarded| *guarded.get(&older));
            older.push(SnapshotId::at(at));
            Candidate::new(SnapshotId::at(at), worth, pinned, Bytes(1), &zone).guarding(guards)
        };
        sets.into_iter().map(candidate).collect()
    })
}

fn zone_of(name: &str) -> TimeZone {
    zone(name)
}

/// Returns what of a series stays.
fn kept(keep: &Keep, sets: &[Candidate], now: Timestamp) -> Vec<Candidate> {
    let verdicts = judge(keep, sets, now);
    sets.iter().zip(verdicts).filter(|(_, verdict)| verdict.keeps()).map(|(set, _)| set.clone()).collect()
}

fn names(sets: &[Candidate]) -> BTreeSet<SnapshotId> {
    sets.iter().map(|set| set.id).collect()
}

fn counting(sets: &[Candidate]) -> Vec<SnapshotId> {
    sets.iter().filter(|set| set.worth == Worth::Counts).map(|set| set.id).collect()
}

/// Panics unless every law of deleting holds for one series.
fn check_laws(keep: &Keep, sets: &[Candidate], now: Timestamp) {
    let left = kept(keep, sets, now);
    let (before, after) = (counting(sets), counting(&left));
    assert_eq!(before.last(), after.last(), "the newest stays");
    let least = before.len().min(keep.min as usize);
    assert_eq!(before[before.len() - least..], after[after.len() - least..], "as do the newest `min`");
    assert_eq!(names(&left), names(&kept(keep, &left, now)), "a second time changes nothing");
    let is_safe =
        |set: &&Candidate| set.is_pinned || matches!(set.worth, Worth::Foreign | Worth::Damaged | Worth::Unknown);
    assert!(
        names(&left).is_superset(&sets.iter().filter(is_safe).map(|set| set.id).collect()),
        "what is not for rules"
    );
    let newest = sets.iter().rev().find(|set| set.worth != Worth::Leftover);
    assert!(newest.is_none_or(|set| names(&left).contains(&set.id)), "the newest that was sealed stays");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_laws_hold_for_any_series(keep in any_rules(), sets in any_series()) {
        let now = sets.last().map_or(Timestamp::UNIX_EPOCH, |set| set.id.moment());
        check_laws(&keep, &sets, now);
    }

    #[test]
    fn a_rule_more_or_a_larger_number_never_deletes_more(
        keep in any_rules(), other in any_rules(), sets in any_series(),
    ) {
        let now = sets.last().map_or(Timestamp::UNIX_EPOCH, |set| set.id.moment());
        let number = |keep: &Keep, rule| keep.rules.iter().find(|(of, _)| *of == rule).map(|(_, number)| *number);
        let larger = |rule| Some((rule, number(&keep, rule).max(number(&other, rule))?));
        let wider = Keep {
            rules: Rule::ALL.into_iter().filter_map(larger).collect(),
            within: keep.within.max(other.within),
            min: keep.min.max(other.min),
        };
        let (less, more) = (names(&kept(&keep, &sets, now)), names(&kept(&wider, &sets, now)));
        prop_assert!(more.is_superset(&less));
    }

    #[test]
    fn older_sets_have_no_say_in_what_becomes_of_newer_ones(
        keep in any_rules(), sets in any_series(), cut in 0_usize..60,
    ) {
        let now = sets.last().map_or(Timestamp::UNIX_EPOCH, |set| set.id.moment());
        let cut = cut.min(sets.len());
        prop_assert_eq!(&judge(&keep, &sets, now)[cut..], &judge(&keep, &sets[cut..], now)[..]);
    }
}

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn three_years_of_hourly_runs_with_everything_that_befalls_them() {
    let zone = zone("Europe/Berlin");
    let keep = keep("last 24, hourly 48, daily 14, weekly 8, monthly 12, yearly 3, within 3d, min 3");
    let (mut dice, mut sets) = (Dice(7), Vec::<Candidate>::new());
    let mut at: Timestamp = "2024-01-01T00:07:00Z".parse().unwrap();
    let end = at + SignedDuration::from_hours(3 * 8766);
    let (mut runs, mut most, mut jumps) = (0, 0, 0);
    // The sets since something was last deleted; nothing where the series had a gap since.
    let mut since = Some(0);
    while at < end {
        at += match dice.throw(2000) {
            // Switched off for up to three weeks.
            0 => {
                since = None;
                SignedDuration::from_hours(dice.throw(500).cast_signed())
            }
            _ => SignedDuration::from_hours(1),
        };
        // The clock jumps two years ahead, and back after this run.
        let is_ahead = dice.throw(3000) == 0;
        let clock = if is_ahead { at + SignedDuration::from_hours(2 * 8766) } else { at };
        jumps += u32::from(is_ahead);
        let worth = match dice.throw(50) {
            0 => Worth::Partial,
            1 => Worth::Unverified,
            2 => Worth::Leftover,
            _ => Worth::Counts,
        };
        let id = SnapshotId::at(at);
        if sets.last().is_some_and(|set| set.id >= id) {
            continue;
        }
        sets.push(Candidate::new(id, worth, dice.throw(4000) == 0, Bytes(1), &zone));
        (runs, since) = (runs + 1, since.map(|since| since + 1));
        // After a run that was not complete nothing is deleted.
        if worth == Worth::Counts {
            // All laws are checked now and then; each time there is enough left.
            if runs % 97 == 0 {
                check_laws(&keep, &sets, clock);
            }
            let before = counting(&sets);
            sets = kept(&keep, &sets, clock);
            let after = counting(&sets);
            assert_eq!(before.last(), after.last());
            assert!(after.len() >= before.len().min(3));
            assert!(
                since.is_none_or(|since| before.len() - after.len() <= 7 * since),
                "a set pushes out one for each rule"
            );
            since = Some(0);
            most = most.max(sets.len());
        }
    }
    assert!(runs > 20_000 && jumps > 3, "{runs} runs, {jumps} jumps");
    assert!((90..220).contains(&most), "at most {most} sets lived at one time");
    let years: BTreeSet<i16> = sets.iter().map(|set| set.id.moment().to_zoned_datetime(zone.clone()).year()).collect();
    assert!(years.is_superset(&[2025, 2026].into()), "each of the last years has one left: {years:?}");
}

#[test]
fn a_simulation_is_what_the_rules_do() {
    let keep = keep("daily 7, weekly 4, monthly 12, yearly 2, min 2");
    let simulation = Simulation {
        keep: keep.clone(),
        zone: zone("UTC"),
        from: "2024-01-01T03:00:00Z".parse().unwrap(),
        length: "1096d".parse().unwrap(),
        every: "1d".parse().unwrap(),
        bytes: Bytes(1 << 20),
    };
    let (mut runs, mut last) = (0, 0);
    simulation.walk(|moment| {
        runs += 1;
        last = moment.sets.len();
        assert_eq!(moment.bytes, Bytes((moment.sets.len() as u64) << 20));
        assert!(moment.sets.len() >= 2.min(runs));
        assert_eq!(moment.sets.last().map(|(id, _)| *id), Some(moment.at));
    });
    assert_eq!((runs, last), (1097, 19));
    let account = simulation.account();
    assert_eq!(account.lines().count(), 12 + 1 + last, "{account}");
    assert!(account.starts_with("2024-04-01T030000Z    11 sets    11.0 MiB  oldest 2024-01-31T030000Z\n"), "{account}");
}

#[test]
fn what_keeps_a_set_says_before_which_day_it_cannot_end() {
    let at = |text: &str| SnapshotId::at(format!("{text}:00Z").parse().unwrap());
    let times = ["2025-12-31T22:30", "2026-02-28T02:00", "2026-03-08T02:00", "2026-03-09T02:00", "2026-03-10T22:30"];
    let set = |time: &&str| Set { id: at(time), state: State::Complete, databases: Vec::new(), record: None };
    let facts = PruneFacts {
        place: Place { prefix: Prefix::default(), at: "/srv".to_owned() },
        sets: times.iter().map(set).collect(),
        documents: BTreeMap::new(),
        pins: BTreeMap::new(),
        drilled: BTreeSet::new(),
        last_run: Vec::new(),
        planned: None,
        doubt: None,
    };
    let now = "2026-03-11T12:00:00Z".parse().unwrap();
    let explained = |rules: &str, zone_name: &str, time: &str| {
        let (job, destination) = ("nightly".parse().unwrap(), "disk".parse().unwrap());
        let wanted = Retention { job, destination, keep: keep(rules), verify: Verify::None, zone: zone(zone_name) };
        let told = explain(&wanted, &facts, at(time), now);
        told.lines().map(str::trim).filter(|line| !line.starts_with("min ")).map(str::to_owned).collect::<Vec<_>>()
    };
    for (rules, zone_name, time, expected) in [
        // The newest is of the 10th in UTC: with it two days have a set, and the second more ends the third.
        ("daily 3", "UTC", times[2], "daily 3 of 3: until 1 day more with a set; not before 2026-03-11"),
        ("daily 4", "UTC", times[2], "daily 3 of 4: until 2 days more with a set; not before 2026-03-12"),
        // In Kiritimati it is the 11th by then.
        ("daily 3", "Pacific/Kiritimati", times[2], "daily 3 of 3: until 1 day more with a set; not before 2026-03-12"),
        ("weekly 2", "UTC", times[2], "weekly 2 of 2: until 1 week more with a set; not before 2026-03-16"),
        ("weekly 5", "UTC", times[2], "weekly 2 of 5: until 4 weeks more with a set; not before 2026-04-06"),
        ("monthly 2", "UTC", times[1], "monthly 2 of 2: until 1 month more with a set; not before 2026-04-01"),
        ("monthly 12", "UTC", times[1], "monthly 2 of 12: until 11 months more with a set; not before 2027-02-01"),
        ("yearly 2", "UTC", times[0], "yearly 2 of 2: until 1 year more with a set; not before 2027-01-01"),
        ("hourly 3", "UTC", times[2], "hourly 3 of 3: until 1 hour more with a set; not before 2026-03-10"),
        ("hourly 5", "UTC", times[2], "hourly 3 of 5: until 3 hours more with a set; not before 2026-03-11"),
        ("last 3", "UTC", times[2], "last 3 of 3: until 1 set more"),
        // The first place goes to any newer set of the same day, and no day can be told.
        ("daily 3", "UTC", times[4], "daily 1 of 3: until 3 days more with a set, or a newer set of the same day"),
    ] {
        let told = explained(rules, zone_name, time);
        assert!(told.iter().any(|line| line == expected), "{rules} in {zone_name}, {time}: {told:?}");
    }
}
