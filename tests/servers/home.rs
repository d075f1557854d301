//! Where a server lives: a folder, and the processes that write in it.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What stays until the tests have ended, however they ended: it is told of each process, and sees its input close.
const KEEPER: &str = r#"while read -r started; do processes="$processes $started"; done
kill -KILL $processes
while kill -0 $processes && [ $((waits += 1)) -lt 50 ]; do sleep 0.1; done
rm -rf "$1""#;

/// A folder and processes that go when this is dropped or this process ends, be it by SIGKILL.
pub(crate) struct Home {
    folder: PathBuf,
    keeper: Child,
    processes: Vec<Child>,
}

impl Home {
    /// Makes an empty home.
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("hitkeep-plan-{name}-")).tempdir().unwrap().keep();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: what a terminal sends to the tests does not reach it.
        let keeper = keeper.process_group(0).spawn().unwrap();
        Self { folder, keeper, processes: Vec::new() }
    }

    /// Returns the path of something in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a folder in the folder, and returns its path.
    pub(crate) fn make_folder(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Returns what all processes say.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("log")
    }

    /// Starts a process in the folder.
    pub(crate) fn start(&mut self, command: &mut Command) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.current_dir(&self.folder).process_group(0).spawn().unwrap();
        writeln!(self.keeper.stdin.as_mut().unwrap(), "{}", process.id()).unwrap();
        self.processes.push(process);
    }

    /// Runs a command in the folder to its end, which must be a good one, and returns what it prints.
    pub(crate) fn run(&self, command: &mut Command) -> String {
        let output = command.current_dir(&self.folder).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

/// Returns the address of a port that nobody listens on, below those that Linux gives to whoever asks for any: it stays free
/// until it is used.
pub(crate) fn free_address() -> String {
    const PORTS: std::ops::Range<u32> = 20_000..32_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(100).wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", PORTS.start + number % (PORTS.end - PORTS.start));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}
