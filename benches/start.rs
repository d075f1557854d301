//! How long the program takes to start, and to check a plan of many jobs.
//!
//! `cargo bench --profile release --bench start -- [JOBS]` writes a plan of JOBS backups (100) with a schedule each, and
//! checks it `ROUNDS` times; its peer in the same run is the program that only prints its version. The median counts.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;

fn main() {
    let jobs: u32 = std::env::args().skip(1).find(|word| word != "--bench").map_or(100, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.toml");
    fs::write(&file, plan(jobs)).unwrap();
    let program = fs::metadata(env!("CARGO_BIN_EXE_hitkeep-plan")).unwrap();
    println!("the program has {} MiB with its symbols", program.len() >> 20);
    println!("{:>16}  {:?}", "--version", median(&["--version"]));
    println!("{:>16}  {:?}", format!("check of {jobs}"), median(&["check", file.to_str().unwrap()]));
}

fn plan(jobs: u32) -> String {
    let mut plan =
        String::from("version = 1\n\n[source.main]\ndata_path = \"data\"\n\n[destination.disk]\nurl = \"backups\"\n");
    for job in 0..jobs {
        let minute = job % 60;
        write!(
            plan,
            "\n[backup.job-{job}]\nsource = \"main\"\nto = [\"disk\"]\nprefix = \"sets-{job}\"\nschedule = \"{minute} 3 * * *\"\n"
        )
        .unwrap();
    }
    plan
}

fn median(words: &[&str]) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| time(words)).collect();
    times.sort();
    times[ROUNDS / 2]
}

fn time(words: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitkeep-plan"));
    let begun = Instant::now();
    assert!(command.args(words).stdout(Stdio::null()).status().unwrap().success(), "{words:?}");
    begun.elapsed()
}
