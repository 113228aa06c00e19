//! A tiny pure world that carries out decisions: one request, its target, its platforms, a clock.

use super::rules;
use super::shape::{Shape, at, target};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use savepoint::api::*;
use savepoint::decide::facts::Progress;
use savepoint::decide::rollback::*;
use savepoint::decide::step_log::{StepEvent, advance, attempt_id};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a step stands on its platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truth {
    #[default]
    Before,
    Building,
    After,
    Broken,
    Drifted,
    Unclear,
    Unreadable,
    Blocked,
    Gone,
}

/// What comes of the next call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Call {
    #[default]
    Taken,
    TakenBuilding,
    TakenAndNothing,
    NotSent,
    Refused,
    /// The answer is lost; whether it took effect is said.
    Lost(bool),
    /// The operator dies with the intent written; whether the call took effect is said.
    Dies(bool),
}

pub struct World {
    pub shape: Shape,
    pub request: RollbackRequest,
    pub target: Option<DeploymentTarget>,
    pub now: Timestamp,
    pub truth: BTreeMap<String, Truth>,
    pub call: Call,
    pub plan_version: u32,
    pub refusal: Option<Refused>,
    pub busy: bool,
    pub safety: Option<SafetyState>,
    pub pinned: bool,
    /// Calls of each step that may have left.
    pub sent: BTreeMap<String, u32>,
    /// When this process first saw something.
    seen: BTreeMap<String, Timestamp>,
    not_before: BTreeMap<String, Timestamp>,
    pub gone: bool,
}

/// What one reconcile came to.
#[derive(Debug)]
pub enum Came {
    /// Look again after this long.
    Again(Duration),
    /// It waits for somebody.
    Stalled,
    /// Nothing is left to do.
    Rests,
}

impl World {
    pub fn new(shape: &Shape) -> Self {
        Self {
            request: shape.request(),
            shape: shape.clone(),
            target: Some(target(0)),
            now: at(1_000),
            truth: BTreeMap::new(),
            call: Call::default(),
            plan_version: 0,
            refusal: None,
            busy: false,
            safety: None,
            pinned: false,
            sent: BTreeMap::new(),
            seen: BTreeMap::new(),
            not_before: BTreeMap::new(),
            gone: false,
        }
    }

    pub fn status(&self) -> RollbackRequestStatus {
        self.request.status.clone().unwrap_or_default()
    }

    /// A new process has seen nothing yet.
    pub fn restart(&mut self) {
        self.seen.clear();
        self.not_before.clear();
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.checked_add(SignedDuration::try_from(time).unwrap()).unwrap();
    }

    fn seen_for(&mut self, what: String) -> Duration {
        let since = *self.seen.entry(what).or_insert(self.now);
        Duration::try_from(self.now.duration_since(since)).unwrap_or_default()
    }

    /// One reconcile: learn, decide, carry out, with every rule held against it.
    pub fn reconcile(&mut self) -> Came {
        let mut facts = Facts::default();
        if self.request.metadata.deletion_timestamp.is_some() {
            facts.deleting_for = self.seen_for("deleting".into());
        }
        for _ in 0..8 {
            let (request, target) = (self.request.clone(), self.target.clone());
            let limits = Limits {
                settle_slack: Duration::from_secs(10),
                probe_window: Duration::from_secs(60),
                poll_interval: Duration::from_secs(2),
            };
            let view = View { request: &request, target: target.as_ref(), facts: &facts, limits, now: self.now };
            let decision = next(&view);
            assert_eq!(decision, next(&view), "the same view gave another decision");
            match decision {
                Decision::Learn(need) => self.learn(need, &mut facts),
                decision => return self.carry_out(decision, &facts),
            }
        }
        panic!("a decision asked for more than can be learnt");
    }

    fn learn(&mut self, need: Need, facts: &mut Facts) {
        let place = || Place { position: 1, waiting_for: "another".into() };
        match need {
            Need::Plan => {
                let plan = Ok(Box::new(self.shape.plan(self.plan_version)));
                facts.plan = Some(self.refusal.clone().map_or(plan, Err));
            }
            Need::Queue(_) => facts.queue = Some(self.busy.then(place)),
            Need::Locks(_) => facts.locks = Some(self.busy.then(place)),
            Need::OwnLock(_) => facts.own_lock = Some(true),
            Need::Safety(name) => {
                let backup = PinnedRef { name, uid: "backup".into() };
                let pinned = self.pinned;
                let made = self.safety.clone().map(|state| Safety::Made { backup, pinned, state });
                facts.safety = Some(made.unwrap_or(Safety::Missing));
            }
            Need::Steps(steps) => {
                assert!(self.target.is_some(), "a step was asked for without a target");
                for step in steps {
                    let read = self.read(&step.key);
                    facts.steps.insert(step.key, read);
                }
            }
            Need::Verification => facts.verified = Some(self.verify()),
        }
    }

    fn read(&mut self, key: &str) -> StepFacts {
        let status = self.status();
        let known = record(&status, key);
        let intent = known.and_then(|record| record.intent.as_ref()).map(|intent| intent.id.clone());
        let applied = known.is_some_and(|record| record.state == StepState::Applied);
        let (output, message) = (Some(format!("made-{key}")), "words".to_owned());
        let progress = |progress| Reading::Progress(progress);
        let reading = match self.truth.get(key).copied().unwrap_or_default() {
            Truth::Before => progress(Progress::NotStarted),
            Truth::Building => progress(Progress::InProgress { output, message }),
            Truth::After => progress(Progress::Done { output, evidence: message }),
            Truth::Broken => progress(Progress::Failed { output, message }),
            Truth::Drifted => progress(Progress::Drifted { message }),
            Truth::Unclear => progress(Progress::Unclear { message }),
            Truth::Unreadable => Reading::Unreadable(message),
            Truth::Blocked => Reading::Blocked(message),
            Truth::Gone => Reading::Gone(message),
        };
        let wait = self.not_before.get(key).map(|from| from.duration_since(self.now));
        StepFacts {
            reading,
            open_for: intent.map(|id| self.seen_for(id)).unwrap_or_default(),
            applied_for: if applied { self.seen_for(format!("{key}/applied")) } else { Duration::ZERO },
            begin_in: wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default(),
            lacks_right: false,
        }
    }

    fn verify(&self) -> Verified {
        let status = self.status();
        let ended_well = |key: &&String| record(&status, key).is_some_and(|r| r.state == StepState::Verified);
        for key in status.plan.iter().flat_map(|plan| &plan.steps).map(|step| &step.key).filter(ended_well) {
            match self.truth.get(key).copied().unwrap_or_default() {
                Truth::After => {}
                Truth::Building | Truth::Unreadable | Truth::Blocked => {
                    return Verified::NotYet(Reason::Verifying, "not yet".into());
                }
                _ => return Verified::Broken(format!("step {key}")),
            }
        }
        Verified::Holds(None)
    }

    fn carry_out(&mut self, decision: Decision, facts: &Facts) -> Came {
        match decision {
            Decision::Learn(_) => unreachable!("learnt before"),
            Decision::Rest(None) => Came::Rests,
            Decision::Rest(Some(again)) => Came::Again(again),
            Decision::Leave(effects) => {
                self.gone = true;
                assert!(effects.iter().any(|effect| matches!(effect, Effect::LetObjectGo | Effect::Delete)));
                Came::Rests
            }
            Decision::Send(step) => {
                rules::may_send(self, &step);
                self.send(&step);
                Came::Again(Duration::ZERO)
            }
            Decision::Do(effects, write) => {
                let before = self.status();
                rules::may_write(self, &before, &effects, &write, facts);
                effects.into_iter().for_each(|effect| self.act(effect));
                if write.status.replans > before.replans {
                    (self.pinned, self.safety) = (false, None); // the new plan's safety backup has another name
                }
                let stalled = write.situation.stalled.is_some() && write.status == before;
                self.request.status = Some(write.status);
                if stalled { Came::Stalled } else { Came::Again(write.again) }
            }
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Adopt => self.request.metadata.finalizers = Some(vec![FINALIZER.to_owned()]),
            Effect::MakeSafetyBackup(_) => {
                self.safety.get_or_insert(SafetyState::Making);
            }
            Effect::Pin(_) => self.pinned = true,
            Effect::Target(changes) => {
                let Some(target) = &mut self.target else { return };
                let status = target.status.get_or_insert_default();
                for change in changes {
                    match change {
                        TargetChange::Freeze(freeze) => status.freeze = freeze,
                        TargetChange::Operation(operation) => status.active_operation = operation,
                        TargetChange::RolledAway(left) => status.rolled_away_from = left,
                        TargetChange::LetGo(when) => status.last_operation_time = Some(when),
                        TargetChange::Failovers(failovers) => status.failovers = failovers,
                    }
                }
            }
            _ => {}
        }
    }

    fn log(&mut self, key: &str, event: StepEvent) {
        let mut status = self.status();
        let known = status.steps.iter().position(|record| record.key == key);
        let next = advance(key, known.map(|at| &status.steps[at]), event, self.now).expect("a legal transition");
        match known {
            Some(at) => status.steps[at] = next,
            None => status.steps.push(next),
        }
        self.request.status = Some(status);
    }

    fn send(&mut self, step: &PlannedStep) {
        let attempt = record(&self.status(), &step.key).map_or(1, |record| record.attempt + 1);
        let (params_digest, baseline_digest) = (String::new(), String::new());
        let id = attempt_id("request-uid", &step.key, attempt);
        let class = step.class;
        let intent =
            Intent { id, epoch: 1, class, params_digest, baseline_digest, deadline_seconds: 20, written: None };
        self.log(&step.key, StepEvent::Intended(intent));
        let (call, message) = (std::mem::take(&mut self.call), "words".to_owned());
        let output = Some(format!("made-{}", step.key));
        if !matches!(call, Call::NotSent) {
            *self.sent.entry(step.key.clone()).or_default() += 1;
        }
        let truth = match call {
            Call::Taken | Call::Lost(true) | Call::Dies(true) => Some(Truth::After),
            Call::TakenBuilding => Some(Truth::Building),
            _ => None,
        };
        self.truth.extend(truth.map(|truth| (step.key.clone(), truth)));
        let event = match call {
            Call::Taken | Call::TakenBuilding | Call::TakenAndNothing => StepEvent::Taken { output, message },
            Call::NotSent => StepEvent::NotSent { message },
            Call::Refused => StepEvent::Refused { message },
            Call::Lost(_) => StepEvent::Unknown { message },
            Call::Dies(_) => return self.restart(),
        };
        if matches!(call, Call::NotSent) {
            let from = self.now.checked_add(SignedDuration::from_secs(5)).unwrap();
            self.not_before.insert(step.key.clone(), from);
        }
        self.log(&step.key, event);
    }
}
