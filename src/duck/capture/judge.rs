//! The judge: whether what was copied between two looks at a database is one state of it.
//!
//! A pure function of what the two looks saw, so that each rule can be tried alone. What makes a copy wrong is always a
//! block that is overwritten, or a commit that is missed, between the two looks; the rules name everything by which
//! DuckDB does either.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::header::{self, Pointer};
use crate::duck::logs::FileId;

/// What a look at a database sees.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Observation {
    /// The headers.
    pub(super) headers: Box<header::Raw>,
    /// Which file its path leads to.
    pub(super) file: FileId,
    /// How many bytes that has.
    pub(super) length: u64,
    /// Its log.
    pub(super) log: Log,
}

/// What a look at a database's log sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// A checksum of as many bytes as the first look found committed; nothing where the log is shorter.
    pub(super) opening: Option<u64>,
    /// Whether what the first look found committed refers to blocks that no checkpoint has made part of the database.
    pub(super) refers_to_blocks: bool,
    /// Whether what came after that takes blocks out of use.
    pub(super) frees_blocks: bool,
    /// The checkpoint that has begun and not ended.
    pub(super) checkpoint: Option<Checkpoint>,
}

/// What a look sees of a checkpoint that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Where its metadata will begin.
    pub(super) root: Pointer,
    /// Whether a process has the database open; else the one that began it was killed.
    pub(super) is_held: bool,
    /// A checksum of the log that commits go to meanwhile; nothing where there is none.
    pub(super) aside: Option<u64>,
}

/// Why a try gave no copy that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rejection {
    /// Another file has taken the place of the database.
    FileReplaced,
    /// The file has become shorter.
    FileShrunk,
    /// A checkpoint has ended: another state is in force.
    CheckpointEnded,
    /// A checkpoint had begun.
    CheckpointUnderWay,
    /// The log is not the one that was copied, and more.
    LogReplaced,
    /// Blocks that the log refers to may have been used for something else.
    BlocksFreed,
    /// A block of metadata was copied while it was written.
    MetadataTorn,
}

impl Rejection {
    /// Returns the word for it in records; it never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileReplaced => "file-replaced",
            Self::FileShrunk => "file-shrunk",
            Self::CheckpointEnded => "checkpoint-ended",
            Self::CheckpointUnderWay => "checkpoint-under-way",
            Self::LogReplaced => "log-replaced",
            Self::BlocksFreed => "blocks-freed",
            Self::MetadataTorn => "metadata-torn",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A rule: what it is called when it is broken, and whether it is.
type Rule = (Rejection, fn(&Observation, &Observation) -> bool);

/// Every rule that a copy made between two looks must keep, each with the reason why it is needed.
const RULES: &[Rule] = &[
    // HitKeep and people put another file in the place of a database. The half that was copied of the old one and the
    // log of the new one are not one state.
    (Rejection::FileReplaced, |before, after| before.file != after.file),
    // A checkpoint writes only blocks that are free under the header in force, and then the other header. From then on
    // the blocks that only the old state used are free, and overwritten by whoever comes first: some of what was copied
    // may be of the old state, and some of the new one.
    (Rejection::CheckpointEnded, |before, after| before.headers != after.headers),
    // DuckDB cuts free blocks off its end just after it has written a header. Where that checkpoint left no other trace,
    // the next try sees the file as it stays. Anybody else who cuts it destroys it.
    (Rejection::FileShrunk, |before, after| after.length < before.length),
    // From DuckDB 1.5 on, commits go to another log while a checkpoint is under way, and the copy has not got that one:
    // what was acknowledged before it began would be missing. Every version writes metadata in place just before the
    // header, into blocks of which parts are in use.
    (Rejection::CheckpointUnderWay, |before, after| has_checkpoint(before, after)),
    // The log is only ever appended to. Where it is another, what was copied of it may already be in a state of the
    // database that the copy has not got.
    (Rejection::LogReplaced, |before, after| before.log.opening != after.log.opening),
    // A bulk insert writes its rows to free blocks, and logs where they are. By the source of DuckDB 1.5.0 such blocks may
    // be written over as soon as the table is dropped or altered, by that of the others after the next checkpoint; which
    // one has the database open cannot be seen from outside.
    (Rejection::BlocksFreed, |before, after| before.log.refers_to_blocks && after.log.frees_blocks),
];

/// Returns why what was copied between two looks cannot be trusted; nothing where it can.
pub(super) fn judge(before: &Observation, after: &Observation) -> Option<Rejection> {
    RULES.iter().find(|(_, is_broken)| is_broken(before, after)).map(|(rejection, _)| *rejection)
}

/// Says whether a checkpoint is, or may be, under way in one of two looks.
///
/// One whose process was killed stays as it is; both logs are then in the copy, as DuckDB would replay them.
fn has_checkpoint(before: &Observation, after: &Observation) -> bool {
    let both = [before.log.checkpoint, after.log.checkpoint];
    both[0] != both[1] || both.iter().flatten().any(|checkpoint| checkpoint.is_held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Observation {
        let log = Log { opening: Some(7), refers_to_blocks: true, frees_blocks: false, checkpoint: None };
        Observation { headers: Box::new([1; header::LENGTH]), file: FileId(1, 2), length: 1 << 20, log }
    }

    const LEFT: Checkpoint = Checkpoint { root: Pointer(3), is_held: false, aside: Some(9) };

    /// What happens between two looks.
    type Change = fn(&mut Observation);

    /// What a second look sees in place of what the first saw, and the one rule that it breaks.
    const BROKEN: &[(&str, Rejection, Change)] = &[
        ("another file", Rejection::FileReplaced, |after| after.file = FileId(1, 3)),
        ("another device", Rejection::FileReplaced, |after| after.file = FileId(2, 2)),
        ("another first header", Rejection::CheckpointEnded, |after| after.headers[0] = 2),
        ("another last header", Rejection::CheckpointEnded, |after| after.headers[header::LENGTH - 1] = 2),
        ("a shorter file", Rejection::FileShrunk, |after| after.length -= 1),
        ("a checkpoint that began", Rejection::CheckpointUnderWay, |after| {
            after.log.checkpoint = Some(Checkpoint { is_held: true, ..LEFT });
        }),
        ("a checkpoint that was left", Rejection::CheckpointUnderWay, |after| after.log.checkpoint = Some(LEFT)),
        ("another log", Rejection::LogReplaced, |after| after.log.opening = Some(8)),
        ("a shorter log", Rejection::LogReplaced, |after| after.log.opening = None),
        ("a dropped table", Rejection::BlocksFreed, |after| after.log.frees_blocks = true),
    ];

    #[test]
    fn each_rule_alone_rejects() {
        for (what, rejection, change) in BROKEN {
            let mut after = calm();
            change(&mut after);
            let broken: Vec<Rejection> =
                RULES.iter().filter(|(_, is_broken)| is_broken(&calm(), &after)).map(|(rule, _)| *rule).collect();
            assert_eq!(broken, [*rejection], "{what}");
            assert_eq!(judge(&calm(), &after), Some(*rejection), "{what}");
        }
        let tried: std::collections::BTreeSet<Rejection> = BROKEN.iter().map(|(_, rejection, _)| *rejection).collect();
        assert_eq!(tried, RULES.iter().map(|(rejection, _)| *rejection).collect(), "every rule has its case");
    }

    #[test]
    fn what_is_allowed_between_two_looks_is_not_rejected() {
        type Changes = fn(&mut Observation, &mut Observation);
        let allowed: &[(&str, Changes)] = &[
            ("nothing", |_, _| {}),
            ("a file that grows", |_, after| after.length += 1 << 18),
            ("a drop while the log refers to nothing", |before, after| {
                before.log.refers_to_blocks = false;
                after.log.frees_blocks = true;
            }),
            ("a drop that was copied too", |before, _| before.log.frees_blocks = true),
            ("a checkpoint whose process was killed", |before, after| {
                (before.log.checkpoint, after.log.checkpoint) = (Some(LEFT), Some(LEFT));
            }),
        ];
        for (what, change) in allowed {
            let (mut before, mut after) = (calm(), calm());
            change(&mut before, &mut after);
            assert_eq!(judge(&before, &after), None, "{what}");
        }
    }

    #[test]
    fn a_checkpoint_that_was_left_must_stay_as_it_is() {
        let changes: &[Change] = &[
            |after| after.log.checkpoint = Some(Checkpoint { is_held: true, ..LEFT }),
            |after| after.log.checkpoint = Some(Checkpoint { aside: None, ..LEFT }),
            |after| after.log.checkpoint = Some(Checkpoint { root: Pointer(4), ..LEFT }),
            |after| after.log.checkpoint = None,
        ];
        for change in changes {
            let mut before = calm();
            before.log.checkpoint = Some(LEFT);
            let mut after = before.clone();
            change(&mut after);
            assert_eq!(judge(&before, &after), Some(Rejection::CheckpointUnderWay));
        }
    }

    #[test]
    fn the_words_of_records_are_those_that_are_displayed() {
        for (rejection, _) in RULES {
            assert_eq!(serde_json::to_value(rejection).ok(), Some(rejection.to_string().into()));
        }
    }
}
