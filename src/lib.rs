//! `hitkeep-plan` backs up and restores HitKeep, self-hosted web analytics, as one TOML plan says.
//!
//! Work is a value. A plan (what is wanted) and facts (what is there) give a list of tasks (what will be done): a dry
//! run prints that list, a run walks it, and what was measured on the way is written down as manifests and a run
//! record, which are the next run's facts. Data flows one way, down this list; a module names modules above it only.
//!
//! | module | what it is about | outside? |
//! |---|---|---|
//! | [`name`], [`measure`], [`hitkeep`] | words: names, keys, sizes, digests; what HitKeep's tree looks like | no |
//! | [`diagnose`] | a problem: what, where in the plan, what to do | no |
//! | [`plan`] | what is wanted: text in, a plan out, or every problem at once | no |
//! | [`settings`] | what HitKeep does by itself, as its variables say; and the plan that asks for the same | no |
//! | [`record`] | what has happened: manifests, run records, the catalogue | no |
//! | [`event`] | what is said while work is done | no |
//! | [`work`] | what will be done: plan and facts to tasks | no |
//! | [`stop`], [`secret`] | the word to stop; secrets, fetched and hidden | yes |
//! | [`store`], [`duck`], [`demo`] | objects in a directory or a bucket; DuckDB databases; a made-up installation | yes |
//! | [`survey`] | look: outside to facts | yes |
//! | [`run`] | do: walk the work, send events, seal last | yes |
//! | [`report`] | tell: events to a terminal, to JSON; metrics; notices | yes |
//! | [`cli`] | who asks: one file per verb, one rendering of errors, exit codes | yes |
//!
//! # The walk of one job
//!
//! 1. `cli/run.rs` reads the plan's file once and hands text and name to [`plan::Plan::read`]. Past that door nobody
//!    sees TOML: names are resolved, prefixes rendered and proved disjoint, or every problem is returned. Of a shard
//!    ([`plan::Plan::in_shard`]) the plan is narrowed there, once: from then on it is a plan like any other.
//! 2. `cli/run/job.rs` takes the lock of each destination (of a bucket: a lease), and [`survey::backup`] looks: which databases there
//!    should be, how large they are, who has them open, which names of sets the destinations have taken. A shared
//!    database that is open is copied to be looked into; the run brings that copy up to date. Of a source that is
//!    HitKeep's own backups, [`survey::adopt`] finds the newest set, and waits for it to be finished.
//! 3. [`work::backup`], or [`work::adopt`], chooses the set's name and writes the list of tasks. `run --dry-run` prints it
//!    and stops.
//! 4. [`run::backup`] announces the set and captures all databases that are open, as copies. Then it exports, stores,
//!    reads back and describes one database after another, and exports the next meanwhile where there is room for
//!    that. A failure ends that database's chain and no other. Last it seals: without the run record the set does not exist.
//!    A job with `verify = "restore"` then has [`run::drill`] fetch the set, load it into a scratch folder and compare.
//! 5. A job with `keep` deletes last what no rule keeps: [`survey::prune`] looks at every set of each destination,
//!    [`work::prune`] gives each its verdict, and [`run::prune`] deletes one set after the other, the run record first.
//! 6. Around all of it, [`run::Hook`] runs the plan's commands: those of `before` when the lock is had and nothing has been
//!    looked at, those of `after` and `failure` when everything else has ended.
//! 7. [`report`] hears every step as an [`event::Event`], and `cli` turns the outcome into an exit code.
//!
//! A job that archives goes the same way, through [`survey::archive`], [`work::archive`] and [`run::archive`]. What it
//! must not do twice, the run records of its destinations tell ([`record::Ledger`]); what it may delete, only a
//! comparison in the very transaction that deletes ([`duck::archive::erase`]). The way back is [`work::rows`] and
//! [`run::rows`]; where rows are meanwhile, [`run::coverage`] tells.

pub mod cli;
pub mod demo;
pub mod diagnose;
pub mod duck;
pub mod event;
pub mod hitkeep;
pub mod measure;
pub mod name;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod secret;
pub mod settings;
pub mod stop;
pub mod store;
pub mod survey;
pub mod work;
