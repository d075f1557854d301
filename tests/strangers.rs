//! Stories of sets that were copied in from another host, whose job has the same name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{PLAN, Site, Tree, minimal, read_tree, write_tree};
use crate::redact::{self, golden};

/// Whose runs there are, in order: `x` is this host, and `y` the other one.
const RUNS: [&str; 7] = ["y", "x", "x", "x", "y", "y", "y"];

/// What lies at the place, of these runs; and what it shows.
const CASES: [(&[usize], &str); 6] = [
    (&[1, 4], "one of each"),
    (&[1, 4, 5, 6], "most are the other's"),
    (&[1, 2, 3, 4], "the newest is the other's"),
    (&[0, 1], "the newest is our own"),
    (&[1, 2, 3], "there is no other"),
    (&[4, 5], "our own are gone"),
];

/// A folder in which two hosts have backed up, each for itself.
struct Neighbours {
    site: Site,
    /// The files of each run's set.
    sets: Vec<Tree>,
    /// The name of each run's set.
    names: Vec<String>,
    /// What this host remembers.
    state: Tree,
}

/// Has two hosts run the same job, each at its own place.
fn neighbours() -> Neighbours {
    let site = Site::with(minimal());
    let other = PLAN.replace("\"backups\"", "\"theirs\"").replace("\"state\"", "\"their-state\"");
    fs::write(site.path("theirs.toml"), other).unwrap();
    let (mut sets, mut names) = (Vec::new(), Vec::new());
    for whose in RUNS {
        let (plan, place) = if whose == "x" { ("plan.toml", "backups") } else { ("theirs.toml", "theirs") };
        site.succeed(&["run", plan]);
        let all = read_tree(&site.path(place).join("hitkeep"));
        let records = all.keys().filter_map(|path| path.to_str()?.strip_prefix("runs/")?.strip_suffix(".json"));
        let name = records.max().unwrap().to_owned();
        sets.push(all.into_iter().filter(|(path, _)| path.to_str().unwrap().contains(&name)).collect());
        names.push(name);
        sleep(Duration::from_millis(1100));
    }
    let state = read_tree(&site.path("state"));
    Neighbours { site, sets, names, state }
}

impl Neighbours {
    /// Has the place hold the sets of these runs, and nothing else.
    fn lay(&self, runs: &[usize], is_remembered: bool) {
        let site = &self.site;
        for folder in ["backups", "state"] {
            fs::remove_dir_all(site.path(folder)).unwrap();
        }
        for run in runs {
            write_tree(&site.path("backups/hitkeep"), &self.sets[*run]);
        }
        let state = if is_remembered { self.state.clone() } else { Tree::new() };
        write_tree(&site.path("state"), &state);
    }

    /// Calls sets by whose they are.
    fn shortened(&self, told: String) -> String {
        let short = RUNS.iter().enumerate().map(|(at, whose)| format!("{whose}{at}"));
        let told = self.names.iter().zip(short).fold(told, |told, (name, short)| told.replace(name, &short));
        redact::text(&self.site, &told)
    }

    /// Tells what is said of a place that holds the sets of these runs, and which set the next run goes on from.
    fn told(&self, runs: &[usize], is_remembered: bool) -> String {
        self.lay(runs, is_remembered);
        let site = &self.site;
        let verified = site.run(&["verify", "plan.toml"]);
        let restored = site.run(&["restore", "plan.toml", "--to", "new", "--dry-run"]);
        assert_eq!(restored.code, 0, "a restore is never refused: {restored:?}");
        let planned = restored.stdout.lines().next().unwrap();
        site.succeed(&["run", "plan.toml"]);
        let record =
            fs::read(site.path(&format!("backups/hitkeep/runs/{}.json", site.sets().pop().unwrap().0))).unwrap();
        let before = serde_json::from_slice::<Value>(&record).unwrap()["previous_set"].clone();
        let (code, said, warned) = (verified.code, verified.stdout, restored.stderr);
        let told = format!("{said}verify ends with {code}\n{planned}\n{warned}the next set comes after {before}\n");
        self.shortened(told)
    }
}

#[test]
fn sets_of_another_host_are_strangers_to_whoever_remembers_and_told_of_to_whoever_does_not() {
    let neighbours = neighbours();
    let mut story = String::new();
    for (runs, what) in CASES {
        for (is_remembered, who) in [(true, "the host remembers"), (false, "the host is new")] {
            let _ = writeln!(story, "# {what}, and {who}\n{}", neighbours.told(runs, is_remembered));
        }
    }
    golden("strangers.txt", &story);
}

#[test]
fn nothing_is_deleted_where_it_is_not_certain_whose_the_sets_are() {
    let neighbours = neighbours();
    let site = &neighbours.site;
    site.write_plan(&PLAN.replace("prefix = \"hitkeep\"", "prefix = \"hitkeep\"\nkeep = { last = 1, min = 1 }"));
    let mut story = String::new();
    for (runs, is_remembered, what) in [
        (&[1, 2, 3, 4, 5, 6][..], false, "the host is new"),
        (&[4, 5], true, "our own are gone"),
        (&[1, 2, 3, 4, 5, 6], true, "the host remembers"),
    ] {
        neighbours.lay(runs, is_remembered);
        for words in [&["prune", "plan.toml", "--yes"][..], &["run", "plan.toml"]] {
            let outcome = site.run(words);
            let _ = writeln!(
                story,
                "# {what}: {}\nexit code {}\n{}{}",
                words[0], outcome.code, outcome.stdout, outcome.stderr
            );
        }
    }
    // The set of a run of this story is none of those that have a name.
    golden("strangers-pruned.txt", &neighbours.shortened(story));
}
