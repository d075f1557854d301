//! The daemon keeps schedules, whatever the clock does, whatever is done to its plan, and ends when it is told to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use hitkeep_plan::demo::Layout;
use hitkeep_plan::name::Name;
use hitkeep_plan::plan::{Start, Timetable};
use hitkeep_plan::work::{Waiting, coming, first_due};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::fixture::{Outcome, PLAN, Running, Site, demo, minimal, names};
use crate::redact::{self, golden};
use crate::schedules::cases;

/// Jobs of every kind of schedule, in a plan of one time zone.
const SCHEDULES: &[(&str, &str)] = &[
    ("half", "schedule = \"*/30 * * * *\"\njitter = \"9m\""),
    ("hourly", "schedule = \"@hourly\""),
    ("gap", "schedule = \"30 2 * * *\""),
    ("weekly", "schedule = \"0 4 * * 7\"\njitter = \"2h\""),
    ("monthly", "schedule = \"0 0 1 * *\""),
];

fn waiting(site: &Site, zone: &str, from: Timestamp) -> Vec<Waiting> {
    let job = |(name, keys): &(&str, &str)| {
        format!("[backup.{name}]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"{name}\"\n{keys}\n")
    };
    let head = PLAN.split("[backup").next().unwrap();
    let local = "[local]\nstate = \"state\"\n";
    let text = format!("timezone = \"{zone}\"\n{head}{}{local}", SCHEDULES.iter().map(job).collect::<String>());
    let plan = site.read_plan(&text);
    let timetable = |job| plan.timetable(job).unwrap();
    let jobs = plan.jobs().map(|job| (job.name().clone(), timetable(job)));
    jobs.map(|(job, timetable)| Waiting { job, timetable, last: Some(from), tried: None }).collect()
}

/// A change of the clock: where it stands then, and by how much it is set on, or back.
type Jump = (Timestamp, SignedDuration);

/// Which job is begun, for which start, when.
type Begun = (Name, Start, Timestamp);

/// What a daemon does from one time to another; and from when to when the clock jumped while it slept.
fn lived(
    jobs: &mut [Waiting],
    from: Timestamp,
    until: Timestamp,
    jumps: &[Jump],
) -> (Vec<Begun>, Vec<(Timestamp, Timestamp)>) {
    let (mut now, mut jumps, mut begun, mut slept) = (from, jumps.iter().peekable(), Vec::new(), Vec::new());
    while now < until {
        if let Some((index, start)) = first_due(jobs, now) {
            begun.push((jobs[index].job.clone(), start, now));
            jobs[index].try_for(start, now);
            jobs[index].last = jobs[index].last.max(Some(now));
            now += 30.seconds();
            continue;
        }
        let wake = coming(jobs, now).map_or(until, |(_, start)| start.at);
        match jumps.next_if(|(at, _)| *at <= wake) {
            // Who was asleep when the clock was set wakes up a moment later.
            Some((at, by)) => {
                let before = now.max(*at);
                now = before + *by + 7.seconds();
                slept.push((before, now));
            }
            None => now = wake,
        }
    }
    (begun, slept)
}

/// Returns every start from one time to another.
fn starts(timetable: &Timetable, from: Timestamp, until: Timestamp) -> Vec<Start> {
    let starts = std::iter::successors(timetable.next(from), |start| timetable.next(start.at));
    // What ran at `from` has run for the slot before.
    starts.filter(|start| start.slot.at > from).take_while(|start| start.at < until).collect()
}

fn of_job(begun: &[Begun], job: &Name) -> Vec<Start> {
    begun.iter().filter(|(name, ..)| name == job).map(|(_, start, _)| *start).collect()
}

#[test]
fn in_a_year_every_slot_is_run_once_and_in_order() {
    let site = Site::with(minimal());
    let (from, until): (Timestamp, Timestamp) =
        ("2026-01-01T00:00:01Z".parse().unwrap(), "2027-01-01T00:00:00Z".parse().unwrap());
    for zone in ["Europe/Berlin", "Australia/Lord_Howe"] {
        let mut jobs = waiting(&site, zone, from);
        let (begun, _) = lived(&mut jobs, from, until, &[]);
        for Waiting { job, timetable, .. } in &jobs {
            assert!(of_job(&begun, job) == starts(timetable, from, until), "{zone}: {job}");
        }
        for (job, start, at) in &begun {
            let late = at.duration_since(start.at);
            assert!(late >= SignedDuration::ZERO && late < SignedDuration::from_mins(3), "{zone}: {job} at {at}");
        }
    }
}

/// Suspended hosts and set clocks: on by up to three days, back by up to two hours.
fn jumps(from: Timestamp) -> impl Strategy<Value = Vec<Jump>> {
    let by = prop_oneof![60..260_000_i64, 60..7_200_i64, -7_200..-1_i64];
    prop::collection::vec((0..60 * 86_400_i64, by), 0..12).prop_map(move |jumps| {
        let jump = |(at, by): (i64, i64)| (from + at.seconds(), SignedDuration::from_secs(by));
        let mut jumps: Vec<Jump> = jumps.into_iter().map(jump).collect();
        jumps.sort();
        jumps
    })
}

#[test]
fn a_clock_that_jumps_repeats_no_slot_and_loses_none_that_was_the_latest() {
    let site = Site::with(minimal());
    // Three weeks before a change of the clock, and five after it.
    let from: Timestamp = "2026-03-08T00:00:01Z".parse().unwrap();
    let until = from + (60 * 24).hours();
    let fresh = waiting(&site, "Europe/Berlin", from);
    let law = |jumps: Vec<Jump>| {
        let mut jobs = fresh.clone();
        let (begun, slept) = lived(&mut jobs, from, until, &jumps);
        for Waiting { job, timetable, .. } in &jobs {
            let run = of_job(&begun, job);
            prop_assert!(run.is_sorted_by(|one, next| one.slot < next.slot), "{} ran twice for a slot", job);
            for lost in starts(timetable, from, until).iter().filter(|start| !run.contains(start)) {
                // Another one had come when the daemon could look again.
                let next = timetable.next(lost.at).unwrap();
                let is_jumped = |(before, after): &(Timestamp, Timestamp)| {
                    let slack = SignedDuration::from_mins(4);
                    lost.at > *before - slack && next.at <= *after + slack
                };
                // A run that is late for the one before counts, where it began after this one's own time.
                let is_served = |(name, _, at): &Begun| name == job && (lost.slot.at..next.at).contains(at);
                let excuse = next.at >= until || slept.iter().any(is_jumped) || begun.iter().any(is_served);
                prop_assert!(excuse, "{} lost {} with {:?}", job, lost.at, jumps);
            }
        }
        Ok(())
    };
    TestRunner::new(cases(40)).run(&jumps(from), law).unwrap();
}

/// What systemd is to a service: it hears what that tells.
struct Manager {
    folder: TempDir,
    heard: mpsc::Receiver<String>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let (told, heard) = mpsc::channel();
        // Who tells must not have to wait.
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(bytes) = socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..bytes]);
                let lines = text.lines().filter(|line| !line.starts_with("MONOTONIC_USEC="));
                if told.send(lines.collect::<Vec<_>>().join(" ")).is_err() {
                    break;
                }
            }
        });
        Self { folder, heard }
    }

    fn of(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command
    }

    fn hear(&self) -> String {
        self.heard.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// Waits for the next message that is no sign of life.
    fn hear_news(&self) -> String {
        std::iter::repeat_with(|| self.hear()).find(|message| message != ALIVE).unwrap()
    }
}

/// The sign of life.
const ALIVE: &str = "WATCHDOG=1";

fn nightly(schedule: &str) -> String {
    PLAN.replace("prefix = \"hitkeep\"", &format!("prefix = \"hitkeep\"\nschedule = \"{schedule}\""))
}

#[test]
fn a_daemon_keeps_its_schedule_through_jumps_of_the_clock_and_changes_of_its_plan() {
    let Some(clock) = Clock::at("2026-03-06T02:59:55Z") else { return };
    let (site, manager) = (Site::with(minimal()), Manager::new());
    site.write_plan(&nightly("0 3 * * *"));
    let first = Outcome::of(clock.shown_to(site.command(&["run", "plan.toml"])));
    assert_eq!(first.code, 0, "{first:?}");
    clock.set("2026-03-06T02:59:57Z".parse().unwrap());
    let mut daemon = Running::start(manager.of(clock.shown_to(site.command(&["daemon", "plan.toml"]))));
    let mut told = vec![manager.hear_news()];

    // The time comes.
    daemon.wait_for_line("nightly: set 2026-03-06T03000");
    told.extend([manager.hear_news(), manager.hear_news()]);
    // The host was suspended, and missed two: it catches up with one. The clock is set back: it is not repeated.
    clock.set("2026-03-08T14:30:01Z".parse().unwrap());
    daemon.wait_for_line("nightly: set 2026-03-08T1430");
    told.extend([manager.hear_news(), manager.hear_news()]);
    clock.set("2026-03-08T13:45:00Z".parse().unwrap());
    // A plan that is refused changes nothing, one that is taken does.
    site.write_plan("version = 2\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_line("next is nightly, Mon 2026-03-09 03:00:00");
    told.extend([manager.hear_news(), manager.hear_news()]);
    site.write_plan(&nightly("0 14 * * *"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_line("next is nightly, Sun 2026-03-08 14:00:00");
    told.extend([manager.hear_news(), manager.hear_news()]);
    clock.set("2026-03-09T13:59:58Z".parse().unwrap());
    daemon.wait_for_line("nightly: set 2026-03-09T1400");
    told.extend([manager.hear_news(), manager.hear_news()]);
    daemon.signal(Signal::TERM);
    let outcome = daemon.end();
    told.push(manager.hear_news());

    assert_eq!(outcome.code, 143, "{outcome:?}");
    let told = told.join("\n");
    golden("daemon.txt", &format!("{}told:\n{told}\n", redact::outcome(&site, &outcome)));
    let states = site.sets().into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    assert_eq!(states, ["complete"; 4]);
}

#[test]
fn of_two_daemons_one_runs_at_each_slot() {
    let Some(clock) = Clock::at("2026-03-06T00:30:00Z") else { return };
    let site = Site::with(minimal());
    site.write_plan(&nightly("@hourly").replace("state = \"state\"", ""));
    let host = |name: &str| {
        let mut command = site.command(&["daemon", "plan.toml", "--json"]);
        command.env("STATE_DIRECTORY", site.path(name));
        Running::start(clock.shown_to(command))
    };
    let daemons = ["one", "two"].map(host);
    let signal = |signal| {
        for daemon in &daemons {
            daemon.signal(signal);
        }
    };
    let sealed = || {
        let files = fs::read_dir(site.path("backups/hitkeep/runs")).into_iter().flatten();
        // `SET.json`; what is begun is `SET.started.json`.
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().matches('.').count() == 1).count()
    };
    for hour in 0..8 {
        if hour > 0 {
            clock.set("2026-03-06T00:00:01Z".parse::<Timestamp>().unwrap() + hour.hours());
            // They look at once, and have forgotten what they have tried.
            signal(Signal::HUP);
        }
        let begun = std::time::Instant::now();
        while sealed() <= usize::try_from(hour).unwrap() {
            assert!(begun.elapsed() < Duration::from_mins(1), "hour {hour}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(500));
    signal(Signal::TERM);
    assert_eq!(daemons.map(|daemon| daemon.end().code), [143, 143]);
    assert_eq!(sealed(), 8);
}

#[test]
fn a_daemon_that_is_ended_in_the_middle_of_a_run_seals_nothing() {
    for (signal, code, word) in [(Signal::TERM, 143, "terminated"), (Signal::INT, 130, "interrupted")] {
        let (site, manager) = (Site::with(demo(Layout::Joined)), Manager::new());
        site.write_plan(&nightly("0 3 * * *"));
        let mut command = manager.of(site.command(&["daemon", "plan.toml", "--json"]));
        command.env("WATCHDOG_USEC", "400000");
        // It has never run: that is caught up with at once.
        let mut daemon = Running::start(command);
        assert!(manager.hear_news().starts_with("READY=1 STATUS=next is nightly, "));
        assert_eq!(manager.hear_news(), "STATUS=nightly is running");
        daemon.wait_for_task("store");
        daemon.signal(signal);
        let outcome = daemon.end();
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert_eq!(manager.hear_news(), "STOPPING=1");
        assert_eq!(site.sets(), []);
        assert_eq!(names(&site.path("staging")), Vec::<String>::new());
        let [record] = &site.state_records().into_values().collect::<Vec<_>>()[..] else { panic!("one run") };
        assert_eq!((&record["status"], &record["failures"][0]["cause"]), (&"failed".into(), &word.into()));
    }
}

#[test]
fn a_daemon_shows_that_it_is_alive_while_it_rests_and_while_it_runs() {
    let (site, manager) = (Site::with(demo(Layout::Joined)), Manager::new());
    site.write_plan(&nightly("0 3 * * *"));
    let mut command = manager.of(site.command(&["daemon", "plan.toml", "--json"]));
    command.env("WATCHDOG_USEC", "300000");
    let mut daemon = Running::start(command);
    assert!(manager.hear_news().starts_with("READY=1 "));
    assert_eq!(manager.hear_news(), "STATUS=nightly is running");
    daemon.wait_for_task("export");
    assert_eq!(manager.hear(), ALIVE);
    daemon.wait_for_line(r#"{"format":1,"event":"run-finished""#);
    assert!(manager.hear_news().starts_with("STATUS=nightly: success (exit code 0); next is nightly, "));
    assert_eq!([manager.hear(), manager.hear()], [ALIVE; 2]);
    // One that stands still gives no sign.
    daemon.signal(Signal::STOP);
    while manager.heard.recv_timeout(Duration::from_secs(1)).is_ok() {}
    daemon.signal(Signal::CONT);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.end().code, 130);
    assert_eq!(site.sets().len(), 1);
}

#[test]
fn a_daemon_needs_a_plan_with_a_schedule() {
    let site = Site::with(minimal());
    let outcome = site.run(&["daemon", "plan.toml"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    assert!(outcome.stderr.starts_with("error: no job that is meant has a schedule\n"), "{outcome:?}");
    fs::write(site.path("plan.toml"), "version = 2\n").unwrap();
    assert_eq!(site.run(&["daemon", "plan.toml"]).code, 2);
}
