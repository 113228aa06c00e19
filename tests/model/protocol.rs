//! The protocol around the decisions, as the controller carries it out: who may act when, and what each act changes.

use crate::ask::{Question, Taking, ask};
use crate::platform::{Landed, Reads};
use crate::rebuild;
use crate::state::*;
use savepoint::decide::step_log::StepEvent;

/// A bug put in on purpose: the model must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// A keyless call that left no trace is sent again.
    ResendKeyless,
    /// The call goes out before its intent is stored.
    NoIntent,
    /// A lock is given back by whoever names its holder, whatever the epoch.
    /// (Not in the table yet: it needs larger budgets since a plan keeps its locks until it is set aside.)
    #[allow(dead_code)]
    GiveBackByUid,
    /// Nothing is read back before the end.
    NoVerification,
    /// A status is written whatever has been written since it was read.
    BlindWrite,
    /// A timeout is taken for a call that never left.
    TimeoutIsNotSent,
    /// A lock is removed although its holder still runs.
    LockByTimeout,
}

/// What happens next. `usize`s are operator and request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    Start(usize),
    Crash(usize),
    /// A reconcile begins: the request is read by quorum.
    Look(usize, usize),
    /// It reads the rest, takes locks if it needs them, and decides.
    Decide(usize, usize),
    /// It carries out the next part of its decision: a lock given back, a status written, an intent stored.
    Carry(usize, usize),
    Send(usize, usize),
    FailToConnect(usize, usize),
    Land(usize, usize, Arrival),
    Timeout(usize, usize),
    Record(usize, usize),
    LandLate(usize, usize),
    Drop(usize, usize),
    Confirm(usize),
    Answer(usize, bool),
    Cancel(usize),
    ThirdVariable,
    ThirdReverts,
    ThirdDeploys,
}

/// How a call arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    Well,
    /// It takes effect, and its answer is lost.
    AnswerLost,
    /// The platform refuses it.
    Refused,
    /// The platform takes it, and what it makes is broken.
    Breaks,
}

impl World {
    /// Carries one act out.
    pub fn act(&mut self, planted: Planted, act: Act) {
        match act {
            Act::Start(operator) => self.start(operator),
            Act::Crash(operator) => self.crash(operator),
            Act::Look(operator, request) => self.operators[operator].slots[request] = Slot::Read(Copied::Fresh),
            Act::Decide(operator, request) => self.decide(planted, operator, request),
            Act::Carry(operator, request) => self.carry(planted, operator, request),
            Act::Send(operator, request) => self.send(operator, request),
            Act::FailToConnect(operator, request) => {
                self.left.lost -= 1;
                self.answered(operator, request, Answered::NotSent);
            }
            Act::Land(operator, request, arrival) => self.land(operator, request, arrival),
            Act::Timeout(operator, request) => {
                self.left.lost -= 1;
                if let Slot::Sent { step, .. } = self.operators[operator].slots[request] {
                    self.late[request][step as usize] += 1;
                }
                let wrong = planted == Planted::TimeoutIsNotSent;
                self.answered(operator, request, if wrong { Answered::NotSent } else { Answered::Unknown });
            }
            Act::Record(operator, request) => self.record(planted, operator, request),
            Act::LandLate(request, step) => {
                self.late[request][step] -= 1;
                self.effect(request, step, false);
            }
            Act::Drop(request, step) => self.late[request][step] -= 1,
            Act::Confirm(_) | Act::Answer(..) | Act::Cancel(_) => self.person(planted, act),
            Act::ThirdVariable | Act::ThirdReverts | Act::ThirdDeploys => self.third(act),
        }
        self.operators.sort(); // which replica is which does not matter
    }

    fn start(&mut self, operator: usize) {
        if self.epoch > 0 && self.operators.iter().any(|other| other.epoch == self.epoch) {
            self.left.leases -= 1;
        }
        self.epoch += 1;
        self.operators[operator] = Operator { epoch: self.epoch, ..Operator::default() };
    }

    /// What it had sent is still under way. A deposed leader ends by itself.
    fn crash(&mut self, operator: usize) {
        if self.leads(operator) {
            self.left.crashes -= 1;
        }
        for request in 0..REQUESTS {
            if let Slot::Sent { step, .. } = self.operators[operator].slots[request] {
                self.late[request][step as usize] += 1;
            }
        }
        self.operators[operator] = Operator::default();
    }

    /// Whether somebody is before this request, and whether a lock whose holder has ended is removed on the way.
    fn queue(&self, planted: Planted, request: usize) -> (bool, bool) {
        let ended = |holder: u8| self.requests[holder as usize].outcome.is_some();
        let foreign = self.lock.map(|(holder, _)| holder).filter(|holder| *holder as usize != request);
        let remove = foreign.is_some_and(|holder| ended(holder) || planted == Planted::LockByTimeout);
        let earlier = &self.requests[0];
        let behind = request > 0 && earlier.queued && earlier.outcome.is_none();
        ((foreign.is_some() && !remove) || behind, remove)
    }

    fn taking(&self, planted: Planted, operator: usize, request: usize, queued: bool, removed: bool) -> Taking {
        match self.lock.filter(|_| !removed) {
            _ if queued => Taking::Queued,
            Some((_, epoch)) if epoch > self.operators[operator].epoch && planted != Planted::GiveBackByUid => {
                Taking::Deposed
            }
            Some((holder, _)) if holder as usize != request => Taking::Queued,
            _ => Taking::Ours,
        }
    }

    fn decide(&mut self, planted: Planted, operator: usize, request: usize) {
        let (cr, fresh) = match self.operators[operator].slots[request] {
            Slot::Read(Copied::Fresh) => (self.requests[request], true),
            Slot::Read(Copied::Stale(cr)) => (cr, false),
            _ => return,
        };
        let (queued, remove) = self.queue(planted, request);
        let taking = self.taking(planted, operator, request, queued, remove);
        let holds = self.platform.holds(request, &cr);
        let question = Question {
            request: request as u8,
            cr,
            baseline: self.platform.baseline(),
            reads: std::array::from_fn(|step| self.platform.reads(request, &cr, step)),
            waited_out: std::array::from_fn(|step| !self.under_way(request, step)),
            queued,
            taking,
            holds: holds || planted == Planted::NoVerification,
        };
        let asked = ask(&question);
        if (asked.queue || asked.locks) && remove {
            self.remove_lock();
        }
        if asked.locks && taking == Taking::Ours {
            let kept = self.lock.filter(|_| planted == Planted::GiveBackByUid);
            self.lock = Some(kept.unwrap_or((request as u8, self.operators[operator].epoch)));
        }
        let decided = with_bug(planted, &question, asked.decided);
        let slot = match decided {
            Decided::Rest => Slot::Idle,
            Decided::Do { give_back, write, .. } => {
                let untrue = write.outcome == Some(Ended::Succeeded) && !holds;
                let untrue = untrue && cr.outcome.is_none();
                ready(planted, Decided::Do { give_back, write, untrue }, fresh)
            }
            send => ready(planted, send, fresh),
        };
        self.operators[operator].slots[request] = slot;
    }

    fn carry(&mut self, planted: Planted, operator: usize, request: usize) {
        let Slot::Ready { decided, fresh } = self.operators[operator].slots[request] else {
            self.operators[operator].slots[request] = Slot::Idle; // a conflict: the next reconcile looks again
            return;
        };
        let slot = match decided {
            Decided::Do { give_back: true, write, untrue } => {
                self.give_back(planted, operator, request);
                ready(planted, Decided::Do { give_back: false, write, untrue }, fresh)
            }
            _ if !fresh && planted != Planted::BlindWrite => Slot::Idle,
            Decided::Rest => Slot::Idle,
            Decided::Do { write, untrue, .. } => {
                self.operators[operator].slots[request] = Slot::Idle;
                if !fresh {
                    self.broken = Some(Broken::NotByCas);
                }
                if untrue {
                    self.broken = Some(Broken::UntrueSuccess);
                }
                self.write(planted, request, write);
                Slot::Idle
            }
            Decided::Send(step) => self.commit(planted, operator, request, step, fresh),
        };
        self.operators[operator].slots[request] = slot;
    }

    /// The intent is stored by compare-and-swap, then the lease is looked at once more.
    fn commit(&mut self, planted: Planted, operator: usize, request: usize, step: u8, fresh: bool) -> Slot {
        let (cr, epoch) = (self.requests[request], self.operators[operator].epoch);
        let attempt = cr.steps[step as usize].attempt + 1;
        if planted == Planted::NoIntent {
            return Slot::Armed { step, attempt };
        }
        if !fresh {
            self.broken = Some(Broken::NotByCas);
        }
        let intended = rebuild::intended(request, &cr, step as usize, epoch);
        let Some(after) = rebuild::after(request, &cr, step as usize, intended) else {
            assert_ne!(planted, Planted::Nothing, "the table of transitions refuses a decision: {cr:?}");
            return Slot::Idle;
        };
        self.operators[operator].slots[request] = Slot::Idle;
        self.write(planted, request, after);
        match self.leads(operator) {
            true => Slot::Armed { step, attempt },
            false => Slot::Got { step, attempt, answer: Answered::NotSent },
        }
    }

    fn send(&mut self, operator: usize, request: usize) {
        let Slot::Armed { step, attempt } = self.operators[operator].slots[request] else { return };
        if self.requests[request].steps[step as usize].attempt < attempt {
            self.broken = Some(Broken::NoIntent);
        }
        self.operators[operator].slots[request] = Slot::Sent { step, attempt };
    }

    fn effect(&mut self, request: usize, step: usize, breaks: bool) -> Landed {
        let landed = self.platform.land(request, &self.requests[request], step, breaks);
        if landed == Landed::Again {
            self.broken = Some(Broken::SecondEffect);
        }
        landed
    }

    fn land(&mut self, operator: usize, request: usize, arrival: Arrival) {
        let Slot::Sent { step, .. } = self.operators[operator].slots[request] else { return };
        let landed = match arrival {
            Arrival::Refused => Landed::Refused,
            arrival => self.effect(request, step as usize, arrival == Arrival::Breaks),
        };
        let answer = match (arrival, landed) {
            (Arrival::AnswerLost, _) => Answered::Unknown,
            (_, Landed::Refused) => Answered::Refused,
            _ => Answered::Taken,
        };
        match arrival {
            Arrival::Well => {}
            Arrival::AnswerLost => self.left.lost -= 1,
            Arrival::Refused | Arrival::Breaks => self.left.fails -= 1,
        }
        self.answered(operator, request, answer);
    }

    fn answered(&mut self, operator: usize, request: usize, answer: Answered) {
        let slot = &mut self.operators[operator].slots[request];
        if let Slot::Armed { step, attempt } | Slot::Sent { step, attempt } = *slot {
            *slot = Slot::Got { step, attempt, answer };
        }
    }

    /// The outcome goes into whatever is stored now, as long as our own intent stands there without one.
    fn record(&mut self, planted: Planted, operator: usize, request: usize) {
        let Slot::Got { step, attempt, answer } = self.operators[operator].slots[request] else { return };
        self.operators[operator].slots[request] = Slot::Idle;
        let cr = self.requests[request];
        let known = cr.steps[step as usize];
        let ours = known.epoch == self.operators[operator].epoch && known.attempt == attempt;
        if !ours || known.stand != Stand::Started {
            return;
        }
        let message = String::new();
        let event = match answer {
            Answered::Taken => {
                StepEvent::Taken { output: is_keyless(step as usize).then(|| "dep".to_owned()), message }
            }
            Answered::NotSent => StepEvent::NotSent { message },
            Answered::Refused => StepEvent::Refused { message },
            Answered::Unknown => StepEvent::Unknown { message },
        };
        let after = rebuild::after(request, &cr, step as usize, event).expect("an outcome after its intent");
        self.write(planted, request, after);
    }

    /// Stores a request: copies of it are stale from now on.
    fn write(&mut self, planted: Planted, request: usize, write: Cr) {
        let before = std::mem::replace(&mut self.requests[request], write);
        if before.outcome.is_some() && before.outcome != write.outcome {
            self.broken = Some(Broken::OutcomeChanged);
        }
        for operator in &mut self.operators {
            let slot = &mut operator.slots[request];
            *slot = match *slot {
                Slot::Read(Copied::Fresh) if planted == Planted::BlindWrite || touches_lock(&before) => {
                    Slot::Read(Copied::Stale(before))
                }
                Slot::Read(Copied::Fresh) => Slot::Doomed,
                Slot::Ready { decided, .. } => ready(planted, decided, false),
                same => same,
            };
        }
    }

    fn remove_lock(&mut self) {
        if self.lock.is_some_and(|(holder, _)| self.runs(holder as usize)) {
            self.broken = Some(Broken::LockTakenAway);
        }
        self.lock = None;
    }

    fn give_back(&mut self, planted: Planted, operator: usize, request: usize) {
        let Some((holder, epoch)) = self.lock else { return };
        let newer = epoch > self.operators[operator].epoch && planted != Planted::GiveBackByUid;
        if holder as usize == request && !newer {
            self.remove_lock();
        }
    }

    fn person(&mut self, planted: Planted, act: Act) {
        let (Act::Confirm(request) | Act::Answer(request, _) | Act::Cancel(request)) = act else { return };
        let mut cr = self.requests[request];
        match act {
            Act::Answer(_, applied) => {
                let Some(step) = cr.question.map(usize::from) else { return };
                cr.said[step] = Some(Said { attempt: cr.steps[step].attempt, applied });
                cr.confirmation = cr.plan;
            }
            Act::Cancel(_) => {
                self.left.cancels -= 1;
                cr.cancel = true;
            }
            _ => cr.confirmation = cr.plan,
        }
        self.write(planted, request, cr);
    }

    fn third(&mut self, act: Act) {
        self.left.third -= 1;
        match act {
            Act::ThirdVariable => self.platform.variable = THIRD,
            Act::ThirdReverts => self.platform.variable = 0,
            _ => self.platform.live = THIRD,
        }
    }
}

/// Whether a decision on this copy could touch the lock, which no compare-and-swap on the request guards.
pub fn touches_lock(cr: &Cr) -> bool {
    let begun = cr.steps.iter().any(|record| record.attempt > 0);
    match cr.outcome {
        Some(_) => cr.locks,
        None => (cr.confirmed && !(cr.locks && begun)) || (cr.locks && !cr.confirmed),
    }
}

fn ready(planted: Planted, decided: Decided, fresh: bool) -> Slot {
    let harmless = !matches!(decided, Decided::Do { give_back: true, .. });
    match !fresh && harmless && planted != Planted::BlindWrite {
        true => Slot::Doomed,
        false => Slot::Ready { decided, fresh },
    }
}

fn with_bug(planted: Planted, question: &Question, decided: Decided) -> Decided {
    let Decided::Do { mut write, give_back, untrue } = decided else { return decided };
    if let (Planted::ResendKeyless, Some(asked)) = (planted, write.question) {
        let step = asked as usize;
        if is_keyless(step) && question.reads[step] == Reads::NotStarted {
            write.steps[step] = Record { stand: Stand::Ambiguous, epoch: 0, ..write.steps[step] };
            write.question = None;
        }
    }
    Decided::Do { write, give_back, untrue }
}
