//! Asks the real decision layer. It is pure, so an answer is remembered by everything that it can depend on.

use crate::platform::Reads;
use crate::rebuild;
use crate::state::*;
use savepoint::decide::facts::Progress;
use savepoint::decide::rollback::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// What taking the locks would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taking {
    Ours,
    Queued,
    /// A newer leader holds it: the reconcile breaks off.
    Deposed,
}

/// Everything that a decision of the model can depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub request: u8,
    pub cr: Cr,
    /// The state of the platform that a plan would be made from.
    pub baseline: Baseline,
    pub reads: [Reads; STEPS],
    /// Steps whose call can no longer be under way.
    pub waited_out: [bool; STEPS],
    pub queued: bool,
    pub taking: Taking,
    pub holds: bool,
}

/// The decision, and which of the facts it asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub decided: Decided,
    pub queue: bool,
    pub locks: bool,
}

const LIMITS: Limits = Limits {
    settle_slack: Duration::from_secs(10),
    probe_window: Duration::from_secs(60),
    poll_interval: Duration::from_secs(2),
};

thread_local! {
    static KNOWN: RefCell<HashMap<Question, Asked>> = RefCell::default();
}

/// What the real operator decides here.
pub fn ask(question: &Question) -> Asked {
    KNOWN.with_borrow_mut(|known| *known.entry(*question).or_insert_with(|| really(question)))
}

fn really(question: &Question) -> Asked {
    let request = rebuild::request(question.request as usize, &question.cr);
    let target = rebuild::target();
    let mut facts = Facts::default();
    let mut asked = Asked { decided: Decided::Rest, queue: false, locks: false };
    for _ in 0..8 {
        let view =
            View { request: &request, target: Some(&target), facts: &facts, limits: LIMITS, now: rebuild::now() };
        let need = match next(&view) {
            Decision::Learn(need) => need,
            decision => {
                asked.decided = small(question, decision);
                return asked;
            }
        };
        match need {
            Need::Locks(_) if question.taking == Taking::Deposed => {
                asked.locks = true;
                return asked;
            }
            need => learn(question, need, &mut facts, &mut asked),
        }
    }
    panic!("asked for more than can be learnt: {question:?}");
}

fn learn(question: &Question, need: Need, facts: &mut Facts, asked: &mut Asked) {
    let place = || Place { position: 1, waiting_for: "another".into() };
    match need {
        Need::Plan => {
            facts.plan = Some(Ok(Box::new(rebuild::plan(question.request as usize, question.baseline))));
        }
        Need::Queue(_) => {
            asked.queue = true;
            facts.queue = Some(question.queued.then(place));
        }
        Need::Locks(_) => {
            asked.locks = true;
            facts.locks = Some((question.taking == Taking::Queued).then(place));
        }
        Need::OwnLock(_) => facts.own_lock = Some(true),
        Need::Steps(steps) => {
            for step in steps {
                let index = rebuild::place_of(&step);
                facts.steps.insert(step.key, step_facts(question, index));
            }
        }
        Need::Verification => {
            facts.verified = Some(match question.holds {
                true => Verified::Holds(None),
                false => Verified::Broken("it is not so".into()),
            });
        }
        Need::Safety(_) => panic!("the plans of the model need no safety backup"),
    }
}

fn step_facts(question: &Question, step: usize) -> StepFacts {
    let output = is_keyless(step).then(|| "dep".to_owned());
    let message = || "words".to_owned();
    let progress = match question.reads[step] {
        Reads::NotStarted => Progress::NotStarted,
        Reads::Done => Progress::Done { output, evidence: message() },
        Reads::Broken => Progress::Failed { output, message: message() },
        Reads::Drifted => Progress::Drifted { message: message() },
        Reads::Unclear => Progress::Unclear { message: message() },
    };
    let long = Duration::from_secs(1_000);
    StepFacts {
        reading: Reading::Progress(progress),
        open_for: if question.waited_out[step] { long } else { Duration::ZERO },
        applied_for: long,
        begin_in: Duration::ZERO,
        lacks_right: false,
    }
}

fn small(question: &Question, decision: Decision) -> Decided {
    match decision {
        Decision::Send(step) => Decided::Send(rebuild::place_of(&step) as u8),
        Decision::Rest(_) => Decided::Rest,
        Decision::Do(effects, write) => {
            let give_back = effects.iter().any(|effect| matches!(effect, Effect::GiveBack(_)));
            let write = rebuild::small(&question.cr, &write.status);
            match !give_back && write == question.cr {
                true => Decided::Rest, // it only says what it waits for
                false => Decided::Do { give_back, write, untrue: false },
            }
        }
        other => panic!("not of the model: {other:?}"),
    }
}
