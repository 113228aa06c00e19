//! A sink for hooks: takes any call, and writes down that it came. Faults make it fail or hang.
use crate::wire::{Answer, Call, Note};
use crate::world::World;

pub fn answer(world: &World, call: &Call) -> Answer {
    if !call.twist.dry {
        let note = Note::new("hooks.call", &call.path, format!("{} {}", call.method, call.path));
        world.ledger.note(call.platform, Some(&call.id), vec![note]);
    }
    Answer::empty(204)
}

pub fn refusal(status: u16, message: &str) -> Answer {
    Answer::text(status, message)
}
