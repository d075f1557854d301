//! `daemon`: keeps the schedules of a plan, in the foreground.
//!
//! It remembers nothing that matters: what is due, the run records say, as for `run --due`. So it may be ended and started
//! at any time, and others may run the same plan.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior};

use super::error::{CliError, tell_problems};
use super::run::{do_job, refuse_none, warn_of_the_future};
use super::shard::Portion;
use super::{Voice, desk};
use crate::event::{Event, Listener};
use crate::name::Shard;
use crate::plan::Plan;
use crate::report::service;
use crate::run::{Cause, Outcome};
use crate::stop::Stop;
use crate::survey;
use crate::work::{self, Waiting};

/// The longest that the daemon sleeps before it looks at the clock again: that may have been set, and a host that was
/// suspended has slept longer than it knows.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Keep the schedules of a plan, in the foreground: each job runs when its time has come. SIGHUP has the plan read again.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// The plan.
    plan: PathBuf,
    #[command(flatten)]
    portion: Portion,
    /// Write events as JSON lines on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

impl Daemon {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let mut hangup = signal(SignalKind::hangup()).map_err(CliError::Runtime)?;
        let stop = desk::stop_at_signals()?;
        let tell = voice.listener();
        let (plan, jobs) = self.read_plan(voice, &tell).await?;
        let mut keeper = Keeper { daemon: self, voice, tell, stop, pulse: pulse(), plan, jobs, ended: String::new() };
        service::ready(&keeper.outlook());
        keeper.say(&keeper.outlook())?;
        let ended = keeper.keep(&mut hangup).await;
        service::stopping();
        ended
    }

    /// Reads the plan, which must have a schedule, and what this host knows of the last run of each of its jobs.
    async fn read_plan(&self, voice: Voice, tell: &Arc<dyn Listener>) -> Result<(Arc<Plan>, Vec<Waiting>), CliError> {
        let reading = desk::read_portion(&self.plan, self.portion)?;
        if voice.verbose {
            tell_problems(&reading.warnings);
        }
        let plan = Arc::new(reading.plan);
        let mut jobs = Vec::new();
        for job in plan.jobs() {
            let Some(timetable) = plan.timetable(job) else { continue };
            let last = survey::last_run(plan.name(), job, &[], &desk::state(&plan)).await?;
            warn_of_the_future(tell.as_ref(), job, last, Timestamp::now());
            jobs.push(Waiting { job: job.name().clone(), timetable, last, tried: None });
        }
        refuse_none(&jobs)?;
        Ok((plan, jobs))
    }
}

/// Returns what ticks as often as the clock is looked at, and the service manager told that the daemon is alive.
fn pulse() -> Interval {
    let watched = service::patience().map_or(LONGEST_SLEEP, |patience| patience / 2);
    let mut pulse = tokio::time::interval(watched.clamp(Duration::from_millis(100), LONGEST_SLEEP));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pulse
}

/// The daemon while it is at work.
struct Keeper {
    daemon: Daemon,
    voice: Voice,
    tell: Arc<dyn Listener>,
    stop: Stop,
    pulse: Interval,
    plan: Arc<Plan>,
    jobs: Vec<Waiting>,
    /// How the last run ended, in words that go on; nothing before there was one.
    ended: String,
}

impl Keeper {
    /// Runs what is due and waits for what is to come, until the word to stop is given; returns the exit code.
    async fn keep(&mut self, hangup: &mut Signal) -> Result<u8, CliError> {
        loop {
            if let Some(reason) = self.stop.reason() {
                return Ok(Cause::from(reason).exit_code());
            }
            match work::first_due(&self.jobs, Timestamp::now()) {
                Some((index, start)) => {
                    self.jobs[index].try_for(start, Timestamp::now());
                    self.run(index, hangup).await?;
                    service::status(&format!("{}{}", self.ended, self.outlook()));
                }
                None => self.rest(hangup).await?,
            }
        }
    }

    /// Sleeps until a job may be due, or something happens.
    async fn rest(&mut self, hangup: &mut Signal) -> Result<(), CliError> {
        let now = Timestamp::now();
        let ahead = work::coming(&self.jobs, now).map(|(_, start)| start.at.duration_since(now));
        let ahead = Duration::try_from(ahead.unwrap_or(SignedDuration::MAX)).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(ahead.min(LONGEST_SLEEP)) => {}
            _ = self.pulse.tick() => service::alive(),
            () = self.stop.wait() => {}
            Some(()) = hangup.recv() => self.read_again().await?,
        }
        Ok(())
    }

    /// Runs a job, unless the records know better, and lives on meanwhile. However it ends, the others have their turn.
    async fn run(&mut self, index: usize, hangup: &mut Signal) -> Result<(), CliError> {
        let (plan, name) = (Arc::clone(&self.plan), self.jobs[index].job.clone());
        let Some(job) = plan.jobs().find(|job| *job.name() == name) else { return Ok(()) };
        let (waits_for, stop) = (plan.timetable(job), self.stop.clone());
        let title = Shard::title(&name, plan.shard());
        service::status(&format!("{title} is running"));
        let mut running = std::pin::pin!(do_job(&plan, job, waits_for, false, &stop, self.voice));
        let mut is_told = false;
        let code = loop {
            tokio::select! {
                code = &mut running => break code,
                _ = self.pulse.tick() => service::alive(),
                () = stop.wait(), if !is_told => {
                    is_told = true;
                    service::stopping();
                }
                Some(()) = hangup.recv() => self.read_again().await?,
            }
        };
        let last = survey::last_run(plan.name(), job, &[], &desk::state(&plan)).await?;
        let Some(waiting) = self.jobs.iter_mut().find(|waiting| waiting.job == name) else { return Ok(()) };
        // Where another host has done it, this one has no word of it.
        if last > waiting.last {
            self.ended = format!("{title}: {} (exit code {code}); ", Outcome::of(code));
        }
        waiting.last = last.max(waiting.last);
        Ok(())
    }

    /// Reads the plan again. One that is refused is said, and that of before goes on.
    async fn read_again(&mut self) -> Result<(), CliError> {
        service::reloading();
        match self.daemon.read_plan(self.voice, &self.tell).await {
            Ok((plan, jobs)) => (self.plan, self.jobs) = (plan, jobs),
            Err(error) => {
                error.tell();
                let message = "the plan is refused: that of before goes on".to_owned();
                self.tell.hear(&Event::Warned { message });
            }
        }
        service::ready(&self.outlook());
        self.say(&self.outlook())
    }

    /// Says in a line what comes next.
    fn outlook(&self) -> String {
        let coming = work::coming(&self.jobs, Timestamp::now()).map(|(job, start)| {
            let local = start.at.to_zoned_datetime(self.plan.timezone().clone());
            let job = Shard::title(job, self.plan.shard());
            format!("next is {job}, {}", local.strftime("%a %F %H:%M:%S %:z"))
        });
        coming.unwrap_or_else(|| "nothing is to come".to_owned())
    }

    fn say(&self, line: &str) -> Result<(), CliError> {
        self.voice.say(&format!("{line}\n"))
    }
}
