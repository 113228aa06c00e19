//! The platform of the model: what a step reads there, and what a call does to it.

use crate::rebuild::class;
use crate::state::*;
use savepoint::api::EffectClass;

/// Where a step stands on the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reads {
    NotStarted,
    Done,
    Broken,
    Drifted,
    Unclear,
}

/// What a call came to when it landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    Taken,
    Refused,
    /// A keyless effect that this step has had already.
    Again,
}

impl Platform {
    pub fn baseline(&self) -> Baseline {
        Baseline { variable: self.variable, live: self.live }
    }

    /// What the adapter would read for a step of this request.
    pub fn reads(&self, request: usize, cr: &Cr, step: usize) -> Reads {
        let from = cr.plan.unwrap_or(self.baseline());
        match is_keyless(step) {
            true => self.reads_deploy(request, cr, step, from),
            false => {
                let goal = request as u8 + 1;
                let (wanted, before) = if step == SET { (goal, from.variable) } else { (from.variable, goal) };
                match self.variable {
                    now if now == wanted => Reads::Done,
                    now if now == before => Reads::NotStarted,
                    _ => Reads::Drifted,
                }
            }
        }
    }

    fn reads_deploy(&self, request: usize, cr: &Cr, step: usize, from: Baseline) -> Reads {
        let before = if step == DEPLOY { from.live } else { deploy_of(request, DEPLOY) };
        match self.made[request][step - DEPLOY] {
            Made::Broken => Reads::Broken,
            Made::Live if self.live == deploy_of(request, step) => Reads::Done,
            // Two new deploys, and nothing that says which of them is ours.
            Made::Live if !cr.steps[step].output => Reads::Unclear,
            Made::Live => Reads::Drifted,
            Made::Nothing if self.live == before => Reads::NotStarted,
            Made::Nothing => Reads::Drifted,
        }
    }

    /// Whether everything that this request wants is there.
    pub fn holds(&self, request: usize, cr: &Cr) -> bool {
        [SET, DEPLOY].iter().all(|step| self.reads(request, cr, *step) == Reads::Done)
    }

    /// A call arrives. `breaks`: the platform takes it, and what it makes is broken.
    pub fn land(&mut self, request: usize, cr: &Cr, step: usize, breaks: bool) -> Landed {
        let from = cr.plan.unwrap_or(self.baseline());
        if is_keyless(step) {
            let made = &mut self.made[request][step - DEPLOY];
            let again = *made != Made::Nothing;
            *made = if breaks { Made::Broken } else { Made::Live };
            if !breaks {
                self.live = deploy_of(request, step);
            }
            return if again { Landed::Again } else { Landed::Taken };
        }
        let goal = request as u8 + 1;
        let (wanted, before) = if step == SET { (goal, from.variable) } else { (from.variable, goal) };
        let checked = class(request, step) == EffectClass::CompareAndSet;
        if checked && self.variable != before {
            return Landed::Refused;
        }
        self.variable = wanted;
        Landed::Taken
    }
}
