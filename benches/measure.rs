//! What a process costs, measured from outside, and the table that it is told in.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The kernel's unit of process times on every Linux: 100 ticks a second.
const TICK: Duration = Duration::from_millis(10);

/// What a process cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Wall time.
    pub(crate) wall: Duration,
    /// CPU time, of user and system together.
    pub(crate) cpu: Duration,
    /// The most memory that was resident, in KiB.
    pub(crate) peak_kib: u64,
}

impl Cost {
    /// Returns the best times of both, and the worst memory.
    fn best(self, other: Self) -> Self {
        Self {
            wall: self.wall.min(other.wall),
            cpu: self.cpu.min(other.cpu),
            peak_kib: self.peak_kib.max(other.peak_kib),
        }
    }
}

/// The costs by the name of what cost them, in the order of their first round.
#[derive(Default)]
pub(crate) struct Table(Vec<(String, Cost)>);

impl Table {
    /// Runs a command and adds what it cost.
    pub(crate) fn add(&mut self, name: &str, command: &Words, environment: &BTreeMap<&str, String>) {
        let cost = run(command, environment);
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, best)) => *best = best.best(cost),
            None => self.0.push((name.to_owned(), cost)),
        }
    }

    /// Returns what was measured under a name.
    pub(crate) fn find(&self, name: &str) -> Cost {
        self.0.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// Prints everything.
    pub(crate) fn print(&self) {
        println!("{:<28} {:>8} {:>8} {:>9}", "", "wall s", "CPU s", "peak MiB");
        for (name, cost) in &self.0 {
            let (wall, cpu) = (cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
            println!("{name:<28} {wall:>8.2} {cpu:>8.2} {:>9}", cost.peak_kib / 1024);
        }
    }

    /// Prints how our cost stands to a peer's.
    pub(crate) fn ratio(&self, what: &str, ours: &str, peer: &str) {
        let (ours, theirs) = (self.find(ours), self.find(peer));
        let wall = ours.wall.as_secs_f64() / theirs.wall.as_secs_f64();
        let cpu = ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64();
        println!("{what}: {wall:.2} x the wall time and {cpu:.2} x the CPU time of {peer}");
    }
}

/// A program and its arguments.
pub(crate) type Words = Vec<String>;

/// Returns this benchmark as a command, to be run as a process of its own.
pub(crate) fn peer(words: &[&str]) -> Words {
    let own = std::env::current_exe().unwrap();
    std::iter::once(path(&own)).chain(words.iter().copied()).map(str::to_owned).collect()
}

/// Returns a path as text.
pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command to its end and measures it from outside.
pub(crate) fn run(words: &Words, environment: &BTreeMap<&str, String>) -> Cost {
    // Who syncs what it writes would wait for what others have left unwritten.
    rustix::fs::sync();
    let begun = Instant::now();
    let mut command = Command::new(&words[0]);
    let mut child = command.args(&words[1..]).envs(environment).stdout(Stdio::null()).spawn().unwrap();
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
