//! Backup and restore of a demo installation against DuckDB's own `EXPORT DATABASE` and `IMPORT DATABASE`.
//!
//! `cargo bench --profile release --bench backup -- [HITS] [DIR]` makes an installation of HITS page views (5 million) in DIR
//! (a temporary folder), or uses the one that is there, and prints wall time, CPU time and peak memory of each side, and
//! the ratios. Both sides are processes of their own, run in the same order each time, `ROUNDS` times; the best of
//! each counts, because everything else on the machine only ever adds.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use duckdb::Connection;

const ROUNDS: usize = 3;

/// The kernel's unit of process times on every Linux: 100 ticks a second.
const TICK: Duration = Duration::from_millis(10);

/// What a process cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_kib: u64,
}

impl Cost {
    fn best(self, other: Self) -> Self {
        Self {
            wall: self.wall.min(other.wall),
            cpu: self.cpu.min(other.cpu),
            peak_kib: self.peak_kib.max(other.peak_kib),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["peer-export", data, into, order] => peer_export(Path::new(data), Path::new(into), order),
        ["peer-import", from, into] => peer_import(Path::new(from), Path::new(into)),
        _ => compare(&arguments),
    }
}

fn compare(arguments: &[String]) {
    let hits = arguments.first().map_or(5_000_000, |hits| hits.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let home = arguments.get(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let plan = home.join("plan.toml");
    if !plan.exists() {
        run(&program(&["init", "--demo", path(&home), "--hits", &hits.to_string()]));
    }
    let (data, work) = (home.join("data"), home.join("bench"));
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        fresh(&work, &home);
        let exported = work.join("exported");
        table.add("EXPORT DATABASE, as it is", &peer(&["peer-export", path(&data), path(&exported), "true"]));
        table.add("EXPORT DATABASE, any order", &peer(&["peer-export", path(&data), path(&work.join("any")), "false"]));
        table.add("hitkeep-plan run", &program(&["run", path(&plan), "--quiet"]));
        table.add("IMPORT DATABASE", &peer(&["peer-import", path(&exported), path(&work.join("imported"))]));
        table.add(
            "hitkeep-plan restore",
            &program(&["restore", path(&plan), "--to", path(&work.join("restored")), "--quiet"]),
        );
    }
    fresh(&work, &home);
    table.print();
    table.ratio("backup", "hitkeep-plan run", "EXPORT DATABASE, as it is");
    table.ratio("backup", "hitkeep-plan run", "EXPORT DATABASE, any order");
    table.ratio("restore", "hitkeep-plan restore", "IMPORT DATABASE");
}

/// The costs by the name of what cost them, in the order of their first round.
#[derive(Default)]
struct Table(Vec<(String, Cost)>);

impl Table {
    fn add(&mut self, name: &str, command: &Words) {
        let cost = run(command);
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, best)) => *best = best.best(cost),
            None => self.0.push((name.to_owned(), cost)),
        }
    }

    fn find(&self, name: &str) -> Cost {
        self.0.iter().find(|(known, _)| known == name).unwrap().1
    }

    fn print(&self) {
        println!("{:<28} {:>8} {:>8} {:>9}", "", "wall s", "CPU s", "peak MiB");
        for (name, cost) in &self.0 {
            let (wall, cpu) = (cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
            println!("{name:<28} {wall:>8.2} {cpu:>8.2} {:>9}", cost.peak_kib / 1024);
        }
    }

    fn ratio(&self, what: &str, ours: &str, peer: &str) {
        let (ours, theirs) = (self.find(ours), self.find(peer));
        let wall = ours.wall.as_secs_f64() / theirs.wall.as_secs_f64();
        let cpu = ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64();
        println!("{what}: {wall:.2} x the wall time and {cpu:.2} x the CPU time of {peer}");
    }
}

/// A program and its arguments.
type Words = Vec<String>;

fn program(words: &[&str]) -> Words {
    [env!("CARGO_BIN_EXE_hitkeep-plan")].iter().chain(words).map(|word| (*word).to_owned()).collect()
}

fn peer(words: &[&str]) -> Words {
    let own = std::env::current_exe().unwrap();
    std::iter::once(path(&own)).chain(words.iter().copied()).map(str::to_owned).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Removes what the last round has made.
fn fresh(work: &Path, home: &Path) {
    for folder in [work, &home.join("backups")] {
        drop(std::fs::remove_dir_all(folder));
    }
    std::fs::create_dir_all(work).unwrap();
}

/// Runs a command to its end and measures it from outside.
fn run(words: &Words) -> Cost {
    let begun = Instant::now();
    let mut child = Command::new(&words[0]).args(&words[1..]).stdout(Stdio::null()).spawn().unwrap();
    let folder = PathBuf::from(format!("/proc/{}", child.id()));
    let mut peak_kib = 0;
    // A process that has ended keeps its times until it is waited for.
    let cpu = loop {
        peak_kib = peak_kib.max(peak(&folder).unwrap_or(0));
        match times(&folder).unwrap() {
            ('Z', cpu) => break cpu,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let wall = begun.elapsed();
    assert!(child.wait().unwrap().success(), "{words:?}");
    Cost { wall, cpu, peak_kib }
}

/// Reads the highest resident memory of a process, in KiB.
fn peak(folder: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Reads the state of a process and its CPU time, of user and system together.
fn times(folder: &Path) -> Option<(char, Duration)> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let after_name: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: u32 = after_name[11].parse::<u32>().ok()? + after_name[12].parse::<u32>().ok()?;
    Some((after_name[0].chars().next()?, TICK * ticks))
}

/// The databases that a backup of the demo holds: all but the archived tenant's, which has the least hits.
fn databases(data: &Path) -> Vec<PathBuf> {
    let mut tenants: Vec<PathBuf> = std::fs::read_dir(data.join("tenants"))
        .unwrap()
        .map(|tenant| tenant.unwrap().path().join("hitkeep.db"))
        .collect();
    tenants.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    tenants.truncate(2);
    tenants.into_iter().chain([data.join("hitkeep.db")]).collect()
}

fn peer_export(data: &Path, into: &Path, order: &str) {
    std::fs::create_dir_all(into).unwrap();
    for (number, database) in databases(data).iter().enumerate() {
        let engine = Connection::open_in_memory().unwrap();
        let into = into.join(number.to_string());
        let script = format!(
            "SET preserve_insertion_order = {order}; ATTACH '{}' AS source (READ_ONLY); \
             EXPORT DATABASE source TO '{}' (FORMAT parquet, COMPRESSION zstd);",
            path(database),
            path(&into)
        );
        engine.execute_batch(&script).unwrap();
    }
}

fn peer_import(from: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let folder = entry.unwrap();
        let engine = Connection::open_in_memory().unwrap();
        let database = into.join(folder.file_name()).with_extension("db");
        let script = format!(
            "ATTACH '{}' AS target (STORAGE_VERSION 'v1.0.0'); USE target; IMPORT DATABASE '{}'; CHECKPOINT target;",
            path(&database),
            path(&folder.path())
        );
        engine.execute_batch(&script).unwrap();
    }
}
