//! What may happen in which state, and what must hold: the model as stateright explores it.

use crate::protocol::{Act, Arrival, Planted, touches_lock};
use crate::state::*;
use stateright::{Model, Property};

/// One instance: faults that may happen, and the bug that is put in.
#[derive(Clone, Debug)]
pub struct Instance {
    pub budget: Budget,
    /// Requests that exist; a request that does not has been cancelled before.
    pub requests: usize,
    pub planted: Planted,
}

impl Model for Instance {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        let mut world = World { left: self.budget, ..World::default() };
        for request in self.requests..REQUESTS {
            world.requests[request].outcome = Some(Ended::Cancelled);
        }
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        let over = |request: usize| world.requests[request].outcome.is_some() && !world.requests[request].locks;
        let busy = world.operators.iter().any(|operator| operator.slots.iter().any(|slot| *slot != Slot::Idle));
        let late = world.late.iter().flatten().any(|count| *count > 0);
        if world.broken.is_some() || ((0..REQUESTS).all(over) && !busy && !late) {
            return;
        }
        for operator in 0..world.operators.len() {
            replica(world, operator, acts);
            if world.operators[operator].epoch > 0 {
                (0..self.requests).for_each(|request| reconcile(world, operator, request, acts));
            }
        }
        for request in 0..self.requests {
            for step in (0..STEPS).filter(|step| world.late[request][*step] > 0) {
                acts.extend([Act::LandLate(request, step), Act::Drop(request, step)]);
            }
            person(&world.requests[request], world.left, request, acts);
        }
        if world.left.third > 0 && world.requests.iter().any(|cr| cr.outcome.is_none()) {
            let platform = &world.platform;
            acts.extend((platform.variable != THIRD).then_some(Act::ThirdVariable));
            acts.extend((platform.variable != 0).then_some(Act::ThirdReverts));
            acts.extend((platform.live != THIRD).then_some(Act::ThirdDeploys));
        }
    }

    fn next_state(&self, last: &World, act: Act) -> Option<World> {
        let mut next = last.clone();
        next.act(self.planted, act);
        if self.planted == Planted::Nothing {
            assert!(next.requests.iter().all(|cr| cr.replans < 6), "plans are made anew without end: {next:?}");
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = always();
        all.extend(sometimes(self.requests, self.budget));
        all
    }
}

fn replica(world: &World, operator: usize, acts: &mut Vec<Act>) {
    if world.operators[operator].epoch == 0 {
        let led = world.operators.iter().any(|other| other.epoch > 0 && other.epoch == world.epoch);
        acts.extend((!led || world.left.leases > 0).then_some(Act::Start(operator)));
    } else if !world.leads(operator) || world.left.crashes > 0 {
        acts.push(Act::Crash(operator));
    }
}

fn reconcile(world: &World, operator: usize, request: usize, acts: &mut Vec<Act>) {
    let left = world.left;
    match world.operators[operator].slots[request] {
        Slot::Idle => {
            let cr = &world.requests[request];
            // A deposed leader that begins anew cannot store an intent (it is no leader at the first look at the lease); locks it can touch.
            let may = world.leads(operator) || touches_lock(cr);
            acts.extend((may && (cr.outcome.is_none() || cr.locks)).then_some(Act::Look(operator, request)));
        }
        Slot::Read(_) => acts.push(Act::Decide(operator, request)),
        Slot::Ready { .. } | Slot::Doomed => acts.push(Act::Carry(operator, request)),
        Slot::Armed { .. } => {
            acts.push(Act::Send(operator, request));
            acts.extend((left.lost > 0).then_some(Act::FailToConnect(operator, request)));
        }
        Slot::Sent { step, .. } => {
            let land = |arrival| Act::Land(operator, request, arrival);
            acts.push(land(Arrival::Well));
            if left.lost > 0 {
                acts.extend([land(Arrival::AnswerLost), Act::Timeout(operator, request)]);
            }
            if left.fails > 0 {
                acts.push(land(Arrival::Refused));
                acts.extend(is_keyless(step as usize).then_some(land(Arrival::Breaks)));
            }
        }
        Slot::Got { .. } => acts.push(Act::Record(operator, request)),
    }
}

fn person(cr: &Cr, left: Budget, request: usize, acts: &mut Vec<Act>) {
    if cr.outcome.is_some() {
        return;
    }
    let waits = cr.plan.is_some() && !cr.confirmed && cr.replans > 0;
    acts.extend((waits && cr.confirmation != cr.plan).then_some(Act::Confirm(request)));
    if let Some(step) = cr.question.map(usize::from) {
        let said = cr.said[step].is_some_and(|said| said.attempt == cr.steps[step].attempt);
        if !said {
            acts.extend([Act::Answer(request, true), Act::Answer(request, false)]);
        }
    }
    acts.extend((left.cancels > 0 && !cr.cancel).then_some(Act::Cancel(request)));
}

fn always() -> Vec<Property<Instance>> {
    vec![
        Property::always("a keyless effect happens at most once per request and step", |_, world: &World| {
            world.broken != Some(Broken::SecondEffect)
        }),
        Property::always("no effect without a committed intent", |_, world: &World| {
            world.broken != Some(Broken::NoIntent)
        }),
        Property::always("at most one run holds the resource", |_, world: &World| !(world.runs(0) && world.runs(1))),
        Property::always("the lock of a run is not taken away", |_, world: &World| {
            world.broken != Some(Broken::LockTakenAway)
        }),
        Property::always("what succeeded was there when that was decided", |_, world: &World| {
            world.broken != Some(Broken::UntrueSuccess)
        }),
        Property::always("an outcome stays", |_, world: &World| world.broken != Some(Broken::OutcomeChanged)),
        Property::always("nothing is written but by compare-and-swap", |_, world: &World| {
            world.broken != Some(Broken::NotByCas)
        }),
    ]
}

fn succeeded(world: &World, request: usize) -> bool {
    world.requests[request].outcome == Some(Ended::Succeeded)
}

fn any(world: &World, wanted: impl Fn(&Cr) -> bool) -> bool {
    world.requests.iter().any(wanted)
}

fn undone(cr: &Cr) -> bool {
    let done = |bits: u8| {
        (0..STEPS).filter(|step| bits & (1 << step) != 0).all(|step| cr.steps[step].stand == Stand::Verified)
    };
    cr.outcome == Some(Ended::Failed) && cr.undo.is_some_and(|bits| bits != 0 && done(bits))
}

fn beaten(world: &World) -> bool {
    let loses = |operator: usize| {
        let held = |slot: &Slot| matches!(slot, Slot::Doomed | Slot::Ready { fresh: false, .. });
        !world.leads(operator) && world.operators[operator].slots.iter().any(held)
    };
    (0..world.operators.len()).any(loses)
}

/// What must be reached, so that the model is not empty.
fn sometimes(requests: usize, budget: Budget) -> Vec<Property<Instance>> {
    let mut all = vec![
        Property::sometimes("a run succeeds", |_, world: &World| succeeded(world, 0)),
        Property::sometimes("a run ends after every fault was spent", |_, world: &World| {
            world.left == Budget::default() && world.requests[0].outcome.is_some()
        }),
    ];
    if budget.fails + budget.cancels == 0 || requests > 1 {
        all.push(Property::sometimes("a run succeeds after every fault was spent", |_, world: &World| {
            world.left == Budget::default() && succeeded(world, 0)
        }));
    }
    if budget.lost + budget.crashes > 0 {
        all.push(Property::sometimes("a human is asked", |_, world: &World| any(world, |cr| cr.question.is_some())));
    }
    if budget.fails > 0 || budget.third > 0 {
        all.push(Property::sometimes("an undo is completed", |_, world: &World| any(world, undone)));
    }
    if budget.third > 0 {
        all.push(Property::sometimes(
            "a plan that a third party made stale is replaced, confirmed and succeeds",
            |_, world: &World| any(world, |cr| cr.replans > 0 && cr.outcome == Some(Ended::Succeeded)),
        ));
    }
    if budget.leases > 0 {
        all.push(Property::sometimes("a deposed leader is about to lose its compare-and-swap", |_, world| {
            beaten(world)
        }));
        all.push(Property::sometimes("a deposed leader sends late", |_, world: &World| {
            let sends = |slot: &Slot| matches!(slot, Slot::Sent { .. });
            (0..2).any(|one| !world.leads(one) && world.operators[one].slots.iter().any(sends))
        }));
    }
    if budget.lost > 0 {
        all.push(Property::sometimes("a call is under way whose sender waits no more", |_, world: &World| {
            world.late.iter().flatten().any(|count| *count > 0)
        }));
    }
    if requests > 1 {
        all.push(Property::sometimes("the second run gets the lock after the first", |_, world: &World| {
            world.runs(1) && succeeded(world, 0)
        }));
        all.push(Property::sometimes("both succeed", |_, world: &World| succeeded(world, 0) && succeeded(world, 1)));
        all.push(Property::sometimes("a request waits in the queue", |_, world: &World| any(world, |cr| cr.queued)));
    }
    all
}
