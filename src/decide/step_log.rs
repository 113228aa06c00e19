//! The log of one step: every legal transition in one table, all else is an error.

use crate::api::{Intent, StepRecord, StepState};
use crate::decide::conditions::clip;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// What happened to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEvent {
    /// An intent was committed: a call may have been sent since.
    Intended(Intent),
    /// Read before anything was sent: it is so already.
    AlreadySo { evidence: String, output: Option<String> },
    /// The platform took the call.
    Taken { output: Option<String>, message: String },
    /// The call certainly did not take effect, for a reason that passes: it may be sent again, whatever its class.
    NotSent { message: String },
    /// The platform refused the call, and will refuse it again.
    Refused { message: String },
    /// Nobody knows whether the call took effect.
    Unknown { message: String },
    /// A trace of our call was found, or its result is under way.
    Adopted { output: Option<String>, message: String },
    /// The result was read back.
    ReadBack { evidence: String, output: Option<String> },
    /// The result will not come about.
    Failed { message: String },
    /// Nothing took effect and the class allows another attempt.
    Rearmed { message: String },
}

/// A transition that must not happen: a bug, or a status that somebody else wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {key}: {event} after {state} is not a legal transition")]
pub struct IllegalTransition {
    key: String,
    state: String,
    event: String,
}

/// The record after this event. `Rearmed` and `NotSent` give a record without intent, on which only `Intended` or `AlreadySo` can follow.
///
/// # Errors
/// [`IllegalTransition`].
pub fn advance(
    key: &str,
    record: Option<&StepRecord>,
    event: StepEvent,
    now: Timestamp,
) -> Result<StepRecord, IllegalTransition> {
    use StepEvent as E;
    use StepState as S;
    let state = record.map(|record| record.state);
    let rearmed = record.is_some_and(|record| record.state == S::Ambiguous && record.intent.is_none());
    let illegal = |event: &E| IllegalTransition {
        key: key.into(),
        state: state.map_or("nothing".into(), |state| format!("{state:?}")),
        event: format!("{event:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned(),
    };
    let mut next = record.cloned().unwrap_or_else(|| fresh(key, now));
    match (state, event) {
        (None, E::Intended(intent)) => begin(&mut next, intent, 1),
        (Some(S::Ambiguous), E::Intended(intent)) if rearmed => {
            let attempt = next.attempt + 1;
            begin(&mut next, intent, attempt);
        }
        (None, E::AlreadySo { evidence, output }) => end(&mut next, S::Verified, evidence, output, now),
        (Some(S::Ambiguous), E::AlreadySo { evidence, output }) if rearmed => {
            end(&mut next, S::Verified, evidence, output, now);
        }
        (Some(S::Started), E::Taken { output, message }) => move_to(&mut next, S::Applied, output, message),
        (Some(S::Started | S::Ambiguous), E::Adopted { output, message }) => {
            move_to(&mut next, S::Applied, output, message)
        }
        (Some(S::Applied), E::Adopted { output, message }) => move_to(&mut next, S::Applied, output, message),
        (Some(S::Started), E::Unknown { message }) => move_to(&mut next, S::Ambiguous, None, message),
        (Some(S::Started | S::Applied | S::Ambiguous), E::ReadBack { evidence, output }) => {
            end(&mut next, S::Verified, evidence, output, now);
        }
        (Some(S::Started), E::NotSent { message }) => {
            move_to(&mut next, S::Ambiguous, None, message);
            next.intent = None;
            next.attempt -= 1; // it was no attempt: the next one begins from the full baseline again
        }
        (Some(S::Started), E::Refused { message }) => fail(&mut next, message, now),
        (None | Some(S::Started | S::Applied | S::Ambiguous), E::Failed { message }) => fail(&mut next, message, now),
        (Some(S::Started | S::Ambiguous), E::Rearmed { message })
            if next.intent.as_ref().is_some_and(|intent| intent.class.may_repeat()) =>
        {
            move_to(&mut next, S::Ambiguous, None, message);
            next.intent = None;
        }
        (_, event) => return Err(illegal(&event)),
    }
    Ok(next)
}

fn fresh(key: &str, now: Timestamp) -> StepRecord {
    StepRecord {
        key: key.into(),
        state: StepState::Started,
        attempt: 0,
        intent: None,
        output: None,
        evidence: None,
        message: None,
        started: Time(now),
        finished: None,
    }
}

fn begin(record: &mut StepRecord, intent: Intent, attempt: i64) {
    record.state = StepState::Started;
    record.attempt = attempt;
    record.intent = Some(intent);
    record.message = None;
}

fn move_to(record: &mut StepRecord, state: StepState, output: Option<String>, message: String) {
    record.state = state;
    record.output = output.or(record.output.take());
    record.message = Some(clip(&message));
}

fn end(record: &mut StepRecord, state: StepState, evidence: String, output: Option<String>, now: Timestamp) {
    record.state = state;
    record.output = output.or(record.output.take());
    record.evidence = Some(clip(&evidence));
    record.message = None;
    record.finished = Some(Time(now));
}

fn fail(record: &mut StepRecord, message: String, now: Timestamp) {
    record.state = StepState::Failed;
    record.message = Some(clip(&message));
    record.finished = Some(Time(now));
}

/// Id of an attempt: who asks, which step, which try. Stable over a restart.
pub fn attempt_id(run_uid: &str, key: &str, attempt: i64) -> String {
    format!("{run_uid}/{key}/{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EffectClass;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn intent(class: EffectClass) -> Intent {
        Intent {
            id: "u/k/1".into(),
            epoch: 1,
            class,
            params_digest: String::new(),
            baseline_digest: String::new(),
            deadline_seconds: 20,
            written: None,
        }
    }

    fn events(class: EffectClass) -> Vec<StepEvent> {
        let text = || "text".to_owned();
        vec![
            StepEvent::Intended(intent(class)),
            StepEvent::AlreadySo { evidence: text(), output: None },
            StepEvent::Taken { output: None, message: text() },
            StepEvent::NotSent { message: text() },
            StepEvent::Refused { message: text() },
            StepEvent::Unknown { message: text() },
            StepEvent::Adopted { output: None, message: text() },
            StepEvent::ReadBack { evidence: text(), output: None },
            StepEvent::Failed { message: text() },
            StepEvent::Rearmed { message: text() },
        ]
    }

    /// Walks every history of five events and holds what must hold of each.
    fn walk(class: EffectClass, record: Option<StepRecord>, intents: usize, depth: usize, seen: &mut usize) {
        if depth == 0 {
            return;
        }
        for event in events(class) {
            let Ok(next) = advance("k", record.as_ref(), event.clone(), now()) else { continue };
            *seen += 1;
            // An intent whose call certainly did nothing does not count: it is as if it had not been.
            let intents = match event {
                StepEvent::Intended(_) => intents + 1,
                StepEvent::NotSent { .. } => intents - 1,
                _ => intents,
            };
            assert!(class.may_repeat() || intents <= 1, "a {class:?} step got a second intent");
            let final_before =
                record.as_ref().is_some_and(|r| matches!(r.state, StepState::Verified | StepState::Failed));
            assert!(!final_before, "{event:?} moved a step that had ended");
            walk(class, Some(next), intents, depth - 1, seen);
        }
    }

    #[test]
    fn no_history_sends_a_keyless_call_twice_or_leaves_an_end() {
        for class in
            [EffectClass::Keyless, EffectClass::Destructive, EffectClass::SetToValue, EffectClass::CompareAndSet]
        {
            let mut seen = 0;
            walk(class, None, 0, 6, &mut seen);
            assert!(seen > 20, "{class:?}: the walk went nowhere");
        }
    }

    /// The record after these events.
    fn after(class: EffectClass, events: &[StepEvent]) -> Result<StepRecord, IllegalTransition> {
        let mut record = None;
        for event in events {
            record = Some(advance("k", record.as_ref(), event.clone(), now())?);
        }
        Ok(record.unwrap_or_else(|| panic!("{class:?}: no event")))
    }

    #[test]
    fn attempts_are_those_that_may_have_had_an_effect() {
        let class = EffectClass::SetToValue;
        let intended = || StepEvent::Intended(intent(class));
        let [not_sent, rearmed] =
            [StepEvent::NotSent { message: "429".into() }, StepEvent::Rearmed { message: "nothing".into() }];
        let attempt = |events: &[StepEvent]| after(class, events).unwrap().attempt;
        assert_eq!(attempt(&[intended()]), 1);
        assert_eq!(attempt(&[intended(), not_sent.clone()]), 0);
        assert_eq!(attempt(&[intended(), not_sent, intended()]), 1, "the first was none");
        assert_eq!(attempt(&[intended(), rearmed.clone()]), 1);
        assert_eq!(attempt(&[intended(), rearmed.clone(), intended()]), 2);
        assert_eq!(attempt(&[intended(), rearmed.clone(), intended(), rearmed, intended()]), 3);
        assert_eq!(attempt_id("uid", "01-web-code", 2), "uid/01-web-code/2");
    }

    #[test]
    fn what_is_so_without_a_call_is_believed_only_where_no_call_is_open() {
        let class = EffectClass::SetToValue;
        let so = StepEvent::AlreadySo { evidence: "it is".into(), output: None };
        let unknown = StepEvent::Unknown { message: "500".into() };
        let rearmed = StepEvent::Rearmed { message: "nothing".into() };
        let intended = StepEvent::Intended(intent(class));
        assert!(after(class, &[intended.clone(), unknown.clone(), so.clone()]).is_err());
        assert!(after(class, &[intended.clone(), unknown.clone(), intended.clone()]).is_err());
        let ended = after(class, &[intended, unknown, rearmed, so]).unwrap();
        assert_eq!((ended.state, ended.evidence.as_deref()), (StepState::Verified, Some("it is")));
    }

    #[test]
    fn an_unknown_outcome_keeps_its_intent() {
        let started = advance("k", None, StepEvent::Intended(intent(EffectClass::Keyless)), now()).unwrap();
        let unknown = advance("k", Some(&started), StepEvent::Unknown { message: "500".into() }, now()).unwrap();
        assert_eq!((unknown.state, unknown.intent.is_some()), (StepState::Ambiguous, true));
        assert!(advance("k", Some(&unknown), StepEvent::Rearmed { message: String::new() }, now()).is_err());
    }
}
