//! What is due is done once: put off by its jitter, caught up where that is wanted, on one host or on several.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use hitkeep_plan::plan::{Plan, Schedule, Slot, Timetable};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::clock::Clock;
use crate::fixture::{Outcome, PLAN, Running, Site, minimal, read_tree};
use crate::redact::golden;
use crate::schedules::{cases, expression, near_a_change};

/// The plan with more keys of its job.
fn with(keys: &str) -> String {
    PLAN.replace("prefix = \"hitkeep\"", &format!("prefix = \"hitkeep\"\n{keys}"))
}

/// Returns the timetable of the first job of a plan.
fn timetable(site: &Site, text: &str) -> Timetable {
    let plan: Plan = site.read_plan(text);
    let first = plan.jobs().next().unwrap();
    plan.timetable(first).unwrap()
}

#[test]
fn a_jitter_moves_no_slot_past_the_next_and_loses_none() {
    let site = Site::with(minimal());
    let mut runner = TestRunner::new(cases(2_000));
    let law = |(fields, (zone, at), minutes, place): ([String; 5], _, u32, u16)| {
        let (expression, zone, at): (String, jiff::tz::TimeZone, Timestamp) = (fields.join(" "), zone, at);
        let Ok(schedule) = expression.parse::<Schedule>() else { return Ok(()) };
        let keys = format!("schedule = \"{expression}\"\njitter = \"{minutes}m\"");
        let text = format!("timezone = \"{}\"\n{}", zone.iana_name().unwrap(), with(&keys));
        let timetable = timetable(&site, &text.replace("\"hitkeep\"", &format!("\"hosts/{place}\"")));
        let mut start = timetable.next(at).unwrap();
        prop_assert!(start.at > at);
        for _ in 0..4 {
            // The plan's data of the zone may be newer than the system's.
            let following: Slot = schedule.next(start.slot.at, timetable.zone()).unwrap();
            // Nobody looks back further for a slot.
            prop_assume!(following.at.duration_since(start.slot.at) < SignedDuration::from_hours(24 * 366 * 8));
            let put_off = start.at.duration_since(start.slot.at);
            prop_assert!(put_off >= SignedDuration::ZERO && put_off < SignedDuration::from_mins(minutes.into()));
            prop_assert!(start.at < following.at, "{} is not before {}", start.at, following.at);
            prop_assert_eq!(timetable.latest(start.at), Some(start));
            let next = timetable.next(start.at).unwrap();
            prop_assert_eq!(next.slot, following, "no slot is left out");
            prop_assert_eq!(timetable.latest(next.at - 1.nanosecond()), Some(start));
            start = next;
        }
        Ok(())
    };
    runner.run(&(expression(), near_a_change(), 1..3_000_u32, any::<u16>()), law).unwrap();
}

#[test]
fn a_jitter_is_that_of_the_place() {
    let site = Site::with(minimal());
    let put_off = |text: &str| {
        let start = timetable(&site, text).next("2026-03-06T12:00:00Z".parse().unwrap()).unwrap();
        start.at.duration_since(start.slot.at)
    };
    let text = with("schedule = \"@daily\"\njitter = \"1h\"");
    assert_eq!(put_off(&text), put_off(&text.replace("nightly", "renamed")));
    assert_eq!(put_off(&with("schedule = \"@daily\"")), SignedDuration::ZERO);
    let hosts = (0..60).map(|host| put_off(&text.replace("\"hitkeep\"", &format!("\"host-{host}\""))));
    let minutes: BTreeSet<i64> = hosts.map(|put_off| put_off.as_mins()).collect();
    assert!(minutes.len() > 25 && minutes.iter().all(|minute| *minute < 60), "they are spread: {minutes:?}");
}

#[test]
fn coming_runs_are_shown_where_they_are_put_off_to() {
    let site = Site::with(minimal());
    let place = site.path("").display().to_string();
    // The jitter is made of the place: it is one that does not change from test to test.
    let text = with("schedule = \"30 2 * * *\"\njitter = \"20m\"").replace("\"backups\"", "\"/srv/hitkeep\"");
    site.write_plan(&text.replace("version = 1", "version = 1\ntimezone = \"Europe/Berlin\""));
    let shown = site.succeed(&["next", "plan.toml", "--after", "2026-03-27T12:00:00Z", "-n", "3"]).stdout;
    assert!(!shown.contains(&place));
    golden("next-jitter.txt", &shown);
}

/// Returns when the runs began whose records are at the destination, oldest first.
fn begun(site: &Site) -> Vec<Timestamp> {
    let records = read_tree(&site.path("backups/hitkeep/runs"));
    let sealed = records.iter().filter(|(name, _)| name.extension().is_some_and(|ending| ending == "json"));
    let began = sealed.map(|(_, bytes)| {
        let record: Value = serde_json::from_slice(bytes).unwrap();
        record["started_at"].as_str().unwrap().parse().unwrap()
    });
    let mut began: Vec<Timestamp> = began.collect();
    began.sort();
    began
}

/// Asks what is due, by a clock.
fn tick(site: &Site, clock: &Clock) -> String {
    let outcome = Outcome::of(clock.shown_to(site.command(&["run", "plan.toml", "--due"])));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    outcome.stdout
}

#[test]
fn a_job_is_put_off_until_its_jitter_is_over() {
    let Some(clock) = Clock::at("2026-03-06T02:00:00Z") else { return };
    let site = Site::with(minimal());
    let text = with("schedule = \"0 3 * * *\"\njitter = \"5h\"");
    site.write_plan(&text);
    // It has never run before.
    assert!(tick(&site, &clock).starts_with("nightly: set 2026-03-06T0200"));
    let start = timetable(&site, &text).next("2026-03-06T02:00:00Z".parse().unwrap()).unwrap();
    for (at, runs) in [(start.at - 2.seconds(), 0), (start.at, 1), (start.at + 1.hour(), 0)] {
        clock.set(at);
        assert_eq!(tick(&site, &clock).lines().count(), runs, "at {at}, put off to {}", start.at);
    }
}

#[test]
fn a_run_that_is_to_come_yet_holds_a_job_back_and_is_said() {
    let Some(clock) = Clock::at("2027-03-06T02:00:00Z") else { return };
    let site = Site::with(minimal());
    site.write_plan(&with("schedule = \"0 3 * * *\""));
    assert_ne!(tick(&site, &clock), "");
    let outcome = site.succeed(&["run", "plan.toml", "--due"]);
    assert_eq!(outcome.stdout, "");
    let said = "warning: the last run of `nightly` began at 2027-03-06T02:00:0";
    assert!(outcome.stderr.starts_with(said), "{outcome:?}");
    assert!(outcome.stderr.ends_with("Z, which is to come yet: nothing is due before\n"), "{outcome:?}");
}

#[test]
fn what_was_missed_is_caught_up_where_that_is_wanted() {
    let Some(clock) = Clock::at("2026-03-06T02:59:30Z") else { return };
    for (keys, expected) in [
        ("", &["2026-03-06T02:59", "2026-03-06T03:00", "2026-03-08T14:00", "2026-03-09T03:59"][..]),
        ("catch_up = false", &["2026-03-06T03:00", "2026-03-09T03:59"]),
    ] {
        let site = Site::with(minimal());
        site.write_plan(&with(&format!("schedule = \"0 3 * * *\"\n{keys}")));
        for now in ["06T02:59", "06T03:00", "06T03:30", "07T02:00", "08T14:00", "08T14:05", "09T03:59"] {
            clock.set(format!("2026-03-{now}:30Z").parse().unwrap());
            tick(&site, &clock);
        }
        let begun: Vec<String> = begun(&site).iter().map(|at| at.strftime("%FT%H:%M").to_string()).collect();
        assert_eq!(begun, expected, "{keys}");
    }
}

#[test]
fn a_job_of_another_plan_that_is_called_the_same_has_not_run() {
    let site = Site::with(minimal());
    let text = with("schedule = \"0 0 1 1 *\"");
    site.write_plan(&text);
    std::fs::write(site.path("other.toml"), text.replace("\"hitkeep\"", "\"other\"")).unwrap();
    for plan in ["plan.toml", "other.toml"] {
        let said = site.succeed(&["run", plan, "--due"]).stdout;
        assert!(said.starts_with("nightly: set "), "{plan}: {said}");
        assert_eq!(site.succeed(&["run", plan, "--due"]).stdout, "", "{plan}");
    }
}

/// Two hosts share nothing but the destination: each has a state directory of its own.
#[test]
fn of_two_hosts_one_runs_at_each_of_a_hundred_slots() {
    let Some(clock) = Clock::at("2026-03-27T00:00:05Z") else { return };
    let site = Site::with(minimal());
    // Through the night of a change of the clock, and a slot each hour.
    let text = with("schedule = \"0 * * * *\"\njitter = \"10m\"\nverify = \"none\"");
    site.write_plan(
        &text.replace("version = 1", "version = 1\ntimezone = \"Europe/Berlin\"").replace("state = \"state\"", ""),
    );
    let mut expected = Vec::new();
    for hour in 0..100 {
        let slot: Timestamp = "2026-03-27T00:00:00Z".parse::<Timestamp>().unwrap() + hour.hours();
        expected.push(slot);
        clock.set(slot + 11.minutes());
        let host = |name: &str| {
            let mut command = site.command(&["run", "plan.toml", "--due", "--json"]);
            command.env("STATE_DIRECTORY", site.path(&format!("state-{name}")));
            Running::start(clock.shown_to(command))
        };
        let ticks = if hour % 2 == 0 { ["one", "two"] } else { ["two", "one"] };
        let codes = ticks.map(host).map(|run| run.end().code);
        assert_eq!(codes, [0, 0], "at {slot}");
    }
    let slots = begun(&site).into_iter().map(|at| Timestamp::from_second(at.as_second() / 3600 * 3600).unwrap());
    assert_eq!(slots.collect::<Vec<_>>(), expected);
}
