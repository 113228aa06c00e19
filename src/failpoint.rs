//! Numbered kill points for the crash tests. Without the feature `failpoints` a call of [`reach`] is nothing at all.
//!
//! `SAVEPOINT_KILL_AT=after-effect:2` ends the process by SIGKILL at the second `after-effect`, `SAVEPOINT_KILL_AT=7` at the seventh point of
//! any name, `SAVEPOINT_KILL_AT=never` nowhere. With any of them every point reached is written to standard error, so that a run which was
//! not killed is the list of the points that there are.

/// Names of all kill points. `before-…` is the last moment before something leaves the process, `after-…` the first one in which its answer
/// is known.
pub const NAMES: [&str; 25] = [
    // The step protocol.
    "before-intent",
    "after-intent",
    "after-effect",
    "after-keyless-effect",
    "after-outcome",
    // Every call of a platform that changes something; one step may make several.
    "before-call",
    "after-call",
    // A restore of data: its one transaction.
    "before-commit",
    "after-commit",
    // The API server: the status of a run, the status of its target (hold, operation), locks, the safety backup, pins, finalizers.
    "before-status",
    "after-status",
    "before-target",
    "after-target",
    "before-lock",
    "after-lock",
    "before-unlock",
    "after-unlock",
    "before-safety-backup",
    "after-safety-backup",
    "before-pin",
    "after-pin",
    "before-finalizer",
    "after-finalizer",
    // The store of backups.
    "before-store",
    "after-store",
];

/// A place where a crash test may end this process by SIGKILL.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn reach(_name: &str) {}

/// A place where a crash test may end this process by SIGKILL.
#[cfg(feature = "failpoints")]
pub fn reach(name: &str) {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};
    static REACHED: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
    let Ok(wanted) = std::env::var("SAVEPOINT_KILL_AT") else { return };
    debug_assert!(NAMES.contains(&name), "{name} is not in the list of kill points");
    let (wanted_name, wanted_count) = wanted.split_once(':').unwrap_or(("", wanted.as_str()));
    let wanted_count: u64 = wanted_count.parse().unwrap_or(0);
    let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = reached.get_or_insert_default();
    let mut count = |of: &str| {
        let count = counts.entry(of.to_owned()).or_default();
        *count += 1;
        *count
    };
    let (of_all, of_name) = (count(""), count(name));
    eprintln!("failpoint {of_all} {name}:{of_name}");
    let dies = match wanted_name {
        "" => of_all == wanted_count,
        wanted_name => wanted_name == name && of_name == wanted_count,
    };
    if dies {
        eprintln!("failpoint {name}: ending this process by SIGKILL, as SAVEPOINT_KILL_AT={wanted} asks");
        let _ = std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        loop {
            std::thread::park(); // nothing may happen after the kill point, and other threads wait for the lock
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
