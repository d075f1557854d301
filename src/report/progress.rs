//! Events as moving bars on a terminal: the tasks at hand with their bytes and rates, and a line for each one done.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::event::{Event, Listener, TaskId};
use crate::measure::Bytes;

/// How many columns a terminal has at least where a bar says how long it will take.
const WIDE: usize = 80;

/// How many columns a terminal has at least where a bar says how fast something moves.
const MIDDLING: usize = 60;

/// How many columns a bar takes beside its title: for what it is at, and how much has moved of how much.
const BESIDE_TITLE: usize = 30;

/// How many columns it takes to say how fast.
const RATE: usize = 16;

/// How many columns it takes to say how long.
const TIME: usize = 12;

/// Draws events on standard error, which is a terminal.
#[derive(Debug, Default)]
pub struct Progress {
    screen: MultiProgress,
    bars: Mutex<BTreeMap<TaskId, Bar>>,
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    title: String,
}

impl Listener for Progress {
    fn hear(&self, event: &Event) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::TaskStarted { task, title, total } => {
                let title = short(title);
                bars.insert(*task, Bar { bar: self.bar(&title, *total, width()), title });
            }
            Event::TaskMoved { task, moved, at } => {
                if let Some(Bar { bar, .. }) = bars.get(task) {
                    bar.set_position(moved.0);
                    bar.set_message(at.clone());
                }
            }
            Event::TaskDone { task, result, took } => {
                if let Some(Bar { bar, title }) = bars.remove(task) {
                    bar.println(done(&title, result, took.as_secs_f64()));
                    bar.finish_and_clear();
                }
            }
            Event::TaskFailed { task, .. } => {
                if let Some(Bar { bar, title }) = bars.remove(task) {
                    bar.println(format!("✗ {title}"));
                    bar.finish_and_clear();
                }
            }
            // Nobody is left to tell when standard error is gone.
            Event::HookEnded { when, command, result, .. } => {
                drop(self.screen.println(format!("✓ {when}: {command}: {result}")));
            }
            Event::Warned { message } => drop(self.screen.println(format!("warning: {message}"))),
            Event::Waiting { message } => drop(self.screen.println(format!("waiting: {message}"))),
            Event::RunStarted { .. } | Event::TaskSkipped { .. } | Event::RunFinished { .. } => {}
        }
    }
}

impl Progress {
    fn bar(&self, title: &str, total: Option<Bytes>, width: usize) -> ProgressBar {
        let (bar, moved, time) = match total {
            Some(Bytes(total)) => (ProgressBar::new(total), "{bytes}/{total_bytes}", "{left}"),
            None => (ProgressBar::no_length(), "{bytes}", "  {elapsed}"),
        };
        let (says_rate, says_time) = said(width);
        let rate = if says_rate { "  {binary_bytes_per_sec}" } else { "" };
        let time = if says_time { time } else { "" };
        let template = format!("{{spinner}} {{prefix}}  {{wide_msg}} {moved}{rate}{time}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let style = style.with_key("left", write_left);
        let bar = self.screen.add(bar.with_style(style).with_prefix(fitting(title, width)));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}

/// Writes how long it will take, once something tells.
fn write_left(state: &ProgressState, into: &mut dyn fmt::Write) {
    if state.pos() > 0 && !state.eta().is_zero() {
        // What a bar cannot draw is left out.
        _ = write!(into, "  {:#} left", HumanDuration(state.eta()));
    }
}

/// Tells whether a bar on a terminal of so many columns says how fast, and how long.
fn said(width: usize) -> (bool, bool) {
    (width >= MIDDLING, width >= WIDE)
}

/// Returns how wide the terminal is.
fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    // A serial line does not know.
    if columns > 0 { columns } else { WIDE }
}

/// Returns a title that leaves room for the rest of a bar: of a long one the verb and the end, which tells tenants apart.
fn fitting(title: &str, width: usize) -> String {
    let (says_rate, says_time) = said(width);
    let beside = BESIDE_TITLE + RATE * usize::from(says_rate) + TIME * usize::from(says_time);
    let room = width.saturating_sub(beside);
    match title.split_once(' ') {
        Some((verb, what)) if title.chars().count() > room => {
            let cut = what.chars().count().saturating_sub(room.saturating_sub(verb.chars().count() + 2).max(4));
            format!("{verb} …{}", what.chars().skip(cut).collect::<String>())
        }
        _ => title.to_owned(),
    }
}

/// Returns a task's title without sizes and places, which are what makes it longer than a terminal is wide.
fn short(title: &str) -> String {
    let end = [" (", " at ", " in ", " from ", " into "].iter().filter_map(|stop| title.find(stop)).min();
    title[..end.unwrap_or(title.len())].split_whitespace().collect::<Vec<_>>().join(" ")
}

fn done(title: &str, result: &str, seconds: f64) -> String {
    let result = if result.is_empty() { String::new() } else { format!(": {result}") };
    let took = if seconds < 1.0 { String::new() } else { format!(" in {seconds:.1} s") };
    format!("✓ {title}{result}{took}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_title_leaves_room_for_the_rest_of_its_bar() {
        let tenant = "load 019a0b85-951d-709f-809d-36bf47b74900";
        let fits = |width| fitting(tenant, width);
        let fitted = [tenant, "load …09d-36bf47b74900", "load …47b74900", "load …47b74900", "load …4900"];
        assert_eq!([fits(120), fits(80), fits(60), fits(44), fits(20)], fitted.map(str::to_owned));
        assert_eq!(fitting("load shared", 60), "load shared");
    }
}
