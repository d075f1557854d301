//! `--shard`: the part of a plan that a verb is about, where several runs share the work.

use clap::Args;

use crate::name::Shard;

/// Which part of a plan is meant.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Portion {
    /// Only a part of the databases, for runs on several machines that share the work: `0/3`, `1/3` and `2/3` are all of
    /// three. Each part has sets of its own, in a folder of its own, `shard-0-of-3`.
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<Shard>,
}
