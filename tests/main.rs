//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod catalogue;
mod crash;
mod fixture;
mod generated;
mod kill;
mod layers;
mod licences;
mod live;
mod lock;
mod oracle;
mod other_process;
mod pieces;
mod plan;
mod readme;
mod redact;
mod restores;
mod running;
mod runs;
mod s3;
mod secrets;
mod server_stories;
mod servers;
mod signals;
mod source;
mod store;
mod verifies;
