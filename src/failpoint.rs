//! Numbered kill points for the crash tests. Without the feature `failpoints` a call of [`reach`] is nothing at all.

/// Names of all kill points, in the order in which a step meets them.
pub const NAMES: [&str; 5] = ["before-intent", "after-intent", "after-effect", "after-keyless-effect", "after-outcome"];

/// A place where a crash test may end this process by SIGKILL: `SAVEPOINT_KILL_AT=after-effect:2` (the second time) or
/// `SAVEPOINT_KILL_AT=7` (the seventh point reached of any name).
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn reach(_name: &str) {}

/// A place where a crash test may end this process by SIGKILL: `SAVEPOINT_KILL_AT=after-effect:2` (the second time) or
/// `SAVEPOINT_KILL_AT=7` (the seventh point reached of any name).
#[cfg(feature = "failpoints")]
pub fn reach(name: &str) {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};
    static REACHED: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
    let Ok(wanted) = std::env::var("SAVEPOINT_KILL_AT") else { return };
    let (wanted_name, wanted_count) = wanted.split_once(':').unwrap_or(("", wanted.as_str()));
    let wanted_count: u64 = wanted_count.parse().unwrap_or(1);
    let count = {
        let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = reached.get_or_insert_default();
        *counts.entry(String::new()).or_default() += 1;
        *counts.entry(name.to_owned()).or_default() += 1;
        counts.get(wanted_name).copied().unwrap_or(0)
    };
    if (wanted_name.is_empty() || wanted_name == name) && count == wanted_count {
        eprintln!("failpoint {name}: ending this process by SIGKILL, as SAVEPOINT_KILL_AT={wanted} asks");
        let _ = std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        loop {
            std::thread::park(); // nothing may happen after the kill point
        }
    }
}

/// Whether the bug of this name is planted on this thread: the crash harness shows with it that its oracles bite.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn planted(_name: &str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Whether the bug of this name is planted on this thread: the crash harness shows with it that its oracles bite.
#[cfg(feature = "failpoints")]
pub fn planted(name: &str) -> bool {
    PLANTED.get() == Some(name)
}

/// Plants one bug on this thread, in place of any other.
#[cfg(feature = "failpoints")]
pub fn plant(bug: Option<&'static str>) {
    PLANTED.set(bug);
}

/// Where a bug may be planted that changes a value in passing: what was read, what was learnt, what was decided.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn twist<T>(_: &mut T) {}

/// A bug as a function over whatever passes a [`twist`].
#[cfg(feature = "failpoints")]
pub type Twist = fn(&mut dyn std::any::Any);

#[cfg(feature = "failpoints")]
thread_local! {
    static TWIST: std::cell::Cell<Option<Twist>> = const { std::cell::Cell::new(None) };
}

/// Where a bug may be planted that changes a value in passing: what was read, what was learnt, what was decided.
#[cfg(feature = "failpoints")]
pub fn twist<T: std::any::Any>(value: &mut T) {
    if let Some(twist) = TWIST.get() {
        twist(value);
    }
}

/// Plants a bug at every [`twist`] of this thread, in place of any other.
#[cfg(feature = "failpoints")]
pub fn plant_twist(bug: Option<Twist>) {
    TWIST.set(bug);
}
