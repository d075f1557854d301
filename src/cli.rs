//! Who asks: one file per verb, one rendering of errors, and the exit codes.

mod account;
mod around;
mod check;
mod code;
mod completions;
mod coverage;
mod daemon;
mod demo;
mod desk;
mod doctor;
mod drill;
mod error;
mod explain;
mod from_env;
mod init;
mod lifecycle;
mod list;
mod locks;
mod man;
mod memory;
mod next;
mod page;
mod pin;
mod prune;
mod restore;
mod rows;
mod run;
mod sample;
mod schema;
mod shard;
mod show;
mod status;
mod subject;
mod units;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::event::{Listener, Silence};
use crate::report::log::{JsonLog, Subject};
use crate::report::{Json, Lines, Progress};
use crate::run::exit;

use error::CliError;

/// Declarative backups of HitKeep: one plan says what is backed up, where to, and how it is verified.
#[derive(Debug, Parser)]
#[command(name = "hitkeep-plan", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = EXAMPLES_AND_CODES)]
struct Arguments {
    #[command(flatten)]
    voice: Voice,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  hitkeep-plan demo                              see it all, in ./hitkeep-demo
  hitkeep-plan init plan.toml                    start a plan of your own
  hitkeep-plan check plan.toml                   every problem of a plan
  hitkeep-plan run plan.toml --dry-run           what a run would do
  hitkeep-plan run plan.toml                     do it
  hitkeep-plan restore plan.toml --to /new/data  get everything back";

const EXAMPLES_AND_CODES: &str = "\
Examples:
  hitkeep-plan demo                              see it all, in ./hitkeep-demo
  hitkeep-plan init plan.toml                    start a plan of your own
  hitkeep-plan check plan.toml                   every problem of a plan
  hitkeep-plan run plan.toml --dry-run           what a run would do
  hitkeep-plan run plan.toml                     do it
  hitkeep-plan restore plan.toml --to /new/data  get everything back

Exit codes:
  0 done
  1 unexpected                       6 verification failed
  2 usage, or the plan is rejected   7 another run holds the lock
  3 partial: something is missing    8 an objective is broken
  4 source unavailable               9 refused rather than risk what is there
  5 destination failed              75 skipped on purpose
                                   130 interrupted, 143 terminated";

/// How much is said.
#[derive(Clone, Copy, Debug, Args)]
struct Voice {
    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 100)]
    quiet: bool,
    /// Say each step.
    #[arg(short, long, global = true, display_order = 101)]
    verbose: bool,
    /// Log on standard error in lines for people, or in JSON: an object a line, with the run's id.
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        value_enum,
        default_value_t,
        hide_default_value = true,
        display_order = 102
    )]
    log: error::Form,
    /// Whether a program reads events from standard output: nothing else is said there.
    #[arg(skip)]
    is_events: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Show(show::Show),
    Status(status::Status),
    List(list::List),
    Verify(verify::Verify),
    Coverage(coverage::Coverage),
    Restore(restore::Restore),
    Prune(prune::Prune),
    Pin(pin::PinSet),
    Unpin(pin::Unpin),
    Explain(explain::Explain),
    Lifecycle(lifecycle::LifecycleRules),
    Daemon(daemon::Daemon),
    Next(next::Next),
    Units(units::Units),
    Init(init::Init),
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoServer(demo::Serve),
    Schema(schema::Schema),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Verb {
    /// Tells whether what it writes is for others to read, such as the user that a service runs as, and holds no secret: plans name
    /// only where their secrets are. Whoever calls it says what others may do with it, by the umask.
    fn writes_for_others(&self) -> bool {
        match self {
            Self::Init(init) => init.writes_a_plan_alone(),
            Self::Units(_) | Self::Man(_) => true,
            _ => false,
        }
    }

    /// Tells whether a program is to read events while the verb is at work.
    fn tells_events(&self) -> bool {
        match self {
            Self::Run(run) => run.json,
            Self::Verify(verify) => verify.json,
            Self::Restore(restore) => restore.json,
            Self::Prune(prune) => prune.json,
            Self::Daemon(daemon) => daemon.json,
            _ => false,
        }
    }

    /// Tells whether a program is to read one document that says what came of it all.
    fn writes_document(&self) -> bool {
        match self {
            Self::Check(check) => check.format == check::Format::Json,
            Self::Doctor(doctor) => doctor.json,
            Self::Status(status) => status.json,
            Self::List(list) => list.json,
            Self::Coverage(coverage) => coverage.json,
            Self::Lifecycle(rules) => rules.json,
            _ => false,
        }
    }

    async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        match self {
            Self::Run(run) => run.carry_out(voice).await,
            Self::Check(check) => check.carry_out(voice),
            Self::Doctor(doctor) => doctor.carry_out(voice).await,
            Self::Show(show) => show.carry_out(),
            Self::Status(status) => status.carry_out(voice).await,
            Self::List(list) => list.carry_out().await,
            Self::Verify(verify) => verify.carry_out(voice).await,
            Self::Coverage(coverage) => coverage.carry_out(voice).await,
            Self::Restore(restore) => restore.carry_out(voice).await,
            Self::Prune(prune) => prune.carry_out(voice).await,
            Self::Pin(pin) => pin.carry_out(voice).await,
            Self::Unpin(unpin) => unpin.carry_out(voice).await,
            Self::Explain(explain) => explain.carry_out().await,
            Self::Lifecycle(rules) => rules.carry_out(voice).await,
            Self::Daemon(daemon) => daemon.carry_out(voice).await,
            Self::Next(next) => next.carry_out(),
            Self::Units(units) => units.carry_out(voice),
            Self::Init(init) => init.carry_out(voice),
            Self::Demo(demo) => demo.carry_out(voice).await,
            Self::DemoServer(server) => server.carry_out(),
            Self::Schema(schema) => schema.carry_out(),
            Self::Completions(completions) => completions.carry_out(),
            Self::Man(man) => man.carry_out(),
        }
    }
}

impl Voice {
    /// Returns who hears events: nobody, a log, or a terminal.
    fn listener(self) -> Arc<dyn Listener> {
        self.listener_of(None)
    }

    /// Returns who hears the events of a run.
    fn listener_of(self, subject: Option<Subject>) -> Arc<dyn Listener> {
        if self.is_events {
            return Arc::new(Json);
        }
        if self.log == error::Form::Json && !self.quiet {
            return Arc::new(JsonLog::of(subject));
        }
        let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
        match (self.quiet, self.verbose, is_terminal) {
            (true, _, _) => Arc::new(Silence),
            (_, false, true) => Arc::new(Progress::default()),
            (_, true, _) => Arc::new(Lines::tasks()),
            (_, false, false) => Arc::new(Lines::problems()),
        }
    }

    /// Returns who hears events where what comes of it all is one document on standard output.
    fn listener_beside_document(self, json: bool) -> Arc<dyn Listener> {
        if json && !self.quiet { Arc::new(JsonLog::problems()) } else { self.listener() }
    }

    /// Prints what a person asked for, unless that person wants to hear nothing, or it is a program that asks.
    fn say(self, text: &str) -> Result<(), CliError> {
        if self.quiet || self.is_events { Ok(()) } else { print(text) }
    }

    /// Prints work that is not done: line by line, each an event where a program asks.
    fn show(self, work: &impl fmt::Display) -> Result<(), CliError> {
        let text = work.to_string();
        if self.is_events { written(Json::planned(&text)) } else { print(&text) }
    }
}

/// Prints to standard output.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Takes the end of writing to standard output: a reader that has seen enough and gone away is no error.
fn written(ended: io::Result<()>) -> Result<(), CliError> {
    match ended {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended.map_err(CliError::Output),
    }
}

/// Runs the program with these arguments, and returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { exit::REJECTED } else { exit::DONE };
        }
    };
    if !arguments.verb.writes_for_others() {
        // Snapshots hold secrets in clear: whatever is made is its owner's alone.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    }
    let is_events = arguments.verb.tells_events();
    let is_json = is_events || arguments.verb.writes_document();
    error::choose(if is_json { error::Form::Json } else { arguments.voice.log });
    memory::give_back_unused();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::Runtime(error).tell(),
    };
    let code = runtime
        .block_on(arguments.verb.carry_out(Voice { is_events, ..arguments.voice }))
        .unwrap_or_else(|error| error.tell());
    // A call that was given up may still be on its way out of the kernel; nobody waits for what it returns.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

/// Returns the command line as a value, for completions and manual pages.
fn command() -> clap::Command {
    Arguments::command()
}
