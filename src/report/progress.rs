//! Events as moving bars on a terminal: the tasks at hand with their bytes and rates, and a line for each one done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::event::{Event, Listener, TaskId};
use crate::measure::Bytes;

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
                bars.insert(*task, Bar { bar: self.bar(&title, *total), title });
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
    fn bar(&self, title: &str, total: Option<Bytes>) -> ProgressBar {
        let (bar, template) = match total {
            Some(Bytes(total)) => (
                ProgressBar::new(total),
                "{spinner} {prefix}  {wide_msg} {bytes}/{total_bytes}  {binary_bytes_per_sec}",
            ),
            None => (ProgressBar::no_length(), "{spinner} {prefix}  {wide_msg} {bytes}  {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.screen.add(bar.with_style(style).with_prefix(title.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
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
