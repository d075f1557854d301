//! What the stories share: installations that are made once and copied for each test, and the program itself, run in
//! a clean environment below a folder of the test's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use hitkeep_plan::demo::{Demo, Layout};
use hitkeep_plan::plan::{Backup, Installation, Plan, SourceKind, Surroundings};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// The moment that every demo's traffic stops at.
pub(crate) const UNTIL: &str = "2026-06-25T00:00:00Z";

/// The only tenant with a database of its own in [`minimal`].
pub(crate) const TENANT: &str = "00000000-0000-4000-8000-000000000002";

/// A plan whose paths lie beside it: source `data`, destination `backups` with the prefix `hitkeep`, one job `nightly`.
pub(crate) const PLAN: &str = r#"version = 1

[source.main]
data_path = "data"

[destination.disk]
url = "backups"

[backup.nightly]
source = "main"
to = ["disk"]
prefix = "hitkeep"

[local]
state = "state"
staging = "staging"
"#;

/// A folder of files: names relative to it, and contents.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Returns the data path of a demo installation with 300 page views: made once, kept in memory.
pub(crate) fn demo(layout: Layout) -> &'static Tree {
    static JOINED: OnceLock<Tree> = OnceLock::new();
    static SPLIT: OnceLock<Tree> = OnceLock::new();
    let kept = match layout {
        Layout::Joined => &JOINED,
        Layout::Split => &SPLIT,
    };
    kept.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let demo = Demo { hits: 300, layout, ..Demo::new(UNTIL.parse().unwrap()) };
        demo.build(folder.path()).unwrap();
        read_tree(folder.path())
    })
}

/// Returns the data path of the smallest installation that is one: a shared database of four tables and one tenant's
/// of two. A run over it takes a fraction of a second.
pub(crate) fn minimal() -> &'static Tree {
    static MADE: OnceLock<Tree> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let tenant = folder.path().join("tenants").join(TENANT);
        fs::create_dir_all(&tenant).unwrap();
        make_database(&folder.path().join("hitkeep.db"), MINIMAL_SHARED);
        make_database(&tenant.join("hitkeep.db"), MINIMAL_TENANT);
        read_tree(folder.path())
    })
}

const MINIMAL_SHARED: &str = r#"
    CREATE TABLE migrations (migration VARCHAR PRIMARY KEY, applied_at TIMESTAMPTZ);
    INSERT INTO migrations VALUES ('0001_init', TIMESTAMPTZ '2026-01-01 00:00:00Z');
    CREATE TABLE tenants (id UUID PRIMARY KEY, name VARCHAR, is_default BOOLEAN, created_at TIMESTAMPTZ);
    INSERT INTO tenants VALUES
        ('00000000-0000-4000-8000-000000000001', 'Default', true, TIMESTAMPTZ '2026-01-01 00:00:00Z'),
        ('00000000-0000-4000-8000-000000000002', 'Acme', false, TIMESTAMPTZ '2026-01-02 00:00:00Z');
    CREATE TABLE sites (id INTEGER PRIMARY KEY, domain VARCHAR UNIQUE);
    INSERT INTO sites VALUES (1, 'example.org'), (2, 'example.com');
    CREATE TABLE hits (site INTEGER, path VARCHAR, "timestamp" TIMESTAMPTZ);
    INSERT INTO hits SELECT i % 2 + 1, '/page/' || i, TIMESTAMPTZ '2026-01-03 00:00:00Z' FROM range(100) AS r(i);
    CREATE INDEX hits_by_site ON hits (site);"#;

const MINIMAL_TENANT: &str = r#"
    CREATE TABLE sites (id INTEGER PRIMARY KEY, domain VARCHAR UNIQUE);
    INSERT INTO sites VALUES (3, 'acme.example');
    CREATE TABLE hits (site INTEGER, path VARCHAR, "timestamp" TIMESTAMPTZ);
    INSERT INTO hits SELECT 3, '/' || i, TIMESTAMPTZ '2026-01-03 00:00:00Z' FROM range(50) AS r(i);"#;

/// Makes a database file of statements, checkpointed and closed.
pub(crate) fn make_database(path: &Path, statements: &str) {
    let engine = duckdb::Connection::open_in_memory().unwrap();
    let attach = format!("ATTACH '{}' AS made (STORAGE_VERSION 'v1.0.0', BLOCK_SIZE 16384); USE made;", path.display());
    engine.execute_batch(&format!("{attach} {statements} CHECKPOINT; USE memory; DETACH made;")).unwrap();
}

/// How many rows take so long to be exported or loaded that a signal arrives meanwhile.
pub(crate) const LONG: u64 = 2_000_000;

/// Puts so many rows into a database, in a table of their own.
pub(crate) fn fill(database: &Path, rows: u64) {
    let filler = format!("CREATE TABLE filler AS SELECT random() FROM range({rows}); CHECKPOINT;");
    duckdb::Connection::open(database).unwrap().execute_batch(&filler).unwrap();
}

/// Returns the installation that a job backs up.
pub(crate) fn installation(job: &Backup) -> &Installation {
    match job.source().kind() {
        SourceKind::Installation(installation) => installation,
        SourceKind::Snapshots(snapshots) => panic!("{} holds no databases", snapshots.folder().display()),
    }
}

/// Reads every file below a folder; none when there is no such folder.
pub(crate) fn read_tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(folder, &mut |path| {
        if path.is_file() {
            tree.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(path).unwrap());
        }
    });
    tree
}

/// Writes files below a folder, the way HitKeep's lie: folders 0700, files 0600.
pub(crate) fn write_tree(folder: &Path, tree: &Tree) {
    for (name, bytes) in tree {
        let path = folder.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap().write_all(bytes).unwrap();
    }
}

/// Calls `see` with every file and folder below a folder.
pub(crate) fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        see(&path);
        if path.is_dir() {
            walk(&path, see);
        }
    }
}

/// A folder of a test's own, with an installation in `data` and [`PLAN`] in `plan.toml`.
pub(crate) struct Site {
    folder: TempDir,
}

/// What came of running the program.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; minus the signal's number when one ended the program.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Site {
    /// Makes the folder with a copy of an installation.
    pub(crate) fn with(installation: &Tree) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        write_tree(&site.path("data"), installation);
        site.write_plan(PLAN);
        site
    }

    /// Returns the path of something in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts another plan into `plan.toml`.
    pub(crate) fn write_plan(&self, text: &str) {
        fs::write(self.path("plan.toml"), text).unwrap();
    }

    /// Reads a plan as if it were `plan.toml`, for tests that need no program.
    pub(crate) fn read_plan(&self, text: &str) -> Plan {
        let around = Surroundings {
            host: "here".to_owned(),
            directory: self.path(""),
            variables: BTreeMap::new(),
            real_path: Path::to_owned,
        };
        Plan::read(text, "plan.toml", &around).unwrap().plan
    }

    /// Returns the program with `words`, to be run in the folder, in an environment that holds nothing but the folder.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitkeep-plan"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        command.env("HOME", self.path("home")).env("STATE_DIRECTORY", self.path("state")).env("LANG", "C.UTF-8");
        command
    }

    /// Runs the program with `words` to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        Outcome::of(self.command(words))
    }

    /// Runs the program, which must succeed.
    pub(crate) fn succeed(&self, words: &[&str]) -> Outcome {
        let outcome = self.run(words);
        assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
        outcome
    }

    /// Returns the sets that `list --json` shows at the plan's first place, oldest first: name and state.
    pub(crate) fn sets(&self) -> Vec<(String, String)> {
        let listed: Value =
            serde_json::from_str(&self.succeed(&["list", "plan.toml", "--all", "--json"]).stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let sets = listed["places"][0]["sets"].as_array().unwrap().iter();
        sets.map(|set| (text(&set["set"]), text(&set["state"]))).collect()
    }

    /// Returns the records in the state directory, by file name; half-written files of killed runs are none.
    pub(crate) fn state_records(&self) -> BTreeMap<PathBuf, Value> {
        let parse = |(name, bytes): (PathBuf, Vec<u8>)| {
            let record = serde_json::from_slice(&bytes);
            (name.clone(), record.unwrap_or_else(|error| panic!("{}: {error}", name.display())))
        };
        let is_record = |(name, _): &(PathBuf, Vec<u8>)| !name.to_string_lossy().ends_with(".partial");
        read_tree(&self.path("state/runs")).into_iter().filter(is_record).map(parse).collect()
    }
}

impl Outcome {
    /// Runs a command to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: code(output.status), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Returns a program of the tests, to be run by somebody who may read next to nothing; nothing where nobody else can be had.
///
/// It is started from a copy in `folder`, which anybody must be able to enter, like the libraries that it is linked to: a
/// home directory is its owner's alone.
pub(crate) fn as_nobody(program: &Path, folder: &Path) -> Option<Command> {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        crate::redact::skipped("only root can become somebody else");
        return None;
    }
    let place = |file: &Path| {
        let copy = folder.join(file.file_name().unwrap());
        fs::copy(file, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        copy
    };
    for library in libraries() {
        place(&library);
    }
    let mut command = Command::new(place(program));
    command.uid(NOBODY).gid(NOBODY).current_dir(folder).stdin(Stdio::null()).env_clear().env("LD_LIBRARY_PATH", folder);
    Some(command)
}

/// Returns the libraries of this process that are not the system's.
fn libraries() -> BTreeSet<PathBuf> {
    let mapped = fs::read_to_string("/proc/self/maps").unwrap();
    let files = mapped.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
    let is_library = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    let is_systems = |file: &PathBuf| file.starts_with("/usr/lib") || file.starts_with("/lib");
    files.filter(|file| is_library(file) && !is_systems(file)).collect()
}

/// Returns the exit code; minus the signal's number when one ended the program.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap()
}

/// Returns what lies below a folder, in order, folders with a slash at their end.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    walk(folder, &mut |path| {
        let name = path.strip_prefix(folder).unwrap().display();
        names.push(if path.is_dir() { format!("{name}/") } else { name.to_string() });
    });
    names.sort();
    names
}

/// The program while it runs with `--json`: its events can be awaited, and it can be signalled.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    heard: String,
}

impl Running {
    /// Starts a command.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, heard: String::new() }
    }

    /// Waits for the next event; false when the program has closed its output.
    pub(crate) fn wait_for_event(&mut self) -> bool {
        self.stdout.read_line(&mut self.heard).unwrap() > 0
    }

    /// Waits for a line that begins with `beginning`, and returns the rest of it.
    pub(crate) fn wait_for_line(&mut self, beginning: &str) -> String {
        loop {
            assert!(self.wait_for_event(), "no line `{beginning}`: {}", self.heard);
            if let Some(rest) = self.heard.lines().last().unwrap().strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    /// Waits until a task begins whose title starts with this word.
    pub(crate) fn wait_for_task(&mut self, word: &str) {
        let title = format!(r#""title":"{word} "#);
        loop {
            assert!(self.wait_for_event(), "no task `{word}`: {}", self.heard);
            let last = self.heard.lines().last().unwrap();
            if last.contains(r#""event":"task-started""#) && last.contains(&title) {
                return;
            }
        }
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. One that stops the program has done so when this returns: each thread ends what the kernel does for
    /// it first.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        while signal == Signal::STOP && self.is_running() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells whether a thread of the program is neither stopped nor gone.
    fn is_running(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten();
        let mut states = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        states.any(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with(['T', 't', 'Z', 'X']))
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Outcome {
        self.stdout.read_to_string(&mut self.heard).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Outcome { code: code(output.status), stdout: self.heard, stderr: String::from_utf8(output.stderr).unwrap() }
    }
}

#[test]
fn a_site_runs_as_it_is() {
    for installation in [demo(Layout::Joined), demo(Layout::Split), minimal()] {
        let site = Site::with(installation);
        site.succeed(&["run", "plan.toml"]);
        let states: Vec<String> = site.sets().into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, ["complete"]);
        assert_eq!(site.succeed(&["verify", "plan.toml"]).stderr, "");
        let statuses: Vec<Value> = site.state_records().into_values().map(|record| record["status"].clone()).collect();
        assert_eq!(statuses, ["complete"]);
    }
}
