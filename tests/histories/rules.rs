//! What must hold of every decision, whatever the history.

use super::world::{Truth, World};
use savepoint::api::*;
use savepoint::decide::rollback::*;

fn is_over(record: &StepRecord) -> bool {
    matches!(record.state, StepState::Verified | StepState::Failed)
}

/// Holds a call against everything that must be true before it leaves.
pub fn may_send(world: &World, step: &PlannedStep) {
    let status = world.status();
    let plan = status.plan.as_ref().expect("a call without a plan");
    let known = record(&status, &step.key);
    let rearmed = known.is_none_or(|known| known.state == StepState::Ambiguous && known.intent.is_none());
    assert!(rearmed, "I1: step {} is sent while its record says {known:?}", step.key);
    if !step.class.may_repeat() {
        let sent = world.sent.get(&step.key).copied().unwrap_or(0);
        assert_eq!(sent, 0, "I1: the {:?} step {} is sent again", step.class, step.key);
    }
    assert!(world.target.is_some());
    let released = plan.release.iter().any(|one| one.key == step.key);
    assert_eq!(status.outcome.is_some(), released, "after the end only the hold goes, and only then");
    if released {
        return; // the hold was agreed to when it began; the plan may have been made anew since, and a run may end before that is agreed to
    }
    assert!(status.confirmed_at.is_some(), "I4: step {} is sent before anybody agreed", step.key);
    assert!(!status.locks.is_empty(), "I7: step {} is sent without a lock", step.key);
    let resumes = matches!(step.change, Change::ResumeWrites {});
    let ends = world.request.spec.cancel == Some(true) || world.request.metadata.deletion_timestamp.is_some();
    assert!(!ends || resumes, "step {} is sent although the request was cancelled", step.key);
    assert!(
        !world.request.spec.suspend || ends || resumes,
        "step {} is sent although the request is suspended",
        step.key
    );
    let undoes = status.undo.iter().flat_map(|undo| &undo.steps).any(|one| one.key == step.key);
    if undoes {
        return;
    }
    let place = |key: &str| plan.steps.iter().position(|one| one.key == key).expect("a step that was not planned");
    let guard = plan.safety_backup_before.as_ref().filter(|first| place(&step.key) >= place(first));
    assert!(guard.is_none() || status.safety_backup_verified || resumes, "I6: step {} before the backup", step.key);
    if status.steps.iter().any(|one| one.state == StepState::Failed) && resumes {
        return; // the application is let in again however the rest ended
    }
    for before in &step.after {
        let ended = record(&status, before).is_some_and(is_over);
        assert!(ended || (ends && resumes), "step {} is sent before {before} has ended", step.key);
    }
}

/// Holds a status write against what stood before it.
pub fn may_write(world: &World, before: &RollbackRequestStatus, effects: &[Effect], write: &Write, facts: &Facts) {
    let after = &write.status;
    if before.outcome.is_some() {
        assert_eq!(before.outcome, after.outcome, "I11: an outcome changed");
        assert_eq!(before.finished, after.finished, "I11: the end moved");
    }
    let loops = write.again.is_zero() && after == before && effects.is_empty();
    assert!(!loops, "the same status is written again at once: {:?}", after.message);
    let replanned = after.replans > before.replans;
    assert!(!replanned || !has_effects(before), "a plan was replaced although it had effects");
    if before.locks.is_empty() || after.locks.is_empty() {
        let gives = effects.iter().any(|effect| matches!(effect, Effect::GiveBack(_)));
        let running = before.confirmed_at.is_some() && before.outcome.is_none() && !before.locks.is_empty();
        assert!(!(gives && running), "I7: the lock of a run goes back before the run is set aside");
    }
    // The write may never arrive, and then the run goes on as it is stored.
    let unpins = effects.iter().any(|effect| matches!(effect, Effect::Unpin));
    assert!(!unpins, "I6: backups are let go of before the request goes");
    for old in &before.steps {
        match record(after, &old.key) {
            None => assert!(replanned, "the record of step {} is gone", old.key),
            Some(new) => step_moved(world, before, old, new, facts),
        }
    }
    if after.outcome == Some(Outcome::Succeeded) && before.outcome.is_none() {
        success(world, after);
    }
}

fn step_moved(world: &World, before: &RollbackRequestStatus, old: &StepRecord, new: &StepRecord, facts: &Facts) {
    let key = &old.key;
    if is_over(old) {
        assert_eq!((old.state, old.attempt), (new.state, new.attempt), "I11: step {key} had ended");
        return;
    }
    let open = old.intent.as_ref().filter(|_| matches!(old.state, StepState::Started | StepState::Ambiguous));
    let Some(intent) = open.filter(|intent| !intent.class.may_repeat()) else { return };
    assert!(new.intent.is_some(), "I1: the {:?} step {key} may begin again", intent.class);
    if old.state == new.state || new.state == StepState::Ambiguous {
        return;
    }
    // I10: only a trace of the call, or a person who names the attempt, settles it; what may fail is let go.
    let confirmation = world.request.spec.confirmation.as_ref();
    let said = confirmation.and_then(|said| said.answers.as_ref()).into_iter().flatten();
    let person = said.into_iter().any(|answer| answer.attempt == intent.id);
    let reading = facts.steps.get(key).map(|facts| &facts.reading);
    let trace =
        matches!(world.truth.get(key), Some(Truth::After | Truth::Building | Truth::Broken)) && reading.is_some();
    let plan = before.plan.as_ref();
    let may_fail = plan.is_some_and(|plan| plan.steps.iter().any(|step| step.key == *key && step.may_fail));
    assert!(person || trace || may_fail, "I10: step {key} went from {:?} to {:?} by itself", old.state, new.state);
}

fn success(world: &World, after: &RollbackRequestStatus) {
    for step in after.plan.iter().flat_map(|plan| &plan.steps) {
        let known = record(after, &step.key);
        let so = world.truth.get(&step.key) == Some(&Truth::After);
        let well = known.is_some_and(|known| known.state == StepState::Verified) && so;
        assert!(well || step.may_fail, "I9: succeeded, and step {} is {known:?}", step.key);
    }
}
