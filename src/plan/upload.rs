//! How much of a bucket's connection, and of this host's memory, the uploads of a job take.

use std::fmt::Display;

use super::raw::{self, At};
use super::resolve::Desk;
use super::words::written;
use super::{Chosen, Origin, code};
use crate::diagnose::Diagnostic;
use crate::measure::Bytes;

/// The smallest part that S3 takes, unless it is the last.
const LEAST_PART: Bytes = Bytes(5 << 20);

/// The largest part that S3 takes.
const LARGEST_PART: Bytes = Bytes(5 << 30);

/// The least bandwidth: below, a part would take longer than servers wait.
const LEAST_BANDWIDTH: Bytes = Bytes(64 << 10);

/// The memory of all parts together above which a plan is warned.
const MUCH_MEMORY: u64 = 1 << 30;

/// How a job uploads to buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// How many parts are on their way at once: 1 to 64.
    pub concurrency: usize,
    /// The size of a part, which takes as much memory while it is on its way: 5 MiB to 5 GiB.
    pub part_size: Bytes,
    /// What all parts together may send in a second; nothing when there is no limit.
    pub bandwidth: Option<Bytes>,
}

impl Default for Upload {
    fn default() -> Self {
        Self { concurrency: 8, part_size: Bytes(8 << 20), bandwidth: None }
    }
}

/// The same, value by value with who chose it.
#[derive(Clone, Debug)]
pub(super) struct Uploading {
    pub(super) concurrency: Chosen<usize>,
    pub(super) part_size: Chosen<Bytes>,
    pub(super) bandwidth: Option<Chosen<Bytes>>,
}

impl Uploading {
    /// Reads `upload` of a job; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, raw: raw::Upload) -> Option<Self> {
        let default = Upload::default();
        let concurrency = match raw.concurrency {
            Some(at) => concurrency(desk, &at),
            None => Some(Chosen { value: default.concurrency, origin: Origin::Default }),
        };
        let part_size = match raw.part_size {
            Some(at) => part_size(desk, &at),
            None => Some(Chosen { value: default.part_size, origin: Origin::Default }),
        };
        let bandwidth = raw.bandwidth.map(|at| bandwidth(desk, &at));
        let bandwidth = bandwidth.map_or(Some(None), |bandwidth| bandwidth.map(Some));
        let uploading = Self { concurrency: concurrency?, part_size: part_size?, bandwidth: bandwidth? };
        uploading.warn_of_memory(desk);
        Some(uploading)
    }

    /// Returns the values alone.
    pub(super) fn upload(&self) -> Upload {
        let bandwidth = self.bandwidth.as_ref().map(|bandwidth| bandwidth.value);
        Upload { concurrency: self.concurrency.value, part_size: self.part_size.value, bandwidth }
    }

    fn warn_of_memory(&self, desk: &mut Desk<'_>) {
        let (count, size) = (self.concurrency.value, self.part_size.value);
        let memory = Bytes(size.0.saturating_mul(count as u64));
        if memory.0 > MUCH_MEMORY {
            let problem = Diagnostic::warning(code::TOO_LARGE, format!("the uploads would take {memory} of memory"));
            let places = [self.concurrency.place(), self.part_size.place()].into_iter().flatten();
            let problem = places.fold(problem, |problem, span| problem.at(span, "a part takes its size in memory"));
            desk.problems.push(problem.help("`16MiB` and 8 at once fill most lines"));
        }
    }
}

fn concurrency(desk: &mut Desk<'_>, at: &At<i64>) -> Option<Chosen<usize>> {
    match at.value {
        ..1 => beyond(desk, at, "concurrency", Bound::Least("1")),
        1..=64 => return Some(desk.chosen(usize::try_from(at.value).ok()?, &at.span)),
        65.. => beyond(desk, at, "concurrency", Bound::Most("64")),
    }
    None
}

fn part_size(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<Bytes>> {
    let size = desk.size(at)?;
    match size {
        small if small < LEAST_PART => beyond(desk, at, "part_size", Bound::Least("5MiB")),
        large if large > LARGEST_PART => beyond(desk, at, "part_size", Bound::Most("5GiB")),
        size => return Some(desk.chosen(size, &at.span)),
    }
    None
}

fn bandwidth(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<Bytes>> {
    let Some(size) = at.value.strip_suffix("/s") else {
        desk.problems.push(
            Diagnostic::error(code::INVALID_SIZE, format!("{} is not a bandwidth", written(&at.value)))
                .at(at.span.clone(), "not a size in a second")
                .help("a bandwidth is a size and `/s`, as in `50MiB/s`"),
        );
        return None;
    };
    let size = desk.size(&At { value: size.to_owned(), span: at.span.clone() })?;
    if size < LEAST_BANDWIDTH {
        beyond(desk, at, "bandwidth", Bound::Least("64KiB/s"));
        return None;
    }
    Some(desk.chosen(size, &at.span))
}

/// What a value lies beyond.
#[derive(Clone, Copy)]
enum Bound {
    Least(&'static str),
    Most(&'static str),
}

/// Reports a value that is too small or too large.
fn beyond(desk: &mut Desk<'_>, at: &At<impl Display>, key: &str, bound: Bound) {
    let (code, word, bound) = match bound {
        Bound::Least(least) => (code::TOO_SMALL, "small", format!("at least `{least}`")),
        Bound::Most(most) => (code::TOO_LARGE, "large", format!("at most `{most}`")),
    };
    desk.problems.push(
        Diagnostic::error(code, format!("a `{key}` of `{}` is too {word}", at.value))
            .at(at.span.clone(), bound)
            .help("leave the key out for its default"),
    );
}
