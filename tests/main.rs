//! The stories of `hitkeep-plan`: one binary, a module per feature.

mod layers;
mod licences;
mod pieces;
mod plan;
mod readme;
