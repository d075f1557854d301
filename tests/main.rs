//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod layers;
mod plan;
