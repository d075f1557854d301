//! Stories of two runs at once: one place has one writer, who is named to the other.

use rustix::process::Signal;

use crate::fixture::{PLAN, Running, Site, minimal};

#[test]
fn a_second_run_is_told_who_has_the_place_and_waits_for_nobody() {
    let site = Site::with(minimal());
    let beside = "[backup.beside]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"hitkeep-beside\"\n\n[local]";
    site.write_plan(&PLAN.replace("[local]", beside));
    let mut first = Running::start(site.command(&["run", "plan.toml", "nightly", "--json"]));
    first.wait_for_task("export");
    first.signal(Signal::STOP);

    let second = site.run(&["run", "plan.toml", "nightly"]);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!((second.code, second.stdout.as_str()), (7, ""), "{second:?}");
    for word in [format!("process {} on {host} since", first.id()), "job nightly".to_owned(), "help:".to_owned()] {
        assert!(second.stderr.contains(&word), "`{word}` in {second:?}");
    }
    assert_eq!(site.state_records().len(), 0, "a run that did not begin is no run");

    let doctor = site.run(&["doctor", "plan.toml", "nightly"]);
    assert_eq!(doctor.code, 7, "{doctor:?}");
    let tried = ["busy     lock: another run", &format!("help: wait for process {}", first.id()), "ok       delete: "];
    assert!(tried.iter().all(|line| doctor.stdout.contains(line)), "{doctor:?}");

    let beside = site.run(&["run", "plan.toml", "beside"]);
    assert_eq!(beside.code, 0, "another place is free: {beside:?}");
    assert_eq!(site.run(&["list", "plan.toml"]).code, 0, "who only looks needs no lock");

    first.signal(Signal::KILL);
    assert_eq!(first.end().code, -9);
    site.succeed(&["run", "plan.toml", "nightly"]);
    let states: Vec<String> = site.sets().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["orphan", "complete"], "what the first had begun is unfinished, and in nobody's way");
}

#[test]
fn two_runs_that_start_together_are_told_apart() {
    let site = Site::with(minimal());
    let start = || Running::start(site.command(&["run", "plan.toml", "--json"]));
    let mut codes: Vec<i32> = [start(), start(), start()].map(|run| run.end().code).into();
    codes.sort_unstable();
    let won = codes.iter().filter(|code| **code == 0).count();
    assert!(won >= 1 && codes[won..].iter().all(|code| *code == 7), "{codes:?}");
    let states: Vec<String> = site.sets().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, vec!["complete"; won]);
}
