//! What a service manager is told: that the daemon is ready, reads its plan again, stops, and is alive.
//!
//! Without a manager that listens (`$NOTIFY_SOCKET`), nobody is told. One that does not hear is no reason to stop.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that the daemon does what it is there for; `status` says in a line what comes next.
pub fn ready(status: &str) {
    drop(sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]));
}

/// Tells in a line what the daemon does.
pub fn status(status: &str) {
    drop(sd_notify::notify(&[NotifyState::Status(status)]));
}

/// Tells that the plan is read again, until the next [`ready`].
pub fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    drop(now.and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])));
}

/// Tells that the daemon ends.
pub fn stopping() {
    drop(sd_notify::notify(&[NotifyState::Stopping]));
}

/// Tells that the daemon is alive.
pub fn alive() {
    drop(sd_notify::notify(&[NotifyState::Watchdog]));
}

/// Returns how often the manager wants to be told that, at least; nothing where it does not (`$WATCHDOG_USEC`).
#[must_use]
pub fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
