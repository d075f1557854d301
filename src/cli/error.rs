//! The one rendering of everything that can go wrong, and the exit code of each.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::OnceLock;

use super::code;
use crate::demo::DemoError;
use crate::diagnose::{Diagnostic, Look, Problems, Rejected, Severity};
use crate::duck::DuckError;
use crate::plan::{Job, Plan, environment};
use crate::report::log::{self, Level, Subject};
use crate::run::{Cause, Failure, exit};
use crate::stop::Reason;
use crate::store::StoreError;
use crate::survey::SurveyError;
use crate::work::Refusal;

/// What helps where a database is open that a plan wants opened.
const STOPPED: &str =
    "`capture = \"direct\"` reads a HitKeep that is stopped; `\"auto\"` and `\"live\"` copy one that runs";

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The plan is wrong.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The command line asks for something that is not there.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} `{}`: {cause}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The world could not be looked at.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// A place could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A database could not be read.
    #[error(transparent)]
    Duck(#[from] DuckError),
    /// There is nothing to be done.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// A folder could not be made.
    #[error(transparent)]
    Cause(#[from] Cause),
    /// A task failed.
    #[error("{}", .0.cause)]
    Failure(#[from] Failure),
    /// A command around a job failed.
    #[error("{0}")]
    Hook(String),
    /// The demo could not be made.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// What is archived at a place cannot be read.
    #[error("{0}")]
    Unread(String),
    /// What was restored is not what was backed up.
    #[error("{0}")]
    Differs(String),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The program could not start its threads.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl From<Reason> for CliError {
    fn from(reason: Reason) -> Self {
        Self::Cause(reason.into())
    }
}

impl CliError {
    /// Returns the exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Rejected(_)
            | Self::Usage { .. }
            | Self::File { doing: "read", .. }
            | Self::Refusal(Refusal::NoSet(_) | Refusal::NotInSet { .. }) => exit::REJECTED,
            Self::Survey(SurveyError::Source(_) | SurveyError::Theirs(_) | SurveyError::NoSet { .. })
            | Self::Duck(_) => exit::SOURCE,
            Self::Differs(_) | Self::Refusal(Refusal::Damaged { .. }) => exit::VERIFICATION,
            Self::Survey(SurveyError::Stopped(reason)) => Cause::from(*reason).exit_code(),
            Self::Store(StoreError::Busy { .. } | StoreError::InUse { .. }) => exit::LOCKED,
            Self::Store(_) | Self::Unread(_) | Self::Refusal(Refusal::NoSpace { is_destination: true, .. }) => {
                exit::DESTINATION
            }
            Self::Refusal(_) | Self::Survey(SurveyError::Refused(_)) | Self::Demo(DemoError::Occupied(_)) => {
                exit::REFUSED
            }
            Self::Cause(cause) | Self::Failure(Failure { cause, .. }) => cause.exit_code(),
            Self::Hook(_)
            | Self::Demo(_)
            | Self::Survey(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::Runtime(_) => exit::UNEXPECTED,
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Usage { help, .. } => help,
            Self::Survey(SurveyError::Source(DuckError::Locked { .. })) | Self::Duck(DuckError::Locked { .. }) => {
                STOPPED
            }
            Self::Survey(SurveyError::Source(DuckError::Capture(error))) => error.help()?,
            Self::Survey(SurveyError::Source(DuckError::Missing { .. })) => {
                "is `data_path` the directory of HITKEEP_DATA_PATH, and `db_path` the file of HITKEEP_DB_PATH?"
            }
            Self::Survey(SurveyError::Theirs(_) | SurveyError::NoSet { .. }) => {
                "is `snapshots` the directory of HITKEEP_BACKUP_PATH, and has HitKeep finished its first backup?"
            }
            Self::Survey(SurveyError::Source(DuckError::Refused { .. } | DuckError::Unopenable { .. })) => {
                "is this HitKeep's shared database?"
            }
            Self::Store(StoreError::Busy { at, .. }) if at.starts_with("s3://") => {
                "wait for it to end; the lease of a run that was killed ends by itself"
            }
            Self::Store(StoreError::InUse { .. }) => "wait for that to end, and try again",
            Self::Store(StoreError::Busy { .. }) => "wait for it to end; the lock goes with the process that holds it",
            Self::Store(error)
            | Self::Cause(Cause::Store(error))
            | Self::Failure(Failure { cause: Cause::Store(error), .. }) => remedy(&error.to_string())?,
            Self::Demo(DemoError::Occupied(_)) => "choose another directory, or remove this one",
            _ => return None,
        };
        Some(if HAS_NO_PLAN.get().is_some() { environment::instead_of_keys(help) } else { help.to_owned() })
    }

    /// Tells what ended a job, as [`Self::tell`] does: at the value of the plan that is to blame, where it is one alone.
    pub(super) fn tell_at(&self, plan: &Plan, job: Job<'_>) -> u8 {
        let code = code::code(self);
        let Self::Survey(_) = self else { return self.tell() };
        if !code.starts_with("source::") {
            return self.tell();
        }
        let source = job.source();
        let problem = Diagnostic::error(code, self.to_string())
            .at(source.list_place(), format!("source `{}`, as job `{}` finds it", source.name(), job.name()));
        let problem = self.help().into_iter().fold(problem, Diagnostic::help);
        tell_placed(&plan.problems(vec![problem]), Some(self.exit_code()));
        self.exit_code()
    }

    /// Tells a person, or a program, on standard error, and returns the exit code.
    pub(super) fn tell(&self) -> u8 {
        match self {
            Self::Rejected(rejected) => tell_placed(rejected.problems(), Some(self.exit_code())),
            other if is_json() => {
                let (code, message, help) = (code::code(self), other.to_string(), self.help());
                write_object(Level::Error, Unplaced { code, exit_code: self.exit_code(), message, help, labels: [] });
            }
            other => {
                let bold = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
                let help = self.help().map(|help| format!(" help: {help}\n"));
                log::write(Level::Error, &format!("{bold}error:{bold:#} {other}\n{}", help.unwrap_or_default()));
            }
        }
        self.exit_code()
    }
}

/// Returns what helps against what a server, or the way to it, is said to refuse.
pub(super) fn remedy(said: &str) -> Option<&'static str> {
    const NO_KEY: &str = "say where the access key is found, with `access_key_id` and `secret_access_key` or their \
                          `HITKEEP_S3_` variables";
    const HUNG_UP: &str = "the server, or a proxy before it, hangs up: if it speaks TLS there, say `use_ssl = true`";
    const WHO_ASKS: &str = "say who asks in the variable that names the proxy: `http://NAME:PASSWORD@HOST:PORT`";
    const UNTRUSTED: &str = "name the CA of this server in `ca_bundle`, if it is your own";
    const UNENCRYPTED: &str = "let the server encrypt, or leave `encryption` out, if it does so by itself or need not";
    const NO_PROXY: &str = "does the proxy run that the environment names, and is its address right?";
    const REMEDIES: &[(&str, &str)] = &[
        ("is open in", STOPPED),
        (
            "did not keep still",
            "it is checkpointed more often than it can be copied: put `staging` on a faster disk, let HitKeep checkpoint less often, or run at a calmer time",
        ),
        (
            "while it was read",
            "run again: there is a newer set; and let HitKeep keep more of them, with HITKEEP_BACKUP_RETENTION",
        ),
        ("is damaged: ", "restore it from the last good backup, if HitKeep cannot open it either"),
        (
            "Increasing the memory limit",
            "let DuckDB use more, with `memory_limit` in `[local]`: an index takes about 100 bytes for each row of its table, and long values several times their size",
        ),
        ("does not encrypt", UNENCRYPTED),
        ("KMS is not configured", UNENCRYPTED),
        (
            "InternalError",
            "the server's log says what is wrong; where the plan has `encryption`, it may have no key to encrypt with",
        ),
        ("NoSuchBucket", "make the bucket first: this program makes none"),
        ("No such key", "the server does not know this `access_key_id`"),
        ("InvalidAccessKeyId", "the server does not know this `access_key_id`"),
        ("SignatureDoesNotMatch", "is `secret_access_key` the secret of this key?"),
        ("Invalid signature", "is `secret_access_key` the secret of this key?"),
        (
            "AuthorizationHeaderMalformed",
            "is `region` the region of this bucket? The server names the one that it expects",
        ),
        ("PermanentRedirect", "is `region` the region of this bucket? The server names the one that it expects"),
        ("RequestTimeTooSkewed", "the clock of this host is wrong: a request must be signed with the right time"),
        ("AccessDenied", "the key may not do this: it needs to list, get, put and delete below the prefix"),
        ("no credentials found", NO_KEY),
        ("loading credentials", NO_KEY),
        ("UnknownIssuer", UNTRUSTED),
        ("BadSignature", UNTRUSTED),
        (
            "not valid for name",
            "is `endpoint` the name that the certificate was made for? It must hold the one that is asked for",
        ),
        ("certificate expired", "have the server's certificate renewed; or is the clock of this host wrong?"),
        ("InvalidContentType", "the server speaks plain HTTP at this port: say `use_ssl = false`"),
        ("with HTTP status 407", WHO_ASKS),
        (
            "as no S3 server does, with HTTP status 5",
            "what answers stands before the server, and may not reach it: is `endpoint` right, with its port, and does the server run?",
        ),
        ("as no S3 server does", "are `endpoint`, with its port, and `use_ssl` right? Something else answers there"),
        ("invalid HTTP version parsed", "what answers speaks no HTTP: if it is TLS, say `use_ssl = true`"),
        ("connection closed before message completed", HUNG_UP),
        ("Connection reset", HUNG_UP),
        ("proxy authorization required", WHO_ASKS),
        (
            "tunnel error: unsuccessful",
            "is `endpoint` right, with its port, and may it be reached through this proxy? If that asks who comes, does the variable say so?",
        ),
        ("names no proxy", "write it as `http://HOST:PORT`, or except the server from it in `NO_PROXY`"),
        ("Connection refused", "is `endpoint` right, with its port, and does the server run? Nobody listens there"),
        ("the secret cannot be had from", "put it where the plan says that it is, or say where it is"),
        ("the certificates in", "name the CA's certificates in `ca_bundle`, in PEM"),
        ("dns error", "is the name of the endpoint right? With `url_style = \"path\"` the bucket is no part of it"),
    ];
    if said.contains("through the proxy") {
        // A proxy that is there says itself that a server is not.
        if said.contains("Connection refused") || said.contains("dns error") {
            return Some(NO_PROXY);
        }
        // Some proxies ask with the status that is a server's to ask with.
        if said.contains("with HTTP status 401") {
            return Some(WHO_ASKS);
        }
    }
    REMEDIES.iter().find(|(words, _)| said.contains(words)).map(|(_, help)| *help)
}

/// Draws problems of a plan on standard error, as wide and as colourful as it is; or says them in an object.
pub(super) fn tell_problems(problems: &Problems) {
    tell_placed(problems, None);
}

fn tell_placed(problems: &Problems, exit_code: Option<u8>) {
    let level = match problems.chief().map(Diagnostic::severity) {
        Some(Severity::Error) => Level::Error,
        Some(Severity::Warning) => Level::Warning,
        None => return,
    };
    if is_json() {
        write_object(level, Placed { exit_code, chief: problems.chief_json() });
    } else {
        log::write(level, &problems.graphical(look()));
    }
}

fn look() -> Look {
    let is_terminal = io::stderr().is_terminal();
    let colour = is_terminal && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(100, |size| usize::from(size.ws_col).clamp(40, 120));
    let is_utf8 = |name| std::env::var(name).is_ok_and(|value: String| value.to_ascii_uppercase().contains("UTF"));
    Look { width, colour, unicode: !is_terminal || environment::LOCALE.into_iter().any(is_utf8) }
}

/// Set where this process is about an address, and no plan.
static HAS_NO_PLAN: OnceLock<()> = OnceLock::new();

/// Has all help speak of variables, which stand for the keys of a plan where there is none.
pub(super) fn speak_of_variables() {
    HAS_NO_PLAN.get_or_init(|| ());
}

/// The form that the log has, chosen once.
static FORM: OnceLock<Form> = OnceLock::new();

tokio::task_local! {
    /// The run that errors are about.
    static SUBJECT: Subject;
}

/// The forms that the log on standard error has: lines for people, or one JSON object a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    #[default]
    Text,
    Json,
}

/// Chooses the form of the log; the first choice stays.
pub(super) fn choose(form: Form) {
    FORM.get_or_init(|| form);
}

fn is_json() -> bool {
    FORM.get() == Some(&Form::Json)
}

/// Does the work of a run, which errors are about meanwhile.
pub(super) async fn about<T>(subject: Subject, work: impl Future<Output = T>) -> T {
    SUBJECT.scope(subject, work).await
}

/// What is wrong at a place of a text, for programs; with the exit code where that is all that is wrong.
#[derive(serde::Serialize)]
struct Placed<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(flatten)]
    chief: T,
}

/// What goes wrong elsewhere than in a text, for programs: an object as a problem of a plan is one.
#[derive(serde::Serialize)]
struct Unplaced {
    code: &'static str,
    exit_code: u8,
    message: String,
    help: Option<String>,
    labels: [(); 0],
}

fn write_object(level: Level, content: impl serde::Serialize) {
    let subject = SUBJECT.try_with(Clone::clone).ok();
    log::write_object(level, subject.as_ref(), content);
}
