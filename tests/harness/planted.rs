//! Bugs that can be planted, each with the oracle that must catch it: an oracle that finds nothing proves little.
//!
//! Some are at a `failpoint::planted` in `src` or, those with blanks in their names, in this world. The others change in passing what the
//! engine read, learnt or decided: the request, the [`Facts`] or the [`Decision`], at a `failpoint::twist` of its reconcile.

use crate::driver::Lab;
use crate::explore::{clean, cuts_after, on_a_thread};
use crate::fault::{Cut, shown};
use crate::plans::rows;
use crate::world::What;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use savepoint::api::*;
use savepoint::decide::rollback::{Decision, Effect, Facts, Safety, SafetyState, TargetChange, Verified};
use savepoint::failpoint::Twist;
use std::any::Any;
use std::time::Duration;

/// A bug, the plan on which it is looked for, and the oracle that catches it.
pub struct Bug {
    pub name: &'static str,
    pub plan: &'static str,
    pub oracle: &'static str,
    pub twist: Option<Twist>,
}

const fn planted(name: &'static str, plan: &'static str, oracle: &'static str) -> Bug {
    Bug { name, plan, oracle, twist: None }
}

const fn twisted(name: &'static str, plan: &'static str, oracle: &'static str, twist: Twist) -> Bug {
    Bug { name, plan, oracle, twist: Some(twist) }
}

/// Every bug.
pub const BUGS: &[Bug] = &[
    planted("no-intent", "code-set", "I2"),
    planted("conflict-is-ours", "code-set", "I2"),
    planted("wrong-class", "code-keyless", "2.1"),
    planted("timeout-is-not-sent", "code-keyless", "I1"),
    planted("timeout-is-taken", "code-set", "G9"),
    planted("ignore-409", "cancelled-between-look-and-intent", "I18"),
    planted("one-hides-all", "beside-one-that-does-not-decode", "I17"),
    planted("blind-backup", "environment-set", "I19"),
    planted("secret-in-log", "code-set", "I23"),
    planted("secret-in-message", "code-set", "I23"),
    planted("the API server forgets a deletion", "code-set", "I8"),
    planted("the platform lies", "code-set", "I9"),
    planted("the platform moves any head", "pushed-meanwhile", "I3"),
    planted("the platform never answers", "code-set", "I15"),
    twisted("sends a keyless call again", "code-keyless", "I1", |it| on(it, sends_again)),
    twisted("a hook is called again", "code-hooks", "I1", |it| on(it, sends_again)),
    twisted("a restore is sent again", "data", "I1", |it| on(it, sends_again)),
    twisted("looks again at once", "data", "I16", |it| on(it, never_rests)),
    twisted("lets nobody in again", "data-cancelled", "the application", |it| on(it, resumes_nothing)),
    twisted("restores while writes go on", "data", "data changes", |it| on(it, pauses_nothing)),
    twisted("a new leader sends again at once", "code-keyless", "I14", |it| on(it, sends_again)),
    twisted("lets the application in too early", "data", "data changes", |it| on(it, ends_restores)),
    twisted("needs no confirmation", "nobody-confirms", "I4", |it| on(it, confirms_itself)),
    twisted("changes a frozen plan", "code-set", "I4 a frozen", |it| on(it, drops_last_step)),
    twisted("deletes what it cannot read", "environment-set", "I5", |it| on(it, deletes_sealed)),
    twisted("waits for no safety backup", "environment-set", "I6", |it| on(it, believes_in_safety)),
    twisted("takes no lock", "code-set", "I7", |it| on(it, takes_no_lock)),
    twisted("does not look at its lock", "locks-deleted", "I7", |it| on(it, trusts_its_lock)),
    twisted("keeps its locks", "code-set", "I8", |it| without(it, |effect| matches!(effect, Effect::GiveBack(_)))),
    twisted("keeps its pins", "deleted", "I8", |it| without(it, |effect| matches!(effect, Effect::Unpin))),
    twisted("keeps its hold", "deleted", "I21", |it| without(it, lets_go)),
    twisted("verifies nothing", "turned-back-report", "I9", |it| on(it, verifies_nothing)),
    twisted("takes the unknown for done", "code-keyless", "I10", |it| on(it, takes_for_done)),
    twisted("changes its outcome", "code-set", "I11", |it| on(it, ends_anew)),
    twisted("sends what it had sent", "code-set", "I13", |it| on(it, forgets_its_intent)),
    twisted("does not see a cancellation", "cancelled", "I18", |it| on(it, sees_no_end)),
    twisted("does not see a deletion", "deleted", "I18", |it| on(it, sees_no_end)),
    twisted("keeps the finalizer", "deleted", "I21", |it| without(it, |effect| matches!(effect, Effect::LetObjectGo))),
    twisted("never stops waiting", "code-keyless", "I21", |it| on(it, waits_for_ever)),
    twisted("tries past a failed undo", "undo-fails", "I22", |it| on(it, forgets_failed_undo)),
    twisted("undoes a part", "step-fails-undo", "I22", |it| on(it, undoes_a_part)),
    twisted("carries out any version", "plan-of-another-version", "I24", |it| on(it, makes_it_young)),
    twisted("begins a step too early", "full-set", "order", |it| on(it, waits_for_nothing)),
    twisted("raises a percentage", "gradual", "gradual", |it| on(it, raises)),
    twisted("puts no setting back", "code-set-frozen", "differential", |it| on(it, releases_nothing)),
    twisted("forgets what it left", "code-set", "differential", |it| without(it, remembers)),
    twisted("does not say when it let go", "undo-of", "differential", |it| without_change(it, lets_target_go)),
    twisted("believes what it reads at once", "data-cancelled", "the application", |it| on(it, backdates)),
    twisted("forgets a failover", "failover-set", "differential", |it| without(it, fails_over)),
];

/// The value that passes, where it is the one that the bug is about.
fn on<T: Any>(value: &mut dyn Any, bug: fn(&mut T)) {
    if let Some(value) = value.downcast_mut() {
        bug(value);
    }
}

/// A decision without some effects.
fn without(value: &mut dyn Any, dropped: fn(&Effect) -> bool) {
    if let Some(Decision::Do(effects, _) | Decision::Leave(effects)) = value.downcast_mut() {
        effects.retain(|effect| !dropped(effect));
    }
}

/// A decision whose effects on the target lack some changes.
fn without_change(value: &mut dyn Any, dropped: fn(&TargetChange) -> bool) {
    let Some(Decision::Do(effects, _) | Decision::Leave(effects)) = value.downcast_mut() else { return };
    for effect in effects {
        if let Effect::Target(changes) = effect {
            changes.retain(|change| !dropped(change));
        }
    }
}

const fn lets_target_go(change: &TargetChange) -> bool {
    matches!(change, TargetChange::LetGo(_))
}

/// What has ended a second ago seems to have ended long ago.
fn backdates(request: &mut RollbackRequest) {
    for step in request.status.iter_mut().flat_map(|status| &mut status.steps) {
        step.finished = step.finished.as_ref().map(|_| Time(Timestamp::UNIX_EPOCH));
    }
}

fn changes(effect: &Effect, change: fn(&TargetChange) -> bool) -> bool {
    matches!(effect, Effect::Target(changes) if changes.iter().any(change))
}

fn lets_go(effect: &Effect) -> bool {
    changes(effect, |change| matches!(change, TargetChange::Freeze(None)))
}

fn remembers(effect: &Effect) -> bool {
    changes(effect, |change| matches!(change, TargetChange::RolledAway(_)))
}

fn fails_over(effect: &Effect) -> bool {
    changes(effect, |change| matches!(change, TargetChange::Failovers(failovers) if !failovers.is_empty()))
}

/// A call whose outcome is not known counts as one that was never made.
fn sends_again(request: &mut RollbackRequest) {
    let steps = request.status.iter_mut().flat_map(|status| &mut status.steps);
    for step in steps.filter(|step| matches!(step.state, StepState::Started | StepState::Ambiguous)) {
        step.state = StepState::Ambiguous;
        step.intent = None;
    }
}

fn forgets_its_intent(request: &mut RollbackRequest) {
    let steps = request.status.iter_mut().flat_map(|status| &mut status.steps);
    for step in steps.filter(|step| step.state == StepState::Started) {
        step.state = StepState::Ambiguous;
        step.intent = None;
        step.attempt = 0;
    }
}

fn confirms_itself(request: &mut RollbackRequest) {
    let plan = request.status.as_ref().and_then(|status| status.plan.as_ref());
    request.spec.confirmation = plan.map(|plan| Confirmation {
        plan_digest: plan.digest.clone(),
        confirmed_by: "nobody".into(),
        answers: None,
    });
}

fn plan_of(request: &mut RollbackRequest) -> Option<&mut Plan> {
    let status = request.status.as_mut()?;
    status.confirmed_at.as_ref()?;
    status.plan.as_mut()
}

fn drops_last_step(request: &mut RollbackRequest) {
    plan_of(request).map(|plan| plan.steps.pop());
}

fn releases_nothing(request: &mut RollbackRequest) {
    if let Some(plan) = plan_of(request) {
        plan.release.clear();
    }
}

fn sees_no_end(request: &mut RollbackRequest) {
    request.spec.cancel = None;
    request.metadata.deletion_timestamp = None;
}

fn resumes_nothing(request: &mut RollbackRequest) {
    if let Some(plan) = plan_of(request) {
        plan.steps.retain(|step| !matches!(step.change, Change::ResumeWrites {}));
    }
}

fn pauses_nothing(request: &mut RollbackRequest) {
    if let Some(plan) = plan_of(request) {
        plan.steps.retain(|step| !matches!(step.change, Change::PauseWrites {}));
    }
}

/// A restore that was taken counts as one that has ended.
fn ends_restores(request: &mut RollbackRequest) {
    for step in request.status.iter_mut().flat_map(|status| &mut status.steps) {
        let restores = step.intent.as_ref().is_some_and(|intent| intent.class == EffectClass::Destructive);
        if restores && step.state == StepState::Applied {
            step.state = StepState::Verified;
        }
    }
}

fn never_rests(decision: &mut Decision) {
    match decision {
        Decision::Do(_, write) => write.again = Duration::ZERO,
        Decision::Rest(after) => *after = Some(Duration::ZERO),
        _ => {}
    }
}

fn makes_it_young(request: &mut RollbackRequest) {
    if let Some(plan) = request.status.as_mut().and_then(|status| status.plan.as_mut()) {
        plan.version = PLAN_VERSION;
    }
}

fn forgets_failed_undo(request: &mut RollbackRequest) {
    let steps = request.status.iter_mut().flat_map(|status| &mut status.steps);
    for step in steps.filter(|step| step.key.starts_with("undo-") && step.state == StepState::Failed) {
        step.state = StepState::Verified;
    }
}

fn takes_no_lock(facts: &mut Facts) {
    facts.locks = Some(None);
}

fn trusts_its_lock(facts: &mut Facts) {
    facts.own_lock = Some(true);
}

fn believes_in_safety(facts: &mut Facts) {
    if let Some(Safety::Made { state, .. }) = &mut facts.safety {
        *state = SafetyState::Verified(std::collections::BTreeMap::new());
    }
}

fn verifies_nothing(facts: &mut Facts) {
    if facts.verified.is_some() {
        facts.verified = Some(Verified::Holds(None));
    }
}

fn waits_for_ever(facts: &mut Facts) {
    facts.steps.values_mut().for_each(|step| step.open_for = Duration::ZERO);
}

fn takes_for_done(decision: &mut Decision) {
    let Decision::Do(_, write) = decision else { return };
    let Some(question) = write.status.question.take() else { return };
    let is_it = |step: &&mut StepRecord| step.intent.as_ref().is_some_and(|intent| intent.id == question.attempt);
    if let Some(step) = write.status.steps.iter_mut().find(is_it) {
        step.state = StepState::Verified;
    }
}

fn ends_anew(decision: &mut Decision) {
    let Decision::Do(effects, write) = decision else { return };
    if write.status.outcome.is_some() && effects.iter().any(|effect| matches!(effect, Effect::GiveBack(_))) {
        write.status.outcome = Some(Outcome::Cancelled);
    }
}

fn undoes_a_part(decision: &mut Decision) {
    let Decision::Do(_, write) = decision else { return };
    if let Some(undo) = write.status.undo.as_mut().filter(|undo| undo.steps.len() > 1) {
        undo.steps.truncate(1);
    }
}

/// The step that is sent is the one after it.
fn waits_for_nothing(request: &mut RollbackRequest) {
    if let Some(plan) = plan_of(request) {
        plan.steps.iter_mut().for_each(|step| step.after.clear());
    }
}

fn deletes_sealed(decision: &mut Decision) {
    let Decision::Send(step) = decision else { return };
    if let Change::SetEnvironment { removed, .. } = &mut step.change {
        removed.push("SEALED".into());
    }
}

fn raises(decision: &mut Decision) {
    let Decision::Send(step) = decision else { return };
    if let Change::SetFlags { flags } = &mut step.change {
        for flag in flags.iter_mut().filter(|flag| flag.to.percentage.is_some()) {
            flag.to.percentage = Some(99);
        }
    }
}

/// The first cut at which the bug is caught by its oracle, and how many runs it took.
pub async fn hunt(lab: &Lab, bug: &Bug) -> Option<(String, usize)> {
    plant(None);
    let row = rows().into_iter().find(|row| row.name == bug.plan)?;
    let (mut prepared, first) = clean(lab, &row).await;
    plant(Some(bug));
    if !row.first.is_empty() {
        prepared = lab.prepare(&row).await; // the request before has the bug as well
    }
    let mut singles: Vec<Cut> = cuts_after(&first, 0).collect();
    // Cuts at calls that change a platform first: most bugs show there.
    singles.sort_by_key(|cut| first.ops[cut.at - 1] != What::PlatformWrite);
    let mut found = None;
    for (index, cuts) in std::iter::once(&[][..]).chain(singles.chunks(1)).enumerate() {
        let report = lab.run(&prepared, cuts, Some(&first.end), false).await;
        if report.violations.iter().any(|violation| violation.oracle.starts_with(bug.oracle)) {
            found = Some((shown(cuts), index + 1));
            break;
        }
    }
    plant(None);
    found
}

/// Hunts every bug whose name contains this, over all workers, and prints the table. Whether each was caught by its oracle.
pub fn every_one_is_caught(name: &str, workers: usize) -> bool {
    println!("{:<38} {:<34} {:<18} caught at", "planted bug", "plan", "oracle");
    let bugs = || BUGS.iter().filter(|bug| bug.name.contains(name));
    let part = |worker| {
        let mine: Vec<&'static Bug> = bugs().skip(worker).step_by(workers).collect();
        on_a_thread(move || async move {
            let (lab, mut missed) = (Lab::new(), 0);
            for bug in mine {
                let found = hunt(&lab, bug).await;
                missed += usize::from(found.is_none());
                let found = found.map_or("MISSED".to_owned(), |(cuts, runs)| format!("{cuts}, run {runs}"));
                println!("{:<38} {:<34} {:<18} {found}", bug.name, bug.plan, bug.oracle);
            }
            missed
        })
    };
    let parts: Vec<_> = (0..workers).map(part).collect();
    let missed: usize = parts.into_iter().map(|part| part.join().unwrap()).sum();
    println!("{} bugs planted, {missed} missed", bugs().count());
    missed == 0
}

/// Plants a bug on this thread, or none.
pub fn plant(bug: Option<&Bug>) {
    savepoint::failpoint::plant(bug.filter(|bug| bug.twist.is_none()).map(|bug| bug.name));
    savepoint::failpoint::plant_twist(bug.and_then(|bug| bug.twist));
}
