//! What the stories' servers need of the stories.

/// Says what is left out because it cannot be had here.
pub(crate) fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}
