//! For the crash harness: what a process waits for, so that another one can wait as it did.

use super::Context;
use super::context::Pause;
use crate::clock::monotonic;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

/// What a process waits for, in times since and until a moment.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    first_seen: HashMap<String, Duration>,
    not_before: HashMap<String, (Duration, bool)>,
}

impl Context {
    /// What this process waits for. `None` while a dump is under way, which nobody else can go on with.
    pub fn waits(&self) -> Option<Waits> {
        let seen = self.first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |pause: &Pause| (pause.until.duration_since(monotonic()), pause.lacks_right);
        self.dumps.is_empty().then(|| Waits {
            first_seen: seen.iter().map(|(key, at)| (key.clone(), at.elapsed())).collect(),
            not_before: steps.iter().map(|(key, pause)| (key.clone(), left(pause))).collect(),
        })
    }

    /// Waits as that process did.
    pub fn wait_as(&self, waits: &Waits) {
        let now = monotonic();
        let ago = |since: &Duration| now.checked_sub(*since).unwrap_or(now);
        let seen = waits.first_seen.iter().map(|(key, since)| (key.clone(), ago(since)));
        self.first_seen.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        let pause = |(left, lacks_right): (Duration, bool)| Pause { until: now + left, lacks_right };
        let steps = waits.not_before.iter().map(|(key, left)| (key.clone(), pause(*left)));
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner).extend(steps);
    }
}
