//! Random histories against the pure decisions of a rollback: any plan, any reading, any interruption, every rule after every step.
//!
//! `HISTORIES=100000 cargo test --test histories` runs more of them; a failure prints the seed, `HISTORIES_SEED=…` runs it again.

mod rules;
mod shape;
mod world;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use savepoint::api::*;
use savepoint::decide::rollback::{Refused, SafetyState};
use shape::Shape;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use world::{Call, Came, Truth, World};

/// What happens between and during reconciles.
#[derive(Clone, Debug)]
enum Event {
    Reconcile(u8),
    Pass(u16),
    Reads(u8, Truth),
    Calls(Call),
    Safety(bool),
    Replan,
    Refuse(Option<bool>),
    Busy(bool),
    Confirm,
    Answer(bool, bool),
    Suspend(bool),
    Cancel,
    Delete,
    Release,
    TargetGoes(bool),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    use Truth as T;
    let truth = prop::sample::select(vec![
        T::Before,
        T::Building,
        T::After,
        T::After,
        T::Broken,
        T::Drifted,
        T::Unclear,
        T::Unreadable,
        T::Blocked,
        T::Gone,
    ]);
    let call = prop_oneof![
        prop::sample::select(vec![
            Call::Taken,
            Call::TakenBuilding,
            Call::TakenAndNothing,
            Call::NotSent,
            Call::Refused
        ]),
        any::<bool>().prop_map(Call::Lost),
        any::<bool>().prop_map(Call::Dies),
    ];
    prop_oneof![
        12 => (1..12u8).prop_map(Event::Reconcile),
        4 => (1..200u16).prop_map(Event::Pass),
        4 => (any::<u8>(), truth).prop_map(|(step, truth)| Event::Reads(step, truth)),
        5 => call.prop_map(Event::Calls),
        3 => prop::bool::weighted(0.9).prop_map(Event::Safety),
        1 => Just(Event::Replan),
        1 => prop::option::of(any::<bool>()).prop_map(Event::Refuse),
        1 => any::<bool>().prop_map(Event::Busy),
        4 => Just(Event::Confirm),
        3 => any::<(bool, bool)>().prop_map(|(applied, output)| Event::Answer(applied, output)),
        1 => any::<bool>().prop_map(Event::Suspend),
        1 => Just(Event::Cancel),
        1 => Just(Event::Delete),
        1 => Just(Event::Release),
        1 => prop::bool::weighted(0.2).prop_map(Event::TargetGoes),
        2 => Just(Event::Restart),
    ]
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Reconcile(times) => {
            for _ in 0..*times {
                let _ = once(world);
            }
        }
        Event::Pass(seconds) => world.pass(Duration::from_secs((*seconds).into())),
        Event::Reads(step, truth) => {
            let undo = if step & 64 != 0 { "undo-" } else { "" };
            world.truth.insert(format!("{undo}{:02}", 1 + step % 6), *truth);
        }
        Event::Calls(call) => world.call = *call,
        Event::Safety(well) => {
            let end = if *well { SafetyState::Verified(BTreeMap::new()) } else { SafetyState::Failed("why".into()) };
            world.safety = world.safety.take().map(|_| end);
        }
        Event::Replan => world.plan_version += 1,
        Event::Refuse(refused) => {
            world.refusal = refused.map(|temporary| Refused {
                reason: Reason::PlatformUnreachable,
                message: "503".into(),
                temporary,
                retry_after: None,
            });
        }
        Event::Busy(busy) => world.busy = *busy,
        Event::Confirm => confirm(world),
        Event::Answer(applied, output) => answer(world, *applied, *output),
        Event::Suspend(suspended) => world.request.spec.suspend = *suspended,
        Event::Cancel => world.request.spec.cancel = Some(true),
        Event::Delete => world.request.metadata.deletion_timestamp = Some(world.now.into()),
        Event::Release => world.request.spec.release = Some(true),
        Event::TargetGoes(comes_back) => world.target = comes_back.then(|| shape::target(1)),
        Event::Restart => world.restart(),
    }
}

fn confirm(world: &mut World) {
    let Some(plan) = world.status().plan else { return };
    let answers = world.request.spec.confirmation.take().and_then(|before| before.answers);
    let confirmed_by = "jane".into();
    world.request.spec.confirmation = Some(Confirmation { plan_digest: plan.digest, confirmed_by, answers });
}

fn answer(world: &mut World, applied: bool, output: bool) {
    let Some(question) = world.status().question else { return };
    confirm(world);
    let Some(confirmation) = &mut world.request.spec.confirmation else { return };
    let outcome = if applied { AnsweredOutcome::Applied } else { AnsweredOutcome::NotApplied };
    let output = (applied && output).then(|| "named".to_owned());
    let answers = confirmation.answers.get_or_insert_default();
    answers.retain(|one| one.attempt != question.attempt);
    answers.push(Answer { attempt: question.attempt, outcome, output });
}

/// One reconcile, if the request is still there.
fn once(world: &mut World) -> Came {
    if world.gone { Came::Rests } else { world.reconcile() }
}

/// Nothing happens any more: within a bound the request ends, or waits for somebody.
fn comes_to_rest(world: &mut World) {
    for truth in world.truth.values_mut() {
        *truth = match *truth {
            Truth::Unreadable | Truth::Blocked => Truth::Before,
            Truth::Building => Truth::After,
            same => same,
        };
    }
    world.refusal = None;
    world.safety = world.safety.take().map(|_| SafetyState::Verified(BTreeMap::new()));
    let mut at_once = 0;
    for turn in 0..3_000 {
        if turn == 1_500 {
            restores_end(world);
            world.busy = false; // whoever else has the locks has a deadline as well
        }
        match once(world) {
            Came::Again(wait) if wait.is_zero() => at_once += 1,
            Came::Again(wait) => {
                at_once = 0;
                world.pass(wait.max(Duration::from_secs(5)));
            }
            // A stalled run is looked at again all the same, and its deadline ends it; what has ended or asks, stays.
            Came::Stalled if world.status().outcome.is_none() && world.status().question.is_none() => {
                at_once = 0;
                let undone = world.status().undo.is_some();
                if undone || world.request.spec.suspend || world.target.is_none() {
                    return;
                }
                world.pass(Duration::from_secs(60));
            }
            Came::Stalled | Came::Rests => return,
        }
        assert!(at_once < 150, "a hot loop: {:?}", world.status().message);
        if world.safety == Some(SafetyState::Making) {
            world.safety = Some(SafetyState::Verified(BTreeMap::new()));
        }
    }
    panic!("it comes to no rest: {:?}", world.status());
}

/// Whatever takes how long: a transaction ends.
fn restores_end(world: &mut World) {
    let plan = world.status().plan;
    let steps = plan.iter().flat_map(|plan| &plan.steps).filter(|step| step.class == EffectClass::Destructive);
    for step in steps {
        if let Some(truth) = world.truth.get_mut(&step.key).filter(|truth| **truth == Truth::Building) {
            *truth = Truth::After;
        }
    }
}

/// How the histories ended, so that it shows that they went somewhere.
#[derive(Default)]
struct Tally {
    ended: Cell<u32>,
    succeeded: Cell<u32>,
    asked: Cell<u32>,
    undone: Cell<u32>,
    replanned: Cell<u32>,
}

impl Tally {
    fn count(&self, world: &World) {
        let status = world.status();
        let add = |cell: &Cell<u32>, yes: bool| cell.set(cell.get() + u32::from(yes));
        add(&self.ended, status.outcome.is_some());
        add(&self.succeeded, status.outcome == Some(Outcome::Succeeded));
        add(&self.asked, status.question.is_some());
        add(&self.undone, status.undo.is_some_and(|undo| !undo.steps.is_empty()));
        add(&self.replanned, status.replans > 0);
    }
}

fn live(shape: &Shape, events: &[Event], tally: &Tally) {
    let mut world = World::new(shape);
    for event in events {
        happen(&mut world, event);
    }
    comes_to_rest(&mut world);
    tally.count(&world);
}

#[test]
fn every_history_keeps_the_rules_and_comes_to_rest() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = number("HISTORIES").and_then(|cases| u32::try_from(cases).ok()).unwrap_or(250);
    let fresh = || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64 % 1_000_000_000);
    let seed = number("HISTORIES_SEED").unwrap_or_else(fresh);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tally = Tally::default();
    let histories = (shape::shape(), prop::collection::vec(event(), 0..40));
    let result = runner.run(&histories, |(shape, events)| {
        let lived = catch_unwind(AssertUnwindSafe(|| live(&shape, &events, &tally)));
        lived.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            TestCaseError::fail(text.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap_or(&"a panic").to_string()))
        })
    });
    if let Err(failed) = result {
        panic!("HISTORIES_SEED={seed} HISTORIES={cases} runs this again\n{failed}");
    }
    let Tally { ended, succeeded, asked, undone, replanned } = &tally;
    println!(
        "{cases} histories (seed {seed}): {} ended, {} of them well, {} ask a person, {} undone, {} planned anew",
        ended.get(),
        succeeded.get(),
        asked.get(),
        undone.get(),
        replanned.get()
    );
    assert!(
        cases < 1_000 || [succeeded, asked, undone, replanned].iter().all(|count| count.get() > 0),
        "they went nowhere"
    );
}
