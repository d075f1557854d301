//! What happens around a job: the commands of its plan, before it and when it has ended, and who is told.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::desk;
use super::error::CliError;
use crate::event::{Event, Listener as _};
use crate::measure::Span;
use crate::name::{Name, RunId};
use crate::plan::{Command, Message, Occasion, Plan, When};
use crate::record::HookRecord;
use crate::report::{Tail, notify};
use crate::run::{Ended, Hook, Outcome, Ran, exit};
use crate::secret::{self, Hidden};
use crate::stop::Stop;

/// How long a command may take at most when a signal has ended the job: the process is to end soon.
const HURRY: Span = Span(Duration::from_mins(1));

/// What happens around one run of a job.
pub(super) struct Around<'r> {
    plan: &'r Plan,
    job: &'r Name,
    run: RunId,
    started_at: Timestamp,
    tell: &'r Arc<Tail>,
    stop: &'r Stop,
    environment: Vec<(OsString, OsString)>,
    hidden: Hidden,
    /// The commands that were run so far.
    ran: Vec<HookRecord>,
}

/// Why a job is not begun.
pub(super) enum Unbegun {
    /// A command before it said so; in words.
    Skipped(String),
    /// A command before it failed, or the word to stop came.
    Failed(CliError),
}

impl<'r> Around<'r> {
    pub(super) fn new(
        plan: &'r Plan,
        job: &'r Name,
        (run, started_at): (RunId, Timestamp),
        tell: &'r Arc<Tail>,
        stop: &'r Stop,
        hidden: Hidden,
    ) -> Self {
        let mut around = Self {
            plan,
            job,
            run,
            started_at,
            tell,
            stop,
            environment: secret::environment_without(plan),
            hidden,
            ran: Vec::new(),
        };
        around.say("RUN", &run);
        around.say("JOB", &job);
        around.say("PLAN", &plan.name());
        if let Some(shard) = plan.shard() {
            around.say("SHARD", &shard);
        }
        around
    }

    /// Lets the commands know something of the run.
    fn say(&mut self, what: &str, value: &impl ToString) {
        self.environment.push((format!("HITKEEP_PLAN_{what}").into(), value.to_string().into()));
    }

    /// Runs the commands before the job, until one says that it is not to be run.
    pub(super) async fn before(&mut self) -> Result<(), Unbegun> {
        for command in self.plan.hooks().at(When::Before) {
            let ran = self.run(When::Before, command, self.plan.hooks().timeout(), self.stop).await;
            match ran.ended {
                Ended::Exited(0) => {}
                Ended::Exited(code) if code == i32::from(exit::SKIPPED) => {
                    return Err(Unbegun::Skipped(format!(
                        "`{}` {}",
                        self.hidden.hide(&command.to_string()),
                        ran.ended
                    )));
                }
                Ended::Stopped(reason) => return Err(Unbegun::Failed(reason.into())),
                _ => return Err(Unbegun::Failed(self.failed(When::Before, command, &ran))),
            }
        }
        Ok(())
    }

    /// Runs the commands that follow a job that ended with `code`, whatever it is, and returns the code that takes theirs in.
    pub(super) async fn after(&mut self, code: u8) -> u8 {
        let code = self.follow(When::After, code).await;
        if Outcome::of(code).is_bad() { self.follow(When::Failure, code).await } else { code }
    }

    /// Runs the commands of one time after the job, each of them, and tells which of them fail.
    async fn follow(&mut self, when: When, mut code: u8) -> u8 {
        self.say("STATUS", &Outcome::of(code));
        self.say("EXIT_CODE", &code);
        let limit = self.plan.hooks().timeout();
        let limit = if self.stop.reason().is_some() { limit.min(HURRY) } else { limit };
        for command in self.plan.hooks().at(when) {
            // They are run although the word to stop was given: HitKeep would stay stopped without them.
            let ran = self.run(when, command, limit, &Stop::default()).await;
            if ran.ended != Ended::Exited(0) {
                let failed = self.failed(when, command, &ran).tell();
                // What a run ended with is not hidden by one that could not say so.
                code = if when == When::After { exit::worse(code, failed) } else { code };
            }
        }
        code
    }

    /// Tells everyone who is to hear that the run begins, and returns who could not be told.
    pub(super) async fn tell_start(&mut self) -> Vec<String> {
        self.notify(Occasion::Start, None, &[]).await
    }

    /// Tells everyone who is to hear how the run ended, and returns who could not be told. One that was skipped is not told of:
    /// whoever waits for a run goes on waiting.
    pub(super) async fn tell_end(&mut self, code: u8, was_bad: bool, failures: &[String]) -> Vec<String> {
        let occasion = match Outcome::of(code) {
            Outcome::Success if was_bad => Occasion::Recovery,
            Outcome::Success => Occasion::Success,
            Outcome::Partial => Occasion::Partial,
            Outcome::Failure => Occasion::Failure,
            Outcome::Skipped => return Vec::new(),
        };
        self.notify(occasion, Some(code), failures).await
    }

    async fn notify(&mut self, occasion: Occasion, code: Option<u8>, failures: &[String]) -> Vec<String> {
        let message = self.message(occasion, code, failures);
        self.say("EVENT", &occasion);
        self.say("SUMMARY", &message.summary);
        let (message, environment, hidden) = (&message, &self.environment, &self.hidden);
        let told = self.plan.notices().iter().filter(|notice| notice.hears(occasion)).map(async |notice| {
            let untold = notify::notify(notice, message, environment, hidden).await.err()?;
            Some(hidden.hide(&format!("`notify.{}` could not be told of the {occasion}: {untold}", notice.name())))
        });
        let warnings: Vec<String> = join_all(told).await.into_iter().flatten().collect();
        for message in warnings.iter().cloned() {
            self.tell.hear(&Event::Warned { message });
        }
        warnings
    }

    fn message(&self, occasion: Occasion, code: Option<u8>, failures: &[String]) -> Message {
        let host = desk::host();
        let hide = |texts: &[String]| texts.iter().map(|text| self.hidden.hide(text)).collect::<Vec<_>>();
        let failures = hide(failures);
        let what = match occasion {
            Occasion::Start => "begins",
            Occasion::Success => "succeeded",
            Occasion::Partial => "is partial",
            Occasion::Failure => "failed",
            Occasion::Recovery => "succeeded again",
        };
        let with_code = code.filter(|code| *code != exit::DONE).map(|code| format!(" with exit code {code}"));
        let why = failures.first().map(|first| format!(": {first}"));
        Message {
            format: Message::FORMAT,
            event: occasion,
            plan: self.plan.name().to_owned(),
            job: self.job.to_string(),
            shard: self.plan.shard().map(|shard| shard.to_string()),
            run: self.run.to_string(),
            status: code.map_or_else(|| "started".to_owned(), |code| Outcome::of(code).to_string()),
            exit_code: code,
            started_at: self.started_at.to_string(),
            finished_at: code.map(|_| Timestamp::now().to_string()),
            summary: format!(
                "{}{} {what} on {host}{}{}",
                self.job,
                self.plan.shard().map(|shard| format!(", shard {shard},")).unwrap_or_default(),
                with_code.unwrap_or_default(),
                why.unwrap_or_default()
            ),
            host,
            failures,
            log: hide(&self.tell.lines()),
        }
    }

    async fn run(&mut self, when: When, command: &Command, limit: Span, stop: &Stop) -> Ran {
        let ran = Hook { command, environment: &self.environment, limit, hidden: &self.hidden }.run(stop).await;
        let (result, took) = (ran.ended.to_string(), ran.took);
        self.ran.push(HookRecord {
            when: when.to_string(),
            command: command.words().iter().map(|word| self.hidden.hide(word)).collect(),
            ended: result.clone(),
            exit_code: ran.ended.exit_code(),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            output: ran.output.clone(),
        });
        let command = self.hidden.hide(&command.to_string());
        self.tell.hear(&Event::HookEnded { when: when.to_string(), command, result, took });
        ran
    }

    /// Returns what is written down of the commands that were run so far. A secret may have been fetched since.
    pub(super) fn ran(&self) -> Vec<HookRecord> {
        let hide = |text: &String| self.hidden.hide(text);
        let hidden = |ran: &HookRecord| HookRecord {
            command: ran.command.iter().map(hide).collect(),
            output: hide(&ran.output),
            ..ran.clone()
        };
        self.ran.iter().map(hidden).collect()
    }

    /// Says which command failed, how, and with which last words.
    fn failed(&self, when: When, command: &Command, ran: &Ran) -> CliError {
        let last = ran.output.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
        CliError::Hook(format!(
            "the command `{}` of `{when}` {}{last}",
            self.hidden.hide(&command.to_string()),
            ran.ended
        ))
    }
}
