//! The only reader of time. Decisions get `now` as a parameter.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Wall-clock time, whole seconds: what a status can carry.
#[allow(clippy::disallowed_methods)] // the one place
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Wall-clock time as a status carries it.
pub fn now_time() -> Time {
    Time(now())
}

/// Monotonic time, for leases and waiting.
#[allow(clippy::disallowed_methods)] // the one place
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Monotonic time of the runtime, which tests can turn by hand: for budgets and schedules.
#[allow(clippy::disallowed_methods)] // the one place
pub fn runtime() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
