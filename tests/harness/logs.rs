//! Listens to everything that the engine logs: no line may hold a secret.

use crate::oracles::holds_a_secret;
use std::cell::Cell;
use std::fmt::{Debug, Write};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    static LEAKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a line since the last question held a secret.
pub fn leaked() -> bool {
    LEAKED.replace(false)
}

/// A subscriber that keeps nothing. Our own lines are read at every level, those of libraries up to `info`.
pub struct Listener;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{value:?} ");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && (metadata.target().starts_with("savepoint") || *metadata.level() <= tracing::Level::INFO)
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if holds_a_secret(&text.0) {
            LEAKED.set(true);
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
