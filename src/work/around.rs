//! What a plan has around each of its jobs: for a dry run to be seen.

use std::fmt;

use crate::plan::{Plan, When};

/// What is done around a job, beside its work.
#[derive(Clone, Copy, Debug)]
pub struct Around<'p>(
    /// The plan that says so.
    pub &'p Plan,
);

impl fmt::Display for Around<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for when in [When::Before, When::After, When::Failure] {
            for command in self.0.hooks().at(when) {
                writeln!(f, "      {when:<8} {command}")?;
            }
        }
        for notice in self.0.notices() {
            let on = notice.on().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            writeln!(f, "      notify   {} by {}: {on}", notice.name(), notice.way().as_str())?;
        }
        if let Some(metrics) = self.0.metrics() {
            writeln!(f, "      metrics  in {}", metrics.textfile().display())?;
        }
        Ok(())
    }
}
