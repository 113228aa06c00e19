//! When each object is looked at next: what watches wake, and what a reconcile asked for, as `controller::run` does it.

use crate::api_server::Key;
use crate::script::request;
use crate::world::State;
use savepoint::controller::{Failure, Outcome};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time between two looks at an object.
const RESYNC: Duration = Duration::from_secs(600);
/// How soon a watch wakes a controller.
const WATCH: Duration = Duration::from_millis(10);
/// More looks at once that write nothing are a hot loop.
const IDLE: u32 = 3;

/// When an object is looked at again, and what the last looks came to. All in virtual time.
#[derive(Clone)]
struct Due {
    at: Duration,
    streak: u32,
    settled: bool,
    /// Reconciles in a row that came at once and wrote nothing.
    idle: u32,
    last: Option<Duration>,
}

impl Due {
    const fn new(at: Duration) -> Self {
        Self { at, streak: 0, settled: false, idle: 0, last: None }
    }
}

/// The objects to look at.
#[derive(Clone, Default)]
pub struct Queue(BTreeMap<Key, Due>);

impl Queue {
    /// What the first list of a watch brings: everything is looked at.
    pub fn of_all(state: &mut State) -> Self {
        state.woken.clear();
        let now = state.elapsed();
        let of = |resource| state.things.api.of_resource(resource).map(|(key, _)| (key.clone(), Due::new(now)));
        Self(of("deploymentbackups").chain(of("rollbackrequests")).collect())
    }

    /// What watches bring: whatever was written is looked at again, and a safety backup wakes the request that made it.
    pub fn wake(&mut self, state: &mut State) {
        let at = state.elapsed() + WATCH;
        for key in std::mem::take(&mut state.woken) {
            let keys = match key.resource.as_str() {
                "deploymentbackups" => vec![key, request()],
                "rollbackrequests" => vec![key],
                _ => continue,
            };
            for key in keys {
                if state.things.api.get(&key).is_none() {
                    self.0.remove(&key);
                    continue;
                }
                let due = self.0.entry(key).or_insert(Due::new(at));
                due.at = due.at.min(at);
                due.settled = false;
                due.idle = 0;
            }
        }
    }

    /// What comes next, and when.
    pub fn next(&self) -> Option<(Key, Duration)> {
        let open = self.0.iter().filter(|(_, due)| !due.settled);
        open.min_by_key(|(key, due)| (due.at, *key)).map(|(key, due)| (key.clone(), due.at))
    }

    /// Whether this object waits for a moment after this one.
    pub fn is_later(&self, key: &Key, moment: Duration) -> bool {
        self.0.get(key).is_none_or(|due| due.at > moment)
    }

    /// As `controller::run` does: back-off after a failure, otherwise as the reconcile says.
    pub fn schedule(&mut self, state: &mut State, key: &Key, result: Result<Outcome, Failure>, wrote: bool) {
        let now = state.elapsed();
        let ended = key.resource == "deploymentbackups" && backup_ended(state, key);
        let Some(due) = self.0.get_mut(key) else { return };
        let at_once = due.last.is_some_and(|last| now - last < Duration::from_secs(1));
        due.idle = if at_once && !wrote && result.is_ok() { due.idle + 1 } else { 0 };
        if due.idle > IDLE {
            state.violate(
                "I16 no hot loop",
                format!("{} was looked at again and again, and nothing was written", key.name),
            );
        }
        due.last = Some(now);
        if state.loud {
            println!("                 {result:?}");
        }
        if let Err(Failure::Bug(words)) = &result {
            state.violate("no internal error", words.clone());
        }
        due.at = now + due.wait(result, ended);
    }
}

impl Due {
    fn wait(&mut self, result: Result<Outcome, Failure>, ended: bool) -> Duration {
        self.settled = false;
        let failure = match result {
            Ok(outcome) => {
                self.streak = 0;
                self.settled = outcome == Outcome::AwaitChange || ended;
                return match outcome {
                    Outcome::After(wait) => wait.clamp(Duration::from_millis(200), RESYNC),
                    Outcome::AwaitChange => RESYNC,
                };
            }
            Err(failure) => failure,
        };
        self.streak += 1;
        match failure {
            Failure::Conflict if self.streak < 20 => Duration::from_millis(100),
            _ => (Duration::from_secs(1) * 2u32.saturating_pow(self.streak.min(9) - 1)).min(RESYNC),
        }
    }
}

fn backup_ended(state: &State, key: &Key) -> bool {
    let Some(stored) = state.things.api.get(key) else { return true };
    let conditions = stored.value["status"]["conditions"].as_array();
    let ended = |condition: &serde_json::Value| condition["type"] == "Succeeded" && condition["status"] != "Unknown";
    stored.value["metadata"]["deletionTimestamp"].is_null() && conditions.into_iter().flatten().any(ended)
}
