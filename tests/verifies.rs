//! Stories of `verify`: whatever is done to a set after it was sealed is found.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use hitkeep_plan::measure::{Sha256, Share};
use hitkeep_plan::record::SampleRecord;
use hitkeep_plan::store::local::Local;
use hitkeep_plan::store::{Purpose, Store as _};
use hitkeep_plan::work::Sample;
use proptest::prelude::*;
use serde_json::Value;

use crate::fixture::{PLAN, Site, TENANT, Tree, minimal, names, read_tree, write_tree};
use crate::redact::{self, golden, narrow};

/// A backup of two sets, and how to do something to it.
struct Backup {
    root: PathBuf,
    older: String,
    newer: String,
    /// What lies in the folder of another job, by its series' older and its newer set.
    strangers: [Tree; 2],
}

impl Backup {
    /// Returns a path of the newer set's files, where `SET` stands for its name.
    fn newer(&self, path: &str) -> PathBuf {
        self.root.join(path.replace("SET", &self.newer))
    }

    /// Returns a path of the older set's files, where `SET` stands for its name.
    fn older(&self, path: &str) -> PathBuf {
        self.root.join(path.replace("SET", &self.older))
    }

    /// Copies a whole set of the other job in, beside what is there.
    fn copy_in(&self, set: usize) {
        write_tree(&self.root, &self.strangers[set]);
    }

    /// Changes the newer set's manifest of the shared database, and its digest in the run record.
    fn forge(&self, from: &str, to: &str) {
        let manifest = self.newer("shared/SET.manifest.json");
        let sealed = Sha256::of(&fs::read(&manifest).unwrap()).to_string();
        edit(&manifest, from, to);
        let forged = Sha256::of(&fs::read(&manifest).unwrap()).to_string();
        edit(&self.newer("runs/SET.json"), &sealed, &forged);
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn swap(one: &Path, other: &Path) {
    let (first, second) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    fs::write(one, second).unwrap();
    fs::write(other, first).unwrap();
}

/// What is done to a backup, and how.
type Tampering = (&'static str, fn(&Backup));

const TAMPERINGS: &[Tampering] = &[
    ("a byte of a data file is flipped", |it| flip(&it.newer("shared/SET/hits.parquet"))),
    ("a byte of a tenant's data file is flipped", |it| flip(&it.newer(&format!("tenants/{TENANT}/SET/hits.parquet")))),
    ("a byte of the schema is flipped", |it| flip(&it.newer("shared/SET/schema.sql"))),
    ("a byte of the load script is flipped", |it| flip(&it.newer("shared/SET/load.sql"))),
    ("a byte of a manifest is flipped", |it| flip(&it.newer("shared/SET.manifest.json"))),
    ("a byte of the older set is flipped", |it| flip(&it.older("shared/SET/hits.parquet"))),
    ("a data file is truncated", |it| truncate(&it.newer("shared/SET/hits.parquet"))),
    ("a manifest is truncated", |it| truncate(&it.newer("shared/SET.manifest.json"))),
    ("the run record is truncated", |it| truncate(&it.newer("runs/SET.json"))),
    ("a data file is deleted", |it| fs::remove_file(it.newer("shared/SET/hits.parquet")).unwrap()),
    ("a whole snapshot is deleted", |it| fs::remove_dir_all(it.newer("shared/SET")).unwrap()),
    ("a manifest is deleted", |it| fs::remove_file(it.newer("shared/SET.manifest.json")).unwrap()),
    ("the run record is deleted", |it| fs::remove_file(it.newer("runs/SET.json")).unwrap()),
    ("the older run record is deleted", |it| fs::remove_file(it.older("runs/SET.json")).unwrap()),
    ("the manifests and the run record are deleted", |it| {
        fs::remove_file(it.newer("runs/SET.json")).unwrap();
        fs::remove_file(it.newer("shared/SET.manifest.json")).unwrap();
    }),
    ("an empty file is added", |it| fs::write(it.newer("shared/SET/more.parquet"), "").unwrap()),
    ("a data file is renamed", |it| {
        fs::rename(it.newer("shared/SET/hits.parquet"), it.newer("shared/SET/hit.parquet")).unwrap();
    }),
    ("two manifests are swapped", |it| {
        swap(&it.newer("shared/SET.manifest.json"), &it.newer(&format!("tenants/{TENANT}/SET.manifest.json")));
    }),
    ("the manifests of two sets are swapped", |it| {
        swap(&it.newer("shared/SET.manifest.json"), &it.older("shared/SET.manifest.json"));
    }),
    ("the run records of two sets are swapped", |it| swap(&it.newer("runs/SET.json"), &it.older("runs/SET.json"))),
    ("the record's rows are edited", |it| edit(&it.newer("runs/SET.json"), "\"rows\": 105", "\"rows\": 5")),
    ("the record's sizes are edited", |it| edit(&it.newer("runs/SET.json"), "\"bytes\": ", "\"bytes\": 1")),
    ("the record's status is edited", |it| edit(&it.newer("runs/SET.json"), "\"complete\"", "\"partial\"")),
    ("the record expects one more", |it| {
        edit(&it.newer("runs/SET.json"), "\"expected\": [", "\"expected\": [\"00000000-0000-4000-8000-000000000007\",");
    }),
    ("the older record's job is edited", |it| edit(&it.older("runs/SET.json"), "\"nightly\"", "\"daily\"")),
    ("the run record has a newer format", |it| edit(&it.newer("runs/SET.json"), "\"format\": 1", "\"format\": 2")),
    ("a manifest has a newer format", |it| it.forge("\"format\": 1", "\"format\": 2")),
    ("a manifest is of another database", |it| it.forge("\"shared\"", &format!("\"{TENANT}\""))),
    ("a manifest is of another run", |it| it.forge("\"run\": \"0", "\"run\": \"1")),
    ("a manifest tells of other rows", |it| it.forge("\"rows\": 100", "\"rows\": 99")),
    ("a manifest tells of other digests", |it| it.forge("\"sha256\": \"", "\"sha256\": \"0")),
    ("a set of another series, older than all, is copied in", |it| it.copy_in(0)),
    ("a set of another series, newer than all, is copied in", |it| it.copy_in(1)),
    ("a set of another series is copied in, and a byte of it flipped", |it| {
        it.copy_in(1);
        let hits = it.strangers[1].keys().find(|path| path.ends_with("hits.parquet")).unwrap();
        flip(&it.root.join(hits));
    }),
];

/// A second job, which backs the same source up into another folder of the same destination.
const HOURLY: &str = "[backup.hourly]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"hourly\"\n\n[local]";

/// Makes two sets of each of two jobs, those of the second before and after the others, and returns their names and files.
fn two_series(site: &Site) -> ([String; 2], [Tree; 2]) {
    site.write_plan(&PLAN.replace("[local]", HOURLY));
    let run = |job: &str| {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        site.succeed(&["run", "plan.toml", job]);
    };
    ["hourly", "nightly", "nightly", "hourly"].into_iter().for_each(run);
    let names = |job: &str| -> Vec<String> {
        let is_record = |name: &String| name.len() == "2026-03-08T120000Z.json".len();
        let listed = names(&site.path(&format!("backups/{job}/runs"))).into_iter().filter(is_record);
        listed.map(|name| name.trim_end_matches(".json").to_owned()).collect()
    };
    let others = read_tree(&site.path("backups/hourly"));
    let of_set = |set: &String| -> Tree {
        let is_of_it = |path: &Path| path.to_string_lossy().contains(set.as_str());
        others.iter().filter(|(path, _)| is_of_it(path)).map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
    };
    let strangers = names("hourly").iter().map(of_set).collect::<Vec<_>>();
    (names("hitkeep").try_into().unwrap(), strangers.try_into().unwrap())
}

#[test]
fn whatever_is_done_to_a_set_is_found() {
    let site = Site::with(minimal());
    let (names, strangers) = two_series(&site);
    let sealed = read_tree(&site.path("backups"));
    let mut story = told(&site, "nothing is done", &sealed, &names, &strangers, |_| {}, 0);
    for (name, tamper) in TAMPERINGS {
        story += &told(&site, name, &sealed, &names, &strangers, tamper, 6);
    }
    golden("tamperings.txt", &story);
}

/// Tampers with a copy of the sets, and tells what `list` and `verify` say to it.
fn told(
    site: &Site,
    name: &str,
    sealed: &Tree,
    [older, newer]: &[String; 2],
    strangers: &[Tree; 2],
    tamper: impl Fn(&Backup),
    code: i32,
) -> String {
    fs::remove_dir_all(site.path("backups")).unwrap();
    write_tree(&site.path("backups"), sealed);
    let (older, newer, strangers) = (older.clone(), newer.clone(), strangers.clone());
    tamper(&Backup { root: site.path("backups/hitkeep"), older: older.clone(), newer: newer.clone(), strangers });
    let listed = site.succeed(&["list", "backups/hitkeep"]);
    let verified = site.run(&["verify", "backups/hitkeep"]);
    assert_eq!(verified.code, code, "{name}: {verified:?}");
    let story = format!("# {name}\n{}{}{}\n", listed.stdout, verified.stdout, verified.stderr);
    // Where reading stopped depends on how long the times in a record are.
    let without_place = |line: &str| match line.split_once(" at line ") {
        Some((said, _)) => format!("{said} at line […]\n"),
        None => line.to_owned(),
    };
    let story: String = story.split_inclusive('\n').map(without_place).collect();
    narrow(&redact::text(site, &story.replace(&older, "OLDER").replace(&newer, "NEWER")))
}

#[test]
fn one_set_is_verified_by_name_whatever_the_others_are_worth() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    site.succeed(&["run", "plan.toml"]);
    let [(older, _), (newer, _)] = site.sets().try_into().unwrap();
    flip(&site.path(&format!("backups/hitkeep/shared/{newer}/hits.parquet")));
    let code = |set: &str| site.run(&["verify", "plan.toml", set]).code;
    assert_eq!([code(&older), code(&newer), code("latest"), code("2001-01-01T000000Z")], [0, 6, 6, 2]);
}

#[test]
fn a_set_of_another_series_is_nobodys_latest_and_nobodys_to_delete() {
    let site = Site::with(minimal());
    let ([older, newer], strangers) = two_series(&site);
    let root = site.path("backups/hitkeep");
    write_tree(&root, &strangers[1]);
    let stranger = site.sets().pop().unwrap().0;
    assert!(stranger > newer);
    let listed = site.succeed(&["list", "plan.toml", "--job", "nightly", "--json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let states: Vec<&str> =
        listed["places"][0]["sets"].as_array().unwrap().iter().map(|set| set["state"].as_str().unwrap()).collect();
    assert_eq!(states.iter().filter(|state| **state == "stranger").count(), 1, "{listed}");

    let latest = site.succeed(&["verify", "plan.toml", "latest", "--job", "nightly"]).stdout;
    assert!(latest.starts_with(&newer), "{latest}");
    let restored = site.succeed(&["restore", "backups/hitkeep", "--to", "new"]).stdout;
    assert!(restored.starts_with(&format!("set {newer} is restored")), "{restored}");
    let named = site.run(&["verify", "backups/hitkeep", &stranger]);
    assert!(named.code == 6 && named.stdout.contains("a stranger: it is of another series"), "{named:?}");

    site.write_plan(&PLAN.replace("prefix =", "keep = { last = 2 }\nprefix ="));
    let pruned = site.succeed(&["prune", "plan.toml"]).stdout;
    assert!(pruned.contains("of another series: `verify` says which"), "{pruned}");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.succeed(&["run", "plan.toml"]);
    let left: Vec<String> = site.sets().into_iter().map(|(set, _)| set).collect();
    assert!(left.contains(&stranger) && left.contains(&newer) && !left.contains(&older), "{left:?}");
    let record = |set: &str| -> Value {
        serde_json::from_slice(&fs::read(root.join(format!("runs/{set}.json"))).unwrap()).unwrap()
    };
    let (ours, theirs) = (record(left.last().unwrap()), record(&stranger));
    assert_eq!(ours["previous_set"], newer, "the next run follows its own series");
    assert_ne!(ours["series"], theirs["series"]);
}

#[test]
fn a_job_that_is_renamed_goes_on_with_its_series() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    site.write_plan(&PLAN.replace("[backup.nightly]", "[backup.daily]"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.succeed(&["run", "plan.toml"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.succeed(&["run", "plan.toml"]);
    let series = site.sets().into_iter().map(|(set, _)| {
        let record = fs::read(site.path(&format!("backups/hitkeep/runs/{set}.json"))).unwrap();
        serde_json::from_slice::<Value>(&record).unwrap()["series"].clone()
    });
    let series: Vec<Value> = series.collect();
    assert!(series.len() == 3 && series.iter().all(|one| *one == series[0] && one.is_string()), "{series:?}");
    site.succeed(&["verify", "plan.toml"]);
}

#[test]
fn nothing_is_deleted_while_sets_are_verified() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    let deleting = Local::new(site.path("backups"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let prefix = "hitkeep".parse().unwrap();
    let mark = runtime.block_on(deleting.mark(&prefix, Purpose::Deleting, "a prune")).unwrap();
    let refused = site.run(&["verify", "plan.toml"]);
    assert!(refused.code == 7 && refused.stderr.contains("are being deleted: a prune"), "{refused:?}");
    runtime.block_on(mark.release());
    site.succeed(&["verify", "plan.toml"]);
}

#[test]
fn as_many_samples_as_there_are_parts_read_every_file_once() {
    let site = Site::with(minimal());
    site.succeed(&["run", "plan.toml"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    site.succeed(&["run", "plan.toml"]);
    let newest = site.sets().pop().unwrap().0;
    let hits = site.path(&format!("backups/hitkeep/shared/{newest}/hits.parquet"));
    let sealed = fs::read(&hits).unwrap();
    flip(&hits);
    let (mut codes, mut story) = (Vec::new(), String::new());
    for _ in 0..4 {
        let sampled = site.run(&["verify", "plan.toml", "--sample", "30%"]);
        codes.push(sampled.code);
        story += &redact::text(&site, &(sampled.stdout + &sampled.stderr));
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 6], "one of them reads the file that was changed: {story}");
    assert_eq!(story.matches("hits.parquet` is damaged: it has ").count(), 1, "{story}");
    for (part, line) in (1..=4).zip(story.lines().filter(|line| line.starts_with("part "))) {
        assert!(line.starts_with(&format!("part {part} of 4 in [SITE]/backups/hitkeep: ")), "{line}");
        assert!(line.contains(" of 20 files ([SIZE] of [SIZE]) of 2 sets "), "{line}");
    }
    fs::write(&hits, sealed).unwrap();
    for part in 1..=4 {
        let again = site.succeed(&["verify", "plan.toml", "--sample", "30%"]).stdout;
        assert!(again.starts_with(&format!("part {part} of 4 in ")) && again.ends_with(" as sealed\n"), "{again}");
    }

    let samples = samples(&site);
    assert_eq!(samples.iter().map(|sample| sample.round).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    for round in [&samples[..4], &samples[4..]] {
        let sum = |measure: fn(&SampleRecord) -> u64| round.iter().map(measure).sum::<u64>();
        let (files, bytes) = (sum(|sample| sample.files), sum(|sample| sample.bytes));
        assert_eq!((files, bytes), (round[0].of_files, round[0].of_bytes), "four parts are everything: {round:?}");
        assert!(round.iter().all(|sample| sample.snapshot.to_string() == newest && sample.parts == 4), "{round:?}");
    }
    let failed: Vec<&SampleRecord> = samples.iter().filter(|sample| !sample.passed).collect();
    assert!(matches!(failed[..], [SampleRecord { round: 0..4, .. }]) && failed[0].failures.len() == 1, "{failed:?}");
    assert_eq!(site.run(&["verify", "plan.toml", "--sample", "0%"]).code, 2);
    assert_eq!(site.run(&["verify", "plan.toml", "latest", "--sample", "9%"]).code, 2);
}

/// Returns the sample records beside the sets, in order of their rounds.
fn samples(site: &Site) -> Vec<SampleRecord> {
    let runs = site.path("backups/hitkeep/runs");
    let found = names(&runs).into_iter().filter(|name| name.contains(".sample."));
    let mut samples: Vec<SampleRecord> =
        found.map(|name| SampleRecord::read(&fs::read(runs.join(name)).unwrap()).unwrap()).collect();
    samples.sort_by_key(|sample| sample.round);
    samples
}

proptest! {
    #[test]
    fn whatever_the_share_successive_samples_are_everything_and_none_is_read_twice(
        percent in 1..=100_u8,
        last in proptest::option::of(any::<u64>()),
        keys in proptest::collection::vec("[a-z]{1,9}/[a-z]{1,9}\\.parquet", 0..60),
    ) {
        let share: Share = format!("{percent}%").parse().unwrap();
        let parts = 100_u64.div_ceil(u64::from(percent));
        let (mut round, mut read) = (last, vec![0; keys.len()]);
        for _ in 0..parts {
            let sample = Sample::next(round, share);
            prop_assert_eq!(sample.parts, parts);
            keys.iter().zip(&mut read).for_each(|(key, count)| *count += u64::from(sample.takes(key)));
            round = Some(sample.round);
        }
        // Where the numbers begin anew, after more readings than there will ever be, the parts may begin out of turn.
        if last.is_none_or(|last| last < u64::MAX - parts) {
            prop_assert!(read.iter().all(|count| *count == 1), "{:?}", read);
        }
    }
}

#[test]
fn a_place_without_sets_has_nothing_to_verify() {
    let site = Site::with(minimal());
    let outcome = site.run(&["verify", "plan.toml"]);
    golden("verify-nothing.txt", &redact::outcome(&site, &outcome));
}
