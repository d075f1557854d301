//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod crash;
mod fixture;
mod layers;
mod plan;
mod store;
