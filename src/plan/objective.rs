//! What a job is judged by: how old its newest set may be, and how long ago it was last proven that one comes back.

use super::Chosen;
use super::raw::{self, At};
use super::resolve::Desk;
use crate::measure::Span;

/// What a job is judged by, at each of its destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objective {
    /// How old the newest complete set may be; nothing when that is not judged.
    pub rpo: Option<Span>,
    /// How long ago the last restore drill that passed may be; nothing when that is not judged.
    pub drill_every: Option<Span>,
}

/// The same, value by value with who chose it.
#[derive(Clone, Debug)]
pub(super) struct Objectives {
    pub(super) rpo: Option<Chosen<Span>>,
    pub(super) drill_every: Option<Chosen<Span>>,
}

impl Objectives {
    /// Reads `objective` of a job; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, raw: raw::Objective) -> Option<Self> {
        let mut span = |at: Option<At<String>>, key| match at {
            Some(at) => {
                desk.span(&at, key, "can never be met", "leave the key out where it is not to be judged").map(Some)
            }
            None => Some(None),
        };
        let (rpo, drill_every) = (span(raw.rpo, "rpo"), span(raw.drill_every, "drill_every"));
        Some(Self { rpo: rpo?, drill_every: drill_every? })
    }

    /// Returns the values alone.
    pub(super) fn objective(&self) -> Objective {
        let value = |chosen: &Option<Chosen<Span>>| chosen.as_ref().map(|chosen| chosen.value);
        Objective { rpo: value(&self.rpo), drill_every: value(&self.drill_every) }
    }
}
