//! The story of a machine that is switched off again and again: SIGKILL at any moment of a run.
//!
//! Half of the kills come after a random time, half after a random event, so that also the short steps are met.
//! `HITKEEP_PLAN_KILLS` says how many there are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hitkeep_plan::duck::{Limits, Session, compare};
use hitkeep_plan::measure::Bytes;
use rustix::process::Signal;

use crate::fixture::{Running, Site, TENANT, minimal, names};

/// After how many kills everything is verified and a run must succeed.
const BETWEEN_LOOKS: u32 = 25;

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn kills_at_any_moment_cost_no_set_that_was_sealed() {
    let kills = std::env::var("HITKEEP_PLAN_KILLS").map_or(200, |count| count.parse().unwrap());
    let site = Site::with(minimal());
    let begun = Instant::now();
    site.succeed(&["run", "plan.toml", "--json"]);
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();

    let mut dice = Dice(20_260_308);
    let mut sealed = complete_sets(&site, "before");
    let mut kill = 0;
    while kill < kills {
        let about = format!("kill {}", kill + 1);
        let is_killed = is_killed(&site, &mut dice, micros, &about);
        kill += u32::from(is_killed);
        let found = complete_sets(&site, &about);
        assert!(sealed.iter().all(|set| found.contains(set)), "{about}: of {sealed:?} only {found:?} are left");
        sealed = found;
        if is_killed && (kill % BETWEEN_LOOKS == 0 || kill == kills) {
            look_closely(&site, &about);
            sealed = complete_sets(&site, &about);
        }
    }
    assert_eq!(site.state_records().values().filter(|record| record["status"] == "failed").count(), 0);
}

/// Begins a run and kills it, and tells whether it was still there to be killed.
fn is_killed(site: &Site, dice: &mut Dice, micros: u64, about: &str) -> bool {
    let mut running = Running::start(site.command(&["run", "plan.toml", "--json"]));
    if dice.below(2) == 0 {
        std::thread::sleep(Duration::from_micros(dice.below(micros)));
    } else {
        // Two databases: 28 events without those that say where a task is.
        for _ in 0..dice.below(36) {
            running.wait_for_event();
        }
        std::thread::sleep(Duration::from_micros(dice.below(1000)));
    }
    running.signal(Signal::KILL);
    let outcome = running.end();
    assert!([0, -9].contains(&outcome.code), "{about}: {outcome:?}");
    outcome.code == -9
}

/// Returns the names of the sets that `list` calls complete; every other one must be called an orphan.
fn complete_sets(site: &Site, about: &str) -> Vec<String> {
    let (complete, others): (Vec<_>, Vec<_>) = site.sets().into_iter().partition(|(_, state)| state == "complete");
    assert!(others.iter().all(|(_, state)| state == "orphan"), "{about}: {others:?}");
    complete.into_iter().map(|(set, _)| set).collect()
}

/// Everything that is sealed must verify; the next run must succeed at once, clean up, and be restored in full.
fn look_closely(site: &Site, about: &str) {
    site.succeed(&["verify", "plan.toml"]);
    make_old(&site.path("staging"));
    site.succeed(&["run", "plan.toml"]);
    assert_eq!(names(&site.path("staging")), Vec::<String>::new(), "{about}: what killed runs had left");
    site.succeed(&["verify", "plan.toml", "latest"]);
    site.state_records();

    let target = tempfile::tempdir_in(site.path("")).unwrap();
    let data = target.path().join("data");
    site.succeed(&["restore", "plan.toml", "--to", data.to_str().unwrap()]);
    let session =
        Session::open(&Limits { memory: Bytes(64 << 20), most: Bytes(64 << 20), spill: site.path("spill") }).unwrap();
    for database in ["hitkeep.db".to_owned(), format!("tenants/{TENANT}/hitkeep.db")] {
        let contents = |data: &Path| compare::contents(&session, &data.join(&database)).unwrap();
        assert_eq!(contents(&data), contents(&site.path("data")), "{about}: {database}");
    }
}

/// Makes leftovers look as old as they must be to be taken for such.
pub(crate) fn make_old(staging: &Path) {
    for entry in std::fs::read_dir(staging).unwrap() {
        let folder = File::open(entry.unwrap().path()).unwrap();
        folder.set_modified(SystemTime::now() - Duration::from_mins(1)).unwrap();
    }
}
