//! The only reader of time. Decisions get `now` as a parameter.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Wall-clock time, whole seconds: what a status can carry.
pub fn now() -> Timestamp {
    let now = wall();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Wall-clock time as a status carries it.
pub fn now_time() -> Time {
    Time(now())
}

/// Monotonic time, for leases, budgets, schedules and waiting: that of the runtime, which tests can turn by hand.
#[allow(clippy::disallowed_methods)] // the one place
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[cfg(not(feature = "failpoints"))]
#[allow(clippy::disallowed_methods)] // the one place
fn wall() -> Timestamp {
    Timestamp::now()
}

/// Under [`virtual_from`] wall-clock time follows the runtime's.
#[cfg(feature = "failpoints")]
#[allow(clippy::disallowed_methods)] // the one place
fn wall() -> Timestamp {
    let Some((base, since)) = VIRTUAL.get() else { return Timestamp::now() };
    base.checked_add(monotonic().duration_since(since)).unwrap_or(base)
}

#[cfg(feature = "failpoints")]
thread_local! {
    static VIRTUAL: std::cell::Cell<Option<(Timestamp, tokio::time::Instant)>> = const { std::cell::Cell::new(None) };
}

/// From here on it is `base` on this thread, and time passes as the runtime's does: for the crash harness, whose runtime is paused.
#[cfg(feature = "failpoints")]
pub fn virtual_from(base: Timestamp) {
    VIRTUAL.set(Some((base, monotonic())));
}
