//! Checks of the harness itself: a proof is worth as much as what it is made with.

use crate::driver::Lab;
use crate::explore::{self, on_a_thread};
use crate::fault::{read, shown};
use crate::fidelity_script as fidelity;
use crate::plans::rows;
use crate::{api_service, world};

/// Every so manieth cut is run both ways.
const STRIDE: usize = 97;

/// A check over so many threads: what is wrong, in words.
type Check = fn(usize) -> Vec<String>;

/// Every check. Whether all of them hold; what does not is printed.
pub fn of_the_harness(workers: usize) -> bool {
    let checks: [(&str, Check); 4] = [
        ("a list of cuts reads as it is shown", |_| list_of_cuts()),
        ("the API server in memory answers as the real one", |_| api_server()),
        ("every clean run ends as its row says", |_| clean_runs()),
        ("a run that goes on from a moment is the whole run", moments),
    ];
    let mut good = true;
    for (name, check) in checks {
        let wrong = check(workers);
        println!("{} {name}", if wrong.is_empty() { "ok  " } else { "FAIL" });
        wrong.iter().for_each(|words| println!("     {words}"));
        good &= wrong.is_empty();
    }
    good
}

fn list_of_cuts() -> Vec<String> {
    let texts = ["clean", "12:Late", "1:CrashBefore,40:PausedLong,99:Stale"];
    let differs = texts.into_iter().filter(|text| shown(&read(text).unwrap()) != **text).map(str::to_owned);
    let taken = ["12", "x:Late", "1:Sometimes"].into_iter().filter(|text| read(text).is_ok());
    differs.chain(taken.map(|text| format!("{text} was taken for a cut"))).collect()
}

fn api_server() -> Vec<String> {
    let run = on_a_thread(|| async {
        let client = api_service::client(&world::World::shared());
        fidelity::run(&client, &client).await
    });
    let (path, expected) = fidelity::expected();
    let got = run.join().unwrap();
    let differs = expected.lines().zip(got.lines()).find(|(one, two)| one != two);
    match (expected == got, differs) {
        (true, _) => Vec::new(),
        (false, Some((one, two))) => vec![format!("{}: the real one {one:?}, ours {two:?}", path.display())],
        (false, None) => vec![format!("{} is longer or shorter than our answers", path.display())],
    }
}

fn clean_runs() -> Vec<String> {
    let run = on_a_thread(|| async {
        let lab = Lab::new();
        let (mut wrong, mut overlapped) = (Vec::new(), false);
        for row in rows() {
            let (_, report, said) = explore::tried(&lab, &row).await;
            overlapped |= report.overlapped;
            wrong.extend(Some(said).filter(|said| !said.is_empty()));
        }
        if !overlapped {
            wrong.push("no plan had two steps under way at the same time".to_owned());
        }
        wrong
    });
    run.join().unwrap()
}

fn moments(workers: usize) -> Vec<String> {
    let part = move |worker| {
        on_a_thread(move || async move {
            let lab = Lab::new();
            let mut wrong = Vec::new();
            for row in rows().into_iter().skip(worker).step_by(workers) {
                let (prepared, first, moments) = explore::clean_kept(&lab, &row).await;
                for cut in explore::cuts_after(&first, 0).step_by(STRIDE) {
                    let whole = lab.run(&prepared, &[cut], Some(&first.end), false).await;
                    let from = lab.run_on(&prepared, &[cut], Some(&first.end), &moments).await;
                    if (whole.trace, &whole.end) != (from.trace, &from.end) {
                        wrong.push(format!("--plan {} --cuts {cut}", row.name));
                    }
                }
            }
            wrong
        })
    };
    let parts: Vec<_> = (0..workers).map(part).collect();
    parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
}
