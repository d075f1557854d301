//! A schedule means what crontab means by it, whatever the clock does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "what is skipped is said")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use chrono::DateTime as Instant;
use chrono_tz::Tz;
use croner::parser::CronParser;
use hitkeep_plan::demo::Layout;
use hitkeep_plan::plan::{Schedule, ScheduleError, Slot};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;

use crate::fixture::{PLAN, Running, Site, demo, minimal};
use crate::redact::{self, golden};
use crate::signals::stopped_at;

/// Zones whose clocks change by an hour, by half of one, at midnight, the other way round in winter, and never.
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Chatham",
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Returns how the next slots are told, in local time, from a time of the wall clock on.
fn told(expression: &str, name: &str, from: &str, count: usize) -> String {
    let (schedule, zone): (Schedule, _) = (expression.parse().unwrap(), zone(name));
    let mut at = zone.to_timestamp(from.parse().unwrap()).unwrap();
    let mut told = format!("{expression} ({name}, from {from})\n");
    for _ in 0..count {
        let slot = schedule.next(at, &zone).unwrap();
        let skipped = (zone.to_datetime(slot.at) != slot.wall).then(|| format!(" for {}", slot.wall));
        writeln!(
            told,
            "  {}{}",
            slot.at.to_zoned_datetime(zone.clone()).strftime("%a %F %H:%M %:z"),
            skipped.unwrap_or_default()
        )
        .unwrap();
        at = slot.at;
    }
    told
}

#[test]
fn what_the_clock_does_to_a_schedule() {
    let cases = [
        ("0 3 * * 1-5", "Europe/Berlin", "2026-03-06T12:00", 3),
        ("0 3 * * 7", "UTC", "2026-03-06T12:00", 2),
        ("0 3 13 * fri", "UTC", "2026-03-01T00:00", 5),
        ("0 3 */10 * fri", "UTC", "2026-01-01T00:00", 3),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 3),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 3),
        ("30 * * * *", "Europe/Berlin", "2026-03-29T00:00", 4),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T01:00", 4),
        ("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 3),
        ("0 0 * * *", "America/Santiago", "2026-09-05T00:00", 3),
        ("@daily", "Pacific/Apia", "2011-12-29T00:00", 3),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", 2),
        ("0 12 29 feb *", "UTC", "2026-01-01T00:00", 2),
        ("59 23 31 12 *", "Pacific/Chatham", "2026-01-01T00:00", 1),
    ];
    golden("schedules.txt", &cases.map(|(text, zone, from, count)| told(text, zone, from, count)).concat());
}

#[test]
fn what_is_no_schedule() {
    let cases = [
        "",
        "3",
        "0 3 * *",
        "0 0 3 * * *",
        "0 0 3 * * * *",
        "60 3 * * *",
        "0 24 * * *",
        "0 3 0 * *",
        "0 3 32 * *",
        "0 3 * 13 *",
        "0 3 * * 8",
        "0 3 * * mo",
        "0 3 * foo *",
        "0 5-3 * * *",
        "*/0 * * * *",
        "*/x * * * *",
        "5/10 * * * *",
        "0 3 , * *",
        "0 3 1,,2 * *",
        "0 3 L * *",
        "0 3 ? * 1",
        "0 3 * * 5#2",
        "0 3 15W * *",
        "+1 3 * * *",
        "0 0 31 2 *",
        "0 0 30 feb,feb *",
        "@fortnightly",
        "@reboot",
        "every day",
    ];
    let said = cases.map(|text| format!("`{text}`\n  {}\n", text.parse::<Schedule>().unwrap_err()));
    golden("no-schedules.txt", &said.concat());
    assert_eq!(
        "0 0 3 * * *".parse::<Schedule>().unwrap_err(),
        ScheduleError::Seconds { instead: "0 3 * * *".to_owned() }
    );
}

/// A field: a list of numbers, ranges and steps.
fn field(first: u8, last: u8) -> impl Strategy<Value = String> {
    let range = (first..=last, first..=last).prop_map(|(one, other)| format!("{}-{}", one.min(other), one.max(other)));
    let single = (first..=last).prop_map(|number| number.to_string());
    let part = prop_oneof![
        4 => single,
        1 => range.clone(),
        1 => (range, 1..12u8).prop_map(|(range, step)| format!("{range}/{step}")),
    ];
    prop_oneof![
        4 => Just("*".to_owned()),
        1 => (1..20u8).prop_map(|step| format!("*/{step}")),
        4 => (first..=last).prop_map(|number| number.to_string()),
        2 => prop::collection::vec(part, 1..4).prop_map(|parts| parts.join(",")),
    ]
}

pub(crate) fn expression() -> impl Strategy<Value = [String; 5]> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)).prop_map(Into::into)
}

/// An instant, more often than not within two days of a change of the clock.
pub(crate) fn near_a_change() -> impl Strategy<Value = (TimeZone, Timestamp)> {
    let instant = 1_600_000_000..2_200_000_000_i64;
    (prop::sample::select(ZONES), instant, -172_800..172_800_i64, any::<u8>()).prop_map(|(name, second, off, near)| {
        let (zone, at) = (zone(name), Timestamp::from_second(second).unwrap());
        let turn = zone.following(at).next().filter(|_| near > 60).map(|turn| turn.timestamp());
        (zone, turn.map_or(at, |turn| turn + off.seconds()))
    })
}

/// So many cases, of which one that fails is told and not kept.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

#[test]
fn a_hundred_thousand_schedules_are_those_of_another_crate() {
    let parser = CronParser::new();
    let mut runner = TestRunner::new(Config { max_global_rejects: 100_000, ..cases(100_000) });
    let law = |(fields, (zone, at)): ([String; 5], (TimeZone, Timestamp))| {
        // The other takes a step for no star, and a list of times for none that is fixed.
        let [minute, hour, day, _, weekday] = &fields;
        let stepped = |field: &String| field.starts_with("*/");
        prop_assume!(!stepped(day) && !stepped(weekday));
        let single = |field: &String| field.parse::<u8>().is_ok();
        let counted = minute.starts_with('*') || hour.starts_with('*');
        let zone = if counted || (single(minute) && single(hour)) { zone } else { TimeZone::UTC };
        let expression = fields.join(" ");
        let Ok(schedule) = expression.parse::<Schedule>() else { return Ok(()) };
        let other = parser.parse(&expression).unwrap();
        let mut ours = at;
        let name: Tz = zone.iana_name().unwrap().parse().unwrap();
        let mut theirs = Instant::from_timestamp(at.as_second(), 0).unwrap().with_timezone(&name);
        for _ in 0..3 {
            ours = schedule.next(ours, &zone).unwrap().at;
            theirs = other.find_next_occurrence(&theirs, false).unwrap();
            prop_assert_eq!(
                ours.as_second(),
                theirs.timestamp(),
                "{} in {:?} after {}",
                expression,
                zone.iana_name(),
                at
            );
        }
        Ok(())
    };
    runner.run(&(expression(), near_a_change()), law).unwrap();
}

/// The numbers that a field of the slow reference stands for.
fn numbers(field: &str, first: u8, last: u8) -> Vec<u8> {
    let number = |text: &str| text.parse::<u8>().unwrap();
    let part = |part: &str| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (number(from), number(to)),
            None if range == "*" => (first, last),
            None => (number(range), number(range)),
        };
        (from..=to).filter(move |value| (value - from).is_multiple_of(number(step))).collect::<Vec<_>>()
    };
    field.split(',').flat_map(part).collect()
}

/// Tells whether a time of the wall clock matches, by asking each field.
fn matches(fields: &[String; 5], wall: DateTime) -> bool {
    let holds = |field: usize, first, last, value: i8| {
        numbers(&fields[field], first, last).into_iter().any(|number| i16::from(number) == i16::from(value))
    };
    let weekday = wall.weekday().to_sunday_zero_offset();
    let (day, weekday) = (holds(2, 1, 31, wall.day()), holds(4, 0, 7, weekday) || (weekday == 0 && holds(4, 0, 7, 7)));
    let is_free = |field: usize| fields[field].starts_with('*');
    let date = if is_free(2) || is_free(4) { day && weekday } else { day || weekday };
    date && holds(0, 0, 59, wall.minute()) && holds(1, 0, 23, wall.hour()) && holds(3, 1, 12, wall.month())
}

/// Finds the next slot by looking at each minute of some days.
fn walked(fields: &[String; 5], after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let counted = fields[0].starts_with('*') || fields[1].starts_with('*');
    let mut at = Timestamp::from_second(after.as_second().div_euclid(60) * 60).unwrap();
    loop {
        at += 1.minute();
        if at > until {
            return None;
        }
        let wall = zone.to_datetime(at);
        let again = match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Fold { after, .. } => after == zone.to_offset(at),
            _ => false,
        };
        let mut skipped = zone.to_datetime(at - 1.minute()) + 1.minute();
        let mut holds = matches(fields, wall) && (counted || !again);
        while !counted && !holds && skipped < wall {
            holds = matches(fields, skipped);
            skipped += 1.minute();
        }
        if holds {
            return Some(at);
        }
    }
}

#[test]
fn schedules_are_those_of_a_walk_through_the_minutes() {
    let mut runner = TestRunner::new(cases(4_000));
    let law = |(fields, (zone, at)): ([String; 5], (TimeZone, Timestamp))| {
        let Ok(schedule) = fields.join(" ").parse::<Schedule>() else { return Ok(()) };
        let until = at + 72.hours();
        let ours = schedule.next(at, &zone).map(|slot| slot.at).filter(|slot| *slot <= until);
        prop_assert_eq!(ours, walked(&fields, at, until, &zone), "{:?} in {:?} after {}", fields, zone.iana_name(), at);
        Ok(())
    };
    runner.run(&(expression(), near_a_change()), law).unwrap();
}

#[test]
fn the_latest_slot_is_the_one_before_the_next() {
    let mut runner = TestRunner::new(cases(4_000));
    let law = |(fields, (zone, at)): ([String; 5], (TimeZone, Timestamp))| {
        let Ok(schedule) = fields.join(" ").parse::<Schedule>() else { return Ok(()) };
        let Some(Slot { at: latest, .. }) = schedule.latest(at, &zone) else { return Ok(()) };
        prop_assert!(latest <= at);
        let next = schedule.next(latest, &zone).map(|slot| slot.at);
        prop_assert!(next.is_none_or(|next| next > at), "{:?} lies between {} and {}", next, latest, at);
        prop_assert_eq!(schedule.latest(latest, &zone).map(|slot| slot.at), Some(latest), "it is one itself");
        Ok(())
    };
    runner.run(&(expression(), near_a_change()), law).unwrap();
}

/// The plan with a schedule of its job, and another job beside it.
fn scheduled(schedule: &str, beside: &str) -> String {
    let text = PLAN.replace("version = 1", "version = 1\ntimezone = \"Europe/Berlin\"");
    text.replace("[local]", &format!("schedule = \"{schedule}\"\n\n{beside}\n[local]"))
}

const BESIDE: &str = "[backup.beside]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"beside\"\n";

#[test]
fn coming_runs_are_shown_with_what_the_clock_does() {
    let site = Site::with(minimal());
    let hourly = format!("{BESIDE}schedule = \"@hourly\"\n");
    site.write_plan(&scheduled("30 2 * * *", &hourly));
    let shown = |words: &[&str]| format!("$ {}\n{}", words.join(" "), site.succeed(words).stdout);
    let text = [
        shown(&["next", "plan.toml", "--after", "2026-03-28T23:00:00Z", "-n", "6"]),
        shown(&["next", "plan.toml", "--after", "2026-10-24T23:00:00Z", "-n", "6"]),
        shown(&["next", "plan.toml", "nightly", "--after", "2026-03-27T12:00:00Z", "-n", "3"]),
    ];
    golden("next.txt", &text.concat());
    assert_eq!(site.succeed(&["next", "plan.toml"]).stdout.lines().count(), 11);
}

#[test]
fn a_plan_without_schedules_has_nothing_due() {
    let site = Site::with(minimal());
    for words in [&["next", "plan.toml"][..], &["run", "plan.toml", "--due"]] {
        let outcome = site.run(words);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{outcome:?}");
        assert_eq!(
            outcome.stderr,
            "error: no job that is meant has a schedule\n help: write `schedule = \"0 3 * * *\"` at a job\n"
        );
    }
}

#[test]
fn a_job_that_is_due_runs_once() {
    let site = Site::with(minimal());
    // The one beside has no schedule, and is run by hand only.
    site.write_plan(&scheduled("0 0 1 1 *", BESIDE));
    let preview = site.succeed(&["run", "plan.toml", "--due", "--dry-run"]);
    assert!(preview.stdout.contains("hitkeep"), "{preview:?}");
    let first = site.succeed(&["run", "plan.toml", "--due"]);
    assert!(first.stdout.starts_with("nightly: set "), "{first:?}");
    assert_eq!(first.stdout.lines().count(), 1);
    for words in [&["run", "plan.toml", "--due"][..], &["run", "plan.toml", "--due", "--dry-run"]] {
        let outcome = site.succeed(words);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    }
    assert_eq!(site.sets().len(), 1);
    site.succeed(&["run", "plan.toml", "nightly"]);
    assert_eq!(site.sets().len(), 2, "whoever asks for a run gets it");
}

#[test]
fn a_run_that_failed_has_had_its_time() {
    let site = Site::with(minimal());
    site.write_plan(&scheduled("0 0 1 1 *", ""));
    let hidden = site.path("data.away");
    std::fs::rename(site.path("data"), &hidden).unwrap();
    assert_eq!(site.run(&["run", "plan.toml", "--due"]).code, 4);
    std::fs::rename(&hidden, site.path("data")).unwrap();
    assert_eq!(site.succeed(&["run", "plan.toml", "--due"]).stdout, "", "a slot is run once, however it ended");
    assert_eq!(site.state_records().len(), 1);
}

#[test]
fn a_run_that_was_stopped_is_made_up_for() {
    let site = Site::with(demo(Layout::Joined));
    site.write_plan(&scheduled("0 0 1 1 *", ""));
    for signal in [Signal::TERM, Signal::INT] {
        let stopped = stopped_at(&site, &["run", "plan.toml", "--due", "--json"], "store", signal);
        assert!([130, 143].contains(&stopped.code), "{stopped:?}");
        assert_eq!(site.sets().len(), 0);
    }
    assert!(site.succeed(&["run", "plan.toml", "--due"]).stdout.starts_with("nightly: set "));
    assert_eq!(site.succeed(&["run", "plan.toml", "--due"]).stdout, "");
    assert_eq!((site.sets().len(), site.state_records().len()), (1, 3));
}

#[test]
fn a_run_that_is_stopped_again_and_again_waits_for_its_next_time() {
    let site = Site::with(demo(Layout::Joined));
    site.write_plan(&scheduled("0 0 1 1 *", ""));
    for _ in 0..3 {
        assert_eq!(stopped_at(&site, &["run", "plan.toml", "--due", "--json"], "store", Signal::TERM).code, 143);
    }
    assert_eq!(site.succeed(&["run", "plan.toml", "--due"]).stdout, "");
    assert_eq!((site.sets().len(), site.state_records().len()), (0, 3));
}

#[test]
fn of_two_hosts_one_does_what_is_due() {
    let site = Site::with(minimal());
    let text = scheduled("0 0 1 1 *", "");
    for round in 0..10 {
        for host in ["one", "two"] {
            let state = format!("state = \"state-{host}-{round}\"");
            let text = text.replace("state = \"state\"", &state).replace("hitkeep\"", &format!("round-{round}\""));
            std::fs::write(site.path(&format!("{host}.toml")), text).unwrap();
        }
        let tick = |host: &str| Running::start(site.command(&["run", &format!("{host}.toml"), "--due", "--json"]));
        let one = tick("one");
        std::thread::sleep(std::time::Duration::from_millis(round * 60));
        assert_eq!([one, tick("two")].map(|run| run.end().code), [0, 0]);
        // Whoever was too late finds that it is done.
        assert_eq!([tick("one"), tick("two")].map(|run| run.end().code), [0, 0]);
        let sealed = site.path(&format!("backups/round-{round}/runs"));
        assert_eq!(std::fs::read_dir(sealed).unwrap().count(), 1, "round {round}");
    }
}

#[test]
fn a_scheduler_is_given_its_files() {
    let site = Site::with(minimal());
    site.write_plan(&scheduled("0 3 * * *", &format!("{BESIDE}schedule = \"*/15 * * * *\"\n")));
    let text = |words: &[&str]| {
        let outcome = site.succeed(words);
        redact::outcome(&site, &outcome).replace(env!("CARGO_BIN_EXE_hitkeep-plan"), "/usr/local/bin/hitkeep-plan")
    };
    let systemd = text(&["units", "plan.toml", "--systemd"]);
    let cron = text(&["units", "plan.toml", "--cron"]);
    site.write_plan(&scheduled("7 3 * * *", ""));
    let dense = text(&["units", "plan.toml", "--cron"]);
    let spaced = site.path("my 100% plans");
    std::fs::create_dir(&spaced).unwrap();
    std::fs::copy(site.path("plan.toml"), spaced.join("it's.toml")).unwrap();
    let awkward = text(&["units", "my 100% plans/it's.toml", "--cron"]);
    golden("units.txt", &[systemd, cron, dense, awkward].join("\n"));
}

#[test]
fn what_is_written_for_a_service_its_user_can_read() {
    let site = Site::with(minimal());
    let mode = |name: &str| std::fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777;
    std::fs::write(site.path("like-any"), "").unwrap();
    std::fs::create_dir(site.path("folder-like-any")).unwrap();
    site.succeed(&["init", "own.toml"]);
    site.write_plan(&scheduled("0 3 * * *", ""));
    site.succeed(&["units", "plan.toml", "--systemd", "--to", "etc/units"]);
    for file in ["own.toml", "etc/units/hitkeep-plan-plan.service", "etc/units/hitkeep-plan-plan.timer"] {
        assert_eq!(mode(file), mode("like-any"), "{file}");
    }
    assert_eq!(mode("etc/units"), mode("folder-like-any"));
}

#[test]
fn a_service_is_handed_the_credentials_of_its_plan() {
    let site = Site::with(minimal());
    let bucket = "[destination.bucket]\nurl = \"s3://bucket/x\"\nregion = \"eu-central-1\"\naccess_key_id = { credential = \"s3-id\" }\n\
                  secret_access_key = { credential = \"s3-secret\" }\n";
    site.write_plan(&(scheduled("0 3 * * *", "") + bucket));
    let service = site.succeed(&["units", "plan.toml", "--systemd", "--daemon"]).stdout;
    let handed: Vec<&str> = service.lines().filter(|line| line.starts_with("LoadCredential=")).collect();
    assert_eq!(
        handed,
        ["LoadCredential=s3-id:/etc/credstore/s3-id", "LoadCredential=s3-secret:/etc/credstore/s3-secret"]
    );
}

#[test]
fn what_systemd_is_given_it_takes() {
    let site = Site::with(minimal());
    site.write_plan(&scheduled("0 3 * * *", ""));
    let spaced = site.path("100% of it");
    std::fs::create_dir(&spaced).unwrap();
    std::fs::copy(site.path("plan.toml"), spaced.join("plan.toml")).unwrap();
    for plan in ["plan.toml", "100% of it/plan.toml"] {
        let units = tempfile::tempdir().unwrap();
        let folder = units.path().to_str().unwrap();
        site.succeed(&["units", plan, "--systemd", "--to", folder]);
        let files = ["hitkeep-plan-plan.service", "hitkeep-plan-plan.timer"].map(|name| units.path().join(name));
        let verified = Command::new("systemd-analyze").arg("verify").arg("--man=no").args(&files).output();
        match verified {
            Ok(verified) => {
                let said = String::from_utf8_lossy(&verified.stderr);
                assert!(verified.status.success() && !said.contains("hitkeep-plan-plan"), "{plan}: {said}");
            }
            Err(missing) => {
                assert!(std::env::var_os("CI").is_none(), "systemd-analyze: {missing}");
                eprintln!("skipped: there is no systemd-analyze here: {missing}");
            }
        }
        let again = site.run(&["units", plan, "--systemd", "--to", folder]);
        assert_eq!(again.code, 2, "what is there is not overwritten: {again:?}");
    }
}
