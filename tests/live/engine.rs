//! Engines that have a database open in a process of their own: Python's wheels of any version, and the linked one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use crate::oracle;

const DATABASE: &str = "HITKEEP_PLAN_TEST_LIVE";

/// Which engine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A version of Python's package.
    Wheel(&'static str),
    /// The one that this binary is linked with.
    Linked,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wheel(version) => version,
            Self::Linked => "linked",
        }
    }

    /// Returns the command that serves a database; nothing, loudly, where the engine cannot be had.
    fn command(self, database: &Path) -> Option<Command> {
        let mut command = match self {
            Self::Wheel(version) => Command::new(oracle::python(version)?),
            Self::Linked => Command::new(std::env::current_exe().unwrap()),
        };
        match self {
            Self::Wheel(_) => {
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/engine.py")).arg(database)
            }
            Self::Linked => command
                .args(["--exact", "live::engine::serves_a_database", "--ignored", "--nocapture"])
                .env(DATABASE, database),
        };
        Some(command)
    }
}

/// A process that has a database open. Dropped, it is killed.
pub(crate) struct Engine {
    child: Child,
    input: Arc<Mutex<Option<ChildStdin>>>,
}

/// A connection to an engine.
pub(crate) struct Connection {
    number: usize,
    input: Arc<Mutex<Option<ChildStdin>>>,
    answers: Receiver<Result<String, String>>,
}

/// What is said where the process has ended.
pub(crate) const GONE: &str = "the engine is gone";

impl Engine {
    /// Starts an engine that opens the database, with some connections to it; nothing, loudly, where it cannot be had.
    pub(crate) fn start<const N: usize>(kind: Kind, database: &Path) -> Option<(Self, [Connection; N])> {
        let started = Self::open(kind, database)?;
        Some(started.unwrap_or_else(|why| panic!("{} opens {}: {why}", kind.name(), database.display())))
    }

    /// Starts an engine, which may refuse to open the database.
    pub(crate) fn open<const N: usize>(kind: Kind, database: &Path) -> Option<Result<(Self, [Connection; N]), String>> {
        let mut child = kind.command(database)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let first = lines.find(|line| line.starts_with('@'));
        if first.as_deref() != Some("@ready") {
            child.wait().unwrap();
            return Some(Err(first.unwrap_or_default()));
        }
        let input = Arc::new(Mutex::new(child.stdin.take()));
        let (senders, connections): (HashMap<usize, Sender<_>>, Vec<Connection>) = (0..N)
            .map(|number| {
                let (sender, answers) = channel();
                ((number, sender), Connection { number, input: Arc::clone(&input), answers })
            })
            .unzip();
        std::thread::spawn(move || deliver(lines, &senders));
        Some(Ok((Self { child, input }, connections.try_into().ok().unwrap())))
    }

    /// Kills the process, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes the database and ends the process, as a server that is stopped does.
    pub(crate) fn close(mut self) {
        drop(self.input.lock().unwrap().take());
        self.child.wait().unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Hands each answer to the connection that it is for.
fn deliver(lines: impl Iterator<Item = String>, connections: &HashMap<usize, Sender<Result<String, String>>>) {
    for line in lines {
        let Some(answer) = line.strip_prefix('@') else { continue };
        let [number, verdict, text] = answer.splitn(3, '\t').collect::<Vec<_>>().try_into().unwrap();
        let answer = if verdict == "ok" { Ok(text.to_owned()) } else { Err(text.to_owned()) };
        drop(connections[&number.parse().unwrap()].send(answer));
    }
}

impl Connection {
    /// Lets the engine begin statements, on one line, whose end is waited for by [`Self::wait`].
    pub(crate) fn begin(&self, sql: &str) {
        let line = format!("{}\t{sql}\n", self.number);
        if let Some(input) = &mut *self.input.lock().unwrap() {
            drop(input.write_all(line.as_bytes()));
        }
    }

    pub(crate) fn wait(&self) -> Result<String, String> {
        self.answers.recv().unwrap_or_else(|_| Err(GONE.to_owned()))
    }

    /// Runs statements; those that fail have been rolled back.
    pub(crate) fn run(&self, sql: &str) -> Result<String, String> {
        self.begin(sql);
        self.wait()
    }

    /// Runs statements that must not fail.
    pub(crate) fn must(&self, sql: &str) -> String {
        self.run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// Does in Rust what `engine.py` does in Python.
#[test]
#[ignore = "what the other process runs, started by the tests that need one"]
fn serves_a_database() {
    let database = match duckdb::Connection::open(std::env::var_os(DATABASE).unwrap()) {
        Ok(database) => database,
        Err(error) => return say(&format!("\n@error {}", error.to_string().replace('\n', " "))),
    };
    let mut connections: HashMap<String, Sender<String>> = HashMap::new();
    let mut threads = Vec::new();
    say("\n@ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (number, sql) = line.split_once('\t').unwrap();
        let tasks = connections.entry(number.to_owned()).or_insert_with(|| {
            let (sender, tasks) = channel();
            let (connection, number) = (database.try_clone().unwrap(), number.to_owned());
            threads.push(std::thread::spawn(move || serve(&number, &connection, &tasks)));
            sender
        });
        tasks.send(sql.to_owned()).unwrap();
    }
    drop(connections);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn serve(number: &str, connection: &duckdb::Connection, tasks: &Receiver<String>) {
    for sql in tasks {
        let done = match sql.strip_prefix('?') {
            Some(query) => connection.query_row(&format!("SELECT ({query})::VARCHAR"), [], |row| row.get(0)),
            None => connection.execute_batch(&sql).map(|()| String::new()),
        };
        match done {
            Ok(value) => say(&format!("@{number}\tok\t{value}")),
            Err(error) => {
                drop(connection.execute_batch("ROLLBACK"));
                let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                say(&format!("@{number}\terror\t{why}"));
            }
        }
    }
}

fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}
