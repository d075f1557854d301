//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod crash;
mod fixture;
mod generated;
mod kill;
mod layers;
mod lock;
mod oracle;
mod other_process;
mod plan;
mod redact;
mod restores;
mod runs;
mod secrets;
mod signals;
mod source;
mod store;
mod verifies;
