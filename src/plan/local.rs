//! What a host provides for the work: directories and memory.

use std::path::{Path, PathBuf};

use super::raw::{self, At};
use super::resolve::{Desk, absolute};
use super::{Chosen, Origin, Surroundings, code, environment};
use crate::diagnose::Diagnostic;
use crate::measure::Bytes;
use crate::name::Shard;

/// What DuckDB may use unless the plan says otherwise.
const MEMORY: Bytes = Bytes(512 << 20);

/// The least that a plan may let DuckDB use.
const LEAST_MEMORY: Bytes = Bytes(128 << 20);

/// The directories and the memory that the work may use.
#[derive(Clone, Debug)]
pub struct Local {
    pub(super) state: Chosen<PathBuf>,
    pub(super) staging: Chosen<PathBuf>,
    pub(super) memory_limit: Chosen<Bytes>,
}

impl Local {
    /// Reads `[local]`; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, raw: &raw::Local) -> Option<Self> {
        let state = match &raw.state {
            Some(at) => desk.path(at),
            None => default_state(desk),
        };
        let staging = match &raw.staging {
            Some(at) => desk.path(at),
            None => Some(default_staging(desk.around)),
        };
        let memory_limit = match &raw.memory_limit {
            Some(at) => memory_limit(desk, at),
            None => Some(Chosen { value: MEMORY, origin: Origin::Default }),
        };
        Some(Self { state: state?, staging: staging?, memory_limit: memory_limit? })
    }

    /// Returns the same with a directory for the run records of a shard.
    pub(super) fn in_shard(self, shard: Shard) -> Self {
        Self { state: self.state.map(|state| state.join(shard.folder_name())), ..self }
    }

    /// Returns the directory of the run records, absolute.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state.value
    }

    /// Returns the directory that unfinished work lies in, absolute.
    #[must_use]
    pub fn staging(&self) -> &Path {
        &self.staging.value
    }

    /// Returns those of its directories that the plan itself names.
    pub fn chosen(&self) -> impl Iterator<Item = &Path> {
        [&self.state, &self.staging].into_iter().filter(|path| path.place().is_some()).map(|path| path.value.as_path())
    }

    /// Returns the memory that DuckDB may use.
    #[must_use]
    pub fn memory_limit(&self) -> Bytes {
        self.memory_limit.value
    }

    /// Tells whether the plan itself says how much that is.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.memory_limit.place().is_some()
    }
}

fn default_state(desk: &mut Desk<'_>) -> Option<Chosen<PathBuf>> {
    // systemd gives a list when a unit has several state directories; the first is the chief one.
    let of_unit =
        variable(desk.around, environment::STATE_DIRECTORY, |text| text.split(':').next().unwrap_or(text).to_owned());
    let of_user = || variable(desk.around, environment::XDG_STATE_HOME, |text| format!("{text}/hitkeep-plan"));
    let of_home = || variable(desk.around, environment::HOME, |text| format!("{text}/.local/state/hitkeep-plan"));
    let found = of_unit.or_else(of_user).or_else(of_home);
    if found.is_none() {
        desk.problems.push(
            Diagnostic::error(code::NO_STATE, "there is no place for the state directory")
                .help("set `state` in `[local]`, or one of `$STATE_DIRECTORY`, `$XDG_STATE_HOME` and `$HOME`"),
        );
    }
    found
}

fn default_staging(around: &Surroundings) -> Chosen<PathBuf> {
    let fallback = || Chosen { value: PathBuf::from("/var/tmp"), origin: Origin::Default };
    variable(around, environment::TMPDIR, str::to_owned).unwrap_or_else(fallback)
}

/// Returns the path that `form` makes of an environment variable, unless that is unset, empty or relative.
fn variable(around: &Surroundings, name: &'static str, form: fn(&str) -> String) -> Option<Chosen<PathBuf>> {
    let text = around.variables.get(name).filter(|text| text.starts_with('/'))?;
    Some(Chosen { value: absolute(&around.directory, &form(text)), origin: Origin::Variable(name) })
}

fn memory_limit(desk: &mut Desk<'_>, at: &At<String>) -> Option<Chosen<Bytes>> {
    let size = desk.size(at)?;
    if size >= LEAST_MEMORY {
        return Some(desk.chosen(size, &at.span));
    }
    desk.problems.push(
        Diagnostic::error(code::TOO_SMALL, format!("a `memory_limit` of `{}` is too small to work in", at.value))
            .at(at.span.clone(), "at least `128MiB`")
            .help("leave the key out for `512MiB`"),
    );
    None
}
