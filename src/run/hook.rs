//! Runs a command of a plan: without a shell, in a process group of its own, for a limited time.
//!
//! Whatever the command starts belongs to its group, and is stopped with it. What it writes is read to the end and only
//! the end of it is kept.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::measure::Span;
use crate::plan;
use crate::secret::Hidden;
use crate::stop::{Reason, Stop};

/// How long a command that is stopped has for it, until it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long is waited for more output when a command has ended and something that it has started goes on.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How much of the end of a command's output is kept, in bytes.
const KEPT: usize = 4096;

/// What ends a line; a progress bar begins its line again.
const LINE_ENDS: [char; 2] = ['\n', '\r'];

/// A command that is to be run.
#[derive(Clone, Debug)]
pub struct Hook<'h> {
    /// The program and its arguments.
    pub command: &'h plan::Command,
    /// Its whole environment.
    pub environment: &'h [(OsString, OsString)],
    /// How long it may take.
    pub limit: Span,
    /// What is not to be kept of what it writes.
    pub hidden: &'h Hidden,
}

/// A command that was run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
    /// The end of what it wrote: whole lines, except where one is too long.
    pub output: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal of this number.
    Killed(i32),
    /// It was stopped: it took too long.
    TimedOut(Span),
    /// It was stopped, since the word to stop was given.
    Stopped(Reason),
    /// It could not be started.
    NotStarted(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut(limit) => write!(f, "was stopped after {limit}"),
            Self::Stopped(reason) => write!(f, "was stopped: {reason}"),
            Self::NotStarted(cause) => write!(f, "was not started: {cause}"),
        }
    }
}

impl Ended {
    /// Returns the exit code of a command that ended by itself.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(*code),
            _ => None,
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Killed(signal.unwrap_or_default()),
        }
    }
}

impl Hook<'_> {
    /// Runs the command to its end, or until its time is over or `stop` is given.
    pub async fn run(&self, stop: &Stop) -> Ran {
        let begun = Instant::now();
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => {
                let ended = Ended::NotStarted(error.to_string());
                return Ran { ended, took: begun.elapsed(), output: String::new() };
            }
        };
        let tail = Tail::default();
        let mut readers = JoinSet::new();
        child.stdout.take().into_iter().for_each(|output| drop(readers.spawn(tail.clone().read(output))));
        child.stderr.take().into_iter().for_each(|output| drop(readers.spawn(tail.clone().read(output))));
        let ended = self.wait(&mut child, stop).await;
        // What goes on in the background may hold the output open for ever.
        drop(tokio::time::timeout(LAST_WORDS, async { while readers.join_next().await.is_some() {} }).await);
        Ran { ended, took: begun.elapsed(), output: tail.text(self.hidden) }
    }

    fn start(&self) -> std::io::Result<Child> {
        let [program, arguments @ ..] = self.command.words() else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the group of this process: the command is none of it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn wait(&self, child: &mut Child, stop: &Stop) -> Ended {
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let ended = tokio::select! {
            status = child.wait() => return status.map_or_else(|error| Ended::NotStarted(error.to_string()), Ended::from),
            () = tokio::time::sleep(self.limit.0) => Ended::TimedOut(self.limit),
            () = stop.wait() => Ended::Stopped(stop.reason().unwrap_or(Reason::Elsewhere)),
        };
        // A group that is gone needs no signal.
        let signal = |signal| group.is_some_and(|group| kill_process_group(group, signal).is_ok());
        signal(Signal::TERM);
        drop(tokio::time::timeout(GRACE, child.wait()).await);
        // Also for what it has started: a shell ends before the program that it waits for.
        signal(Signal::KILL);
        drop(child.wait().await);
        ended
    }
}

/// The end of what a command has written so far, on both of its outputs.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    end: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    async fn read(self, mut output: impl AsyncRead + Unpin) {
        let mut piece = [0; KEPT];
        while let Ok(length @ 1..) = output.read(&mut piece).await {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.end.extend_from_slice(&piece[..length]);
            let surplus = written.end.len().saturating_sub(4 * KEPT);
            written.is_cut |= surplus > 0;
            written.end.drain(..surplus);
        }
    }

    /// Returns the last whole lines, in which nothing is that is `hidden`. Half a line could hold half a secret.
    fn text(&self, hidden: &Hidden) -> String {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&written.end);
        let whole = if written.is_cut { text.split_once(LINE_ENDS).map_or("", |(_, whole)| whole) } else { &text };
        let shown = hidden.hide(whole.trim_end());
        let start = shown.ceil_char_boundary(shown.len().saturating_sub(KEPT));
        match (&shown[start..], start > 0 || written.is_cut) {
            (all, false) => all.to_owned(),
            (end, _) if start == 0 => format!("…\n{end}"),
            (end, _) => format!("…\n{}", end.split_once(LINE_ENDS).map_or(end, |(_, whole)| whole)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is kept of an output, where `secret` is one.
    fn kept(output: &[u8]) -> String {
        let (tail, hidden) = (Tail::default(), Hidden::default());
        hidden.learn(["secret".to_owned()]);
        futures_util::FutureExt::now_or_never(tail.clone().read(output)).unwrap_or_default();
        tail.text(&hidden)
    }

    proptest::proptest! {
        #[test]
        fn no_part_of_a_secret_is_kept_wherever_the_output_is_cut(
            before in 0..6 * KEPT,
            after in 0..6 * KEPT,
            line in 1..3 * KEPT,
        ) {
            let filled = |length| (0..length).map(|at| if at % line == 0 { '\n' } else { 'x' }).collect::<String>();
            let shown = kept(format!("{}secret{}", filled(before), filled(after)).as_bytes());
            proptest::prop_assert!(!["secret", "ecret", "cret", "ret", "secre"].iter().any(|part| shown.contains(part)), "{shown}");
            proptest::prop_assert!(shown.len() <= KEPT + "…\n".len());
        }
    }

    #[test]
    fn the_end_of_an_output_is_kept_in_whole_lines_without_secrets() {
        assert_eq!(kept(b"one\ntwo secrets\n\n"), "one\ntwo ***s");
        assert_eq!(kept(b"\xff\n"), "\u{fffd}");
        assert_eq!(kept(b""), "");
        let lines = |from: usize| {
            (from..2000).flat_map(|line| ["line ".to_owned(), format!("{line:04}\n")]).collect::<String>()
        };
        let shown = kept(lines(0).as_bytes());
        assert_eq!(shown, format!("…\n{}", lines(1591).trim_end()));
        let cut_in_the_secret = format!("{}secret{}\nend\n", "x".repeat(100), "y".repeat(4 * KEPT - 8));
        assert_eq!(kept(cut_in_the_secret.as_bytes()), "…\nend");
        assert_eq!(kept("z".repeat(9 * KEPT).as_bytes()), "…\n");
    }
}
