//! Recovery: from the start of the process to the next record of the step that the kill interrupted.

use crate::support::operator::Operator;
use crate::{SHOP, Scene, median_and_p99, start_again};
use futures::TryStreamExt;
use kube::runtime::watcher;
use savepoint::api::*;
use serde_json::json;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Kills the operator while a call that must not be repeated is under way, again and again.
pub async fn measure(scene: &Scene<'_>, mut operator: Operator, kills: usize) {
    let mut times = Vec::new();
    for kill in 0..kills {
        let name = format!("recovery-{kill}");
        // The effect happens at once, its answer comes too late: this is what a crash in the middle of a step leaves behind.
        let hangs =
            json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"hangAfterEffect": {}}});
        scene.world.platforms.fault(hangs).await;
        let before = scene.world.platforms.count("render.rollback").await;
        let plan = scene.ask(&name, "components: [backend, frontend, source, flags]").await;
        scene.confirm(&name, &plan).await;
        while scene.world.platforms.count("render.rollback").await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        operator.kill().await;
        scene.world.platforms.clear_faults().await;
        let begun = Instant::now();
        operator = start_again(scene.world).await;
        times.push(next_record(scene, &name, begun).await);
        scene.world.kubectl().run(&["-n", SHOP, "delete", "rbr", &name, "--timeout=60s"]).await.unwrap();
    }
    let (median, p99) = median_and_p99(&mut times);
    println!(
        "\nrecovery, {kills} kills in the middle of a call without a key: median {:.0} ms, p99 {:.0} ms from process start to the \
         step's next record. The lease of the dead leader was given back; else its rest is waited for as well (--lease-duration)",
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
    drop(operator);
}

/// Waits until the interrupted step has another record, and then until the run has ended.
async fn next_record(scene: &Scene<'_>, name: &str, begun: Instant) -> Duration {
    let watched = watcher(scene.requests(), watcher::Config::default().fields(&format!("metadata.name={name}")));
    let mut watched = pin!(watched);
    let mut recorded = None;
    while let Some(event) = watched.try_next().await.unwrap() {
        let (watcher::Event::Apply(seen) | watcher::Event::InitApply(seen)) = event else { continue };
        let status = seen.status.unwrap_or_default();
        let open = status.steps.iter().any(|record| record.state == StepState::Started);
        if !open && recorded.is_none() {
            recorded = Some(begun.elapsed());
        }
        if let Some(outcome) = status.outcome {
            assert_eq!(outcome, Outcome::Succeeded, "{:?}", status.message);
            return recorded.unwrap_or_else(|| begun.elapsed());
        }
    }
    unreachable!("the watch ended")
}
