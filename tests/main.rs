//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod crash;
mod fixture;
mod generated;
mod layers;
mod oracle;
mod other_process;
mod plan;
mod redact;
mod restores;
mod runs;
mod store;
mod verifies;
