//! What is written for a monitoring system.

use std::path::{Path, PathBuf};

use super::raw::{self, At};
use super::resolve::Desk;
use super::{Chosen, code};
use crate::diagnose::Diagnostic;
use crate::name::Shard;

/// What is written for a monitoring system.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) textfile: Chosen<PathBuf>,
}

impl Metrics {
    /// Reads `[metrics]`; returns nothing when a part of it is missing or was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, raw: raw::Metrics) -> Option<Self> {
        let at: At<String> = raw.textfile?;
        let textfile = desk.path(&at)?;
        if textfile.value.extension().is_none_or(|ending| ending != "prom") {
            desk.problems.push(
                Diagnostic::warning(code::TEXTFILE, "the file of metrics will not be read")
                    .at(at.span, "does not end with `.prom`")
                    .help("the textfile collector reads files that are called `*.prom`, and no other"),
            );
        }
        Some(Self { textfile })
    }

    /// Returns the same with a file for a shard: `x.prom` becomes `x.shard-0-of-3.prom`.
    pub(super) fn in_shard(self, shard: Shard) -> Self {
        let name = |path: PathBuf| {
            let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            path.with_extension(format!("{}.{ending}", shard.folder_name()).trim_end_matches('.'))
        };
        Self { textfile: self.textfile.map(name) }
    }

    /// Returns the file that is written after each run, absolute.
    #[must_use]
    pub fn textfile(&self) -> &Path {
        &self.textfile.value
    }
}
