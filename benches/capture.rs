//! The live copy against `cp`: how long it takes, and what it costs whoever writes to the database meanwhile.
//!
//! `cargo bench --profile release --bench capture -- [MIB] [DIR]` makes a database of MIB mebibytes (2048) in DIR (a temporary
//! folder), or uses the one that is there. Idle: nobody has it open. Busy: another process commits small transactions
//! to it as fast as it can, with HitKeep's settings. Each side is a process of its own, in the same order each round,
//! `ROUNDS` times; the best of each counts, because everything else on the machine only ever adds. The writer's rate is
//! that of whole windows, in turn: alone, while captures are made one after the other, while plain copies are.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod measure;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use duckdb::Connection;
use hitkeep_plan::duck::capture::{Patience, capture};
use jiff::Timestamp;

use measure::{Table, Words, path, peer};

const ROUNDS: usize = 5;

/// How long the writer's commits are counted at a time.
const WINDOW: Duration = Duration::from_secs(5);

/// The bytes of a row that cannot be compressed.
const ROW: u64 = 24;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["capture", live, copy] => drop(captured(Path::new(live), Path::new(copy))),
        ["write", live, count] => write(Path::new(live), Path::new(count)),
        _ => compare(&arguments),
    }
}

fn compare(arguments: &[String]) {
    let mebibytes: u64 = arguments.first().map_or(2048, |count| count.parse().unwrap());
    let scratch = tempfile::tempdir().unwrap();
    let home = arguments.get(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let live = home.join("live.db");
    if !live.exists() {
        make(&live, (mebibytes << 20) / ROW);
    }
    println!("a database of {} MiB", live.metadata().unwrap().len() >> 20);
    let mut table = Table::default();
    time(&mut table, "idle", &home);
    let writer = Writer::start(&home);
    time(&mut table, "busy", &home);
    let rates = writer.rates(&home);
    drop(writer);
    table.print();
    for weather in ["idle", "busy"] {
        table.ratio(weather, &format!("capture, {weather}"), &format!("cp, {weather}"));
    }
    for (doing, rate, tries) in &rates {
        println!("{doing:<28} {rate:>8.0} commits a second, {:.0} % of alone; {tries}", 100.0 * rate / rates[0].1);
    }
}

fn time(table: &mut Table, weather: &str, home: &Path) {
    let (live, copy) = (home.join("live.db"), home.join("copy.db"));
    for _ in 0..ROUNDS {
        let cp: Words = ["cp", path(&live), path(&copy)].map(str::to_owned).into();
        for (name, command) in [("cp", cp), ("capture", peer(&["capture", path(&live), path(&copy)]))] {
            forget(&copy);
            table.add(&format!("{name}, {weather}"), &command, &BTreeMap::new());
        }
    }
    forget(&copy);
}

fn forget(copy: &Path) {
    for file in [copy.to_owned(), copy.with_extension("db.wal")] {
        drop(fs::remove_file(file));
    }
}

/// Captures once, and returns how many passes it took.
fn captured(live: &Path, copy: &Path) -> u32 {
    capture(live, copy, &Patience::default(), &Timestamp::now, &|| false).unwrap().tries
}

/// Makes a database that cannot be compressed.
fn make(live: &Path, rows: u64) {
    let sql = format!(
        "CREATE TABLE hits AS SELECT hash(range) AS a, uuid() AS b FROM range({rows}); \
         CREATE TABLE small (a BIGINT, b VARCHAR); CHECKPOINT;"
    );
    Connection::open(live).unwrap().execute_batch(&sql).unwrap();
}

/// Commits small transactions until it is killed, and adds a byte to a file for each.
fn write(live: &Path, count: &Path) {
    let engine = Connection::open(live).unwrap();
    engine.execute_batch("PRAGMA wal_autocheckpoint = '64MB';").unwrap();
    let mut count = OpenOptions::new().append(true).create(true).open(count).unwrap();
    loop {
        engine.execute_batch("INSERT INTO small SELECT range, 'a page view' || range FROM range(20);").unwrap();
        count.write_all(b".").unwrap();
    }
}

/// A process that writes to the database until this is dropped.
struct Writer(Child);

impl Writer {
    fn start(home: &Path) -> Self {
        drop(File::create(home.join("count")).unwrap());
        let words = peer(&["write", path(&home.join("live.db")), path(&home.join("count"))]);
        let writer = Self(Command::new(&words[0]).args(&words[1..]).spawn().unwrap());
        while count(home) < 100 {
            std::thread::sleep(Duration::from_millis(10));
        }
        writer
    }

    /// Returns how many commits a second there are at best, alone and while copies are made, and what that took.
    fn rates(&self, home: &Path) -> Vec<(&'static str, f64, String)> {
        assert!(self.0.id() > 0);
        let (live, copy) = (home.join("live.db"), home.join("copy.db"));
        let alone = || {
            std::thread::sleep(WINDOW);
            0
        };
        let capturing = || {
            forget(&copy);
            captured(&live, &copy)
        };
        let copying = || {
            forget(&copy);
            fs::copy(&live, &copy).unwrap();
            1
        };
        let sides: [(&str, &dyn Fn() -> u32); 3] =
            [("the writer alone", &alone), ("the writer, captured", &capturing), ("the writer, copied", &copying)];
        let mut best = sides.map(|(doing, _)| (doing, 0.0, String::new()));
        for _ in 0..ROUNDS {
            for ((_, work), best) in sides.iter().zip(&mut best) {
                let (rate, told) = rate(home, work);
                if rate > best.1 {
                    (best.1, best.2) = (rate, told);
                }
                forget(&copy);
            }
        }
        best.into()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Returns how many commits a second there are while something is done again and again.
fn rate(home: &Path, work: &dyn Fn() -> u32) -> (f64, String) {
    let (begun, before) = (Instant::now(), count(home));
    let (mut times, mut tries) = (0, 0);
    while begun.elapsed() < WINDOW {
        tries += work();
        times += 1;
    }
    let commits = count(home) - before;
    (f64::from(commits) / begun.elapsed().as_secs_f64(), format!("{times} times, {tries} passes"))
}

fn count(home: &Path) -> u32 {
    u32::try_from(home.join("count").metadata().unwrap().len()).unwrap()
}
