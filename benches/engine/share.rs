//! The operator's own share of a Full rollback, in all and step by step, and the requests that it makes of the API server.

use crate::requests::Requests;
use crate::{SHOP, Scene, median_and_p99};
use futures::TryStreamExt;
use kube::runtime::watcher;
use savepoint::api::*;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

/// One run: moments since the confirmation.
#[derive(Default)]
struct Run {
    /// The safety backup is verified.
    safety: Option<Duration>,
    /// When each step was first seen, and when it was seen verified.
    steps: BTreeMap<String, (Duration, Option<Duration>)>,
    end: Duration,
    requests: Requests,
}

pub async fn measure(scene: &Scene<'_>, runs: usize) {
    for (what, components) in [
        ("four components, no database", "components: [backend, frontend, source, flags]"),
        ("five components, PostgreSQL included", ""),
    ] {
        let mut all = Vec::new();
        for run in 0..runs {
            all.push(one(scene, &format!("share-{}-{run}", components.len()), components).await);
        }
        show(what, &all);
    }
}

async fn one(scene: &Scene<'_>, name: &str, components: &str) -> Run {
    let plan = scene.ask(name, components).await;
    let mut run = Run::default();
    let watched = watcher(scene.requests(), watcher::Config::default().fields(&format!("metadata.name={name}")));
    let mut watched = pin!(watched);
    let before = Requests::of(scene.world).await;
    let begun = Instant::now();
    scene.confirm(name, &plan).await;
    while let Some(event) = watched.try_next().await.unwrap() {
        let (watcher::Event::Apply(seen) | watcher::Event::InitApply(seen)) = event else { continue };
        let status = seen.status.unwrap_or_default();
        let now = begun.elapsed();
        if status.safety_backup_verified && run.safety.is_none() {
            run.safety = Some(now);
        }
        for record in &status.steps {
            let times = run.steps.entry(record.key.clone()).or_insert((now, None));
            if record.state == StepState::Verified && times.1.is_none() {
                times.1 = Some(now);
            }
        }
        if let Some(outcome) = status.outcome {
            assert_eq!(outcome, Outcome::Succeeded, "{:?}", status.message);
            run.end = now;
            break;
        }
    }
    run.requests = Requests::of(scene.world).await.since(&before);
    let delete = kube::api::DeleteParams::default();
    scene.requests().delete(name, &delete).await.unwrap();
    scene.world.kubectl().run(&["-n", SHOP, "wait", "--for=delete", "rbr", name, "--timeout=60s"]).await.unwrap();
    run
}

fn show(what: &str, runs: &[Run]) {
    let of = |time: fn(&Run) -> Duration| median_and_p99(&mut runs.iter().map(time).collect::<Vec<_>>());
    println!("\n{what}, {} runs; median, p99:", runs.len());
    let line = |name: &str, (median, p99): (Duration, Duration)| {
        println!("  {name:34} {:7.0} ms {:7.0} ms", median.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
    };
    line("confirmation to success", of(|run| run.end));
    line("  until the safety backup stands", of(|run| run.safety.unwrap_or_default()));
    line("  from there to success", of(|run| run.end - run.safety.unwrap_or_default()));
    let count = runs[0].steps.len().max(1);
    let each = |run: &Run| {
        let first = run.steps.values().map(|(first, _)| *first).min().unwrap_or_default();
        let last = run.steps.values().filter_map(|(_, last)| *last).max().unwrap_or_default();
        (last - first) / u32::try_from(run.steps.len().max(1)).unwrap()
    };
    line(&format!("  share of one of {count} steps"), of(each));
    let keys: Vec<&String> = runs[0].steps.keys().collect();
    for key in keys {
        let mut times: Vec<Duration> = runs
            .iter()
            .filter_map(|run| run.steps.get(key))
            .filter_map(|(first, last)| Some((*last)? - *first))
            .collect();
        if !times.is_empty() {
            line(&format!("    {key}"), median_and_p99(&mut times));
        }
    }
    println!("  requests to the API server in one run: {}", runs[runs.len() / 2].requests);
}
