//! The table of a proof.

use crate::explore::Tally;

/// The table, and below it the lines that replay what was found.
pub fn print(tallies: &[Tally]) {
    println!("{:<30} {:>10} {:>6} {:>8} {:>8} {:>14}", "plan", "operations", "cuts", "runs", "violated", "NeedsHuman");
    let mut all = Tally { plan: "all", ..Tally::default() };
    for tally in tallies {
        print_row(tally);
        all.operations += tally.operations;
        all.singles += tally.singles;
        all.add(tally.clone());
    }
    print_row(&all);
    let repeatable = tallies.iter().filter(|tally| !tally.may_ask);
    let (runs, asked) = repeatable.fold((0, 0), |(runs, asked), tally| (runs + tally.runs, asked + tally.asked));
    println!(
        "plans of steps of the classes R, S, C and K alone, in which nobody else meddles: {runs} runs, {asked} NeedsHuman"
    );
    for tally in tallies {
        tally.replays().iter().for_each(|line| println!("   {line}"));
    }
}

fn print_row(tally: &Tally) {
    let Tally { plan, operations, singles, runs, violated, asked, .. } = tally;
    let share = 100.0 * *asked as f64 / (*runs).max(1) as f64;
    println!("{plan:<30} {operations:>10} {singles:>6} {runs:>8} {violated:>8} {asked:>6} {share:>6.1}%");
}
