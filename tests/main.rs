//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod crash;
mod fixture;
mod kill;
mod layers;
mod lock;
mod plan;
mod secrets;
mod signals;
mod source;
mod store;
