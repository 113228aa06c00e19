//! What the demo prints: one line per thing that happened, with the time since the start.

use savepoint::api::{Plan, PlannedStep};
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Instant;

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Seconds since the demo began.
pub fn elapsed() -> f64 {
    BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64()
}

fn paint(code: &str, text: &str) -> String {
    match std::io::stdout().is_terminal() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

pub fn say(text: &str) {
    println!("{} {text}", paint("2", &format!("{:6.1}s", elapsed())));
}

pub fn title(text: &str) {
    println!("\n{}", paint("1", text));
}

pub fn good(text: &str) {
    say(&paint("32", &format!("✔ {text}")));
}

pub fn bad(text: &str) {
    say(&paint("31", &format!("✘ {text}")));
}

/// A change of an object, as the watch told it.
pub fn object(kind: &str, name: &str, text: &str) {
    say(&format!("{} {text}", paint("36", &format!("{kind}/{name}"))));
}

/// An effect on a platform, as the simulator's log told it.
pub fn effect(platform: &str, by: &str, text: &str) {
    let who = if by == "api" { "savepoint" } else { "somebody" };
    say(&paint("2", &format!("    → {platform}: {who}: {text}")));
}

/// The plan, as a person checks it before saying yes.
pub fn plan(plan: &Plan) {
    title(&format!("The plan: back to {}", plan.to));
    for step in &plan.steps {
        if plan.safety_backup_before.as_ref() == Some(&step.key) {
            println!("        {}", paint("33", "a verified safety backup of the present state comes first"));
        }
        print_step(step);
    }
    for left in &plan.not_restored {
        println!("        {} {left}", paint("33", "left alone:"));
    }
    println!("        {} {}", paint("2", "digest"), plan.digest);
}

fn print_step(step: &PlannedStep) {
    let mark = if step.destructive { paint("31", " destructive") } else { String::new() };
    println!("  {:<26} {} on {}{mark}", paint("1", &step.key), step.action, step.platform);
    println!("        {} {}", paint("2", "from"), step.from);
    println!("        {} {}", paint("2", "to  "), step.to);
    println!("        {} {}", paint("2", "undo"), step.undo);
}
