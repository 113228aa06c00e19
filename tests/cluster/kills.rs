//! The operator is killed at every numbered point of a Full rollback of five components, one after the other, in one world.

use crate::five::world;
use crate::objects::*;
use crate::support::five::{Five, differences};
use crate::support::operator::{Operator, Start, read_log};
use crate::support::world::{SYSTEM, World};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use savepoint::api::*;
use serde_json::json;
use std::time::{Duration, Instant};

/// Longest time for one rollback with its kill.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at: looking takes more of two cores than the rollback does.
const LOOK: Duration = Duration::from_millis(200);

/// What one rollback came to.
#[derive(Debug, Default)]
struct Verdict {
    at: String,
    killed: bool,
    /// It died while an intent was open.
    unknown: bool,
    /// The operator died inside the restore's transaction. PostgreSQL took it back, and the engine does not send a restore twice: it says that
    /// nothing changed, lets the application in again and ends the run as failed.
    broken_off: bool,
    /// A person was asked about an unknown outcome.
    asked: bool,
    outcome: Option<Outcome>,
    /// Calls without a key that took effect, and restores that were committed.
    keyless: usize,
    restores: usize,
    locks: usize,
    /// Objects that were deleted and are still there.
    stuck: Vec<String>,
    /// What is not as it shall be after a success.
    differs: Vec<String>,
    /// From the start of the operator that was to take over to the end of the rollback.
    took: Duration,
}

impl Verdict {
    /// What is wrong with it.
    fn faults(&self) -> Vec<String> {
        let mut faults = self.differs.clone();
        let mut fault = |is_bad: bool, words: &str| faults.extend(is_bad.then(|| words.to_owned()));
        fault(self.outcome.is_none(), "did not end");
        fault(self.asked && !self.unknown, "a person was asked although the outcome can be known");
        fault(self.asked && self.keyless > 0, "a person was asked although the call left a trace");
        fault(!self.asked && !self.broken_off && self.outcome != Some(Outcome::Succeeded), "did not succeed");
        fault(self.broken_off && self.restores > 0, "said to have changed nothing, and restored");
        fault(self.keyless > 1 || self.restores > 1, "an effect was repeated");
        fault(self.locks > 0, "locks are left");
        fault(!self.stuck.is_empty(), "finalizers are stuck");
        faults
    }
}

/// An operator that dies once.
struct Mortal {
    operator: Operator,
    start: Start,
    since: Instant,
}

impl Mortal {
    /// Starts it again once it is dead, and then to live.
    async fn revive(&mut self, world: &World, verdict: &mut Verdict) {
        if verdict.killed || !self.operator.has_ended() {
            return;
        }
        verdict.killed = true;
        verdict.unknown = died_with_an_open_intent(&points(&read_log(&self.start.log)));
        free_the_lease(world).await;
        self.start.kill_at = None;
        self.since = Instant::now();
        self.operator = Operator::start(&self.start);
    }
}

/// The world, its scene, and what has been seen of both.
struct Loop<'a> {
    world: &'a World,
    five: Five<'a>,
    runs: u32,
}

impl Loop<'_> {
    /// One rollback from broken to well, its request deleted at the end, by an operator that dies at `at`.
    async fn run(&mut self, at: &str) -> Verdict {
        self.runs += 1;
        let name = format!("back-{}", self.runs);
        self.five.break_everything().await;
        let (keyless, restores) = self.effects().await;
        let mut start = self.world.operator();
        start.kill_at = Some(at.into());
        start.log = self.world.folder.join(format!("operator-{}.log", self.runs));
        free_the_lease(self.world).await;
        let mut mortal = Mortal { operator: Operator::start(&start), start, since: Instant::now() };
        let mut verdict = Verdict { at: at.into(), ..Verdict::default() };
        self.five.ask(&name, "{backupRef: {name: friday}}").await;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            mortal.revive(self.world, &mut verdict).await;
            if self.look(&name, &mut verdict, mortal.since).await {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let now = self.effects().await;
        (verdict.keyless, verdict.restores) = (now.0 - keyless, now.1 - restores);
        self.clean_up(&mut mortal, &mut verdict).await;
        mortal.operator.kill().await;
        verdict
    }

    /// Calls without a key that took effect, and committed restores, so far.
    async fn effects(&self) -> (usize, usize) {
        (self.world.platforms.count("render.rollback").await, self.five.restores().await)
    }

    /// Does what a person would: confirm, answer, and delete the request once it has ended. Gives whether the request is gone.
    async fn look(&self, name: &str, verdict: &mut Verdict, since: Instant) -> bool {
        let found = api::<RollbackRequest>(self.world, SHOP).get_opt(name).await.unwrap();
        let Some(found) = found else { return true };
        if found.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let status = found.status.unwrap_or_default();
        let Some(plan) = &status.plan else { return false };
        if let Some(outcome) = status.outcome {
            verdict.outcome = Some(outcome);
            verdict.took = since.elapsed();
            let mut wanted = self.five.well();
            if outcome != Outcome::Succeeded {
                wanted.retain(|name, _| *name == "application"); // whatever happens, it is let in again
            }
            verdict.differs = differences(&self.five.state().await, &wanted);
            verdict.broken_off = restore_broke_off(plan, &status.steps);
            api::<RollbackRequest>(self.world, SHOP).delete(name, &DeleteParams::default()).await.unwrap();
        } else if let Some(question) = &status.question {
            verdict.asked = true;
            self.answer(name, &plan.digest, &question.attempt).await;
        } else if status.confirmed_at.is_none() && status.phase.as_deref() == Some("AwaitingConfirmation") {
            let confirmation = json!({"planDigest": plan.digest, "confirmedBy": admin_name(self.world).await});
            patch_request(self.world, SHOP, name, json!({"confirmation": confirmation})).await;
        }
        false
    }

    /// The person at the dashboard finds that nothing happened: every point at which an answer is asked for lies before the effect.
    async fn answer(&self, name: &str, digest: &str, attempt: &str) {
        let confirmation = json!({
            "planDigest": digest, "confirmedBy": admin_name(self.world).await,
            "answers": [{"attempt": attempt, "outcome": "NotApplied"}],
        });
        patch_request(self.world, SHOP, name, json!({"confirmation": confirmation})).await;
    }

    /// Deletes the safety backups, and looks what is left.
    async fn clean_up(&self, mortal: &mut Mortal, verdict: &mut Verdict) {
        let backups = api::<DeploymentBackup>(self.world, SHOP);
        let safety = ListParams::default().labels(MADE_BY_LABEL);
        let _ = backups.delete_collection(&DeleteParams::default(), &safety).await.unwrap();
        let locks: Api<Lease> = Api::namespaced(self.world.admin.clone(), SYSTEM);
        let ends = Instant::now() + Duration::from_secs(20);
        loop {
            mortal.revive(self.world, verdict).await;
            let left = backups.list(&safety).await.unwrap().items.into_iter().map(|backup| backup.name_any());
            let requests = api::<RollbackRequest>(self.world, SHOP).list(&ListParams::default()).await.unwrap().items;
            verdict.stuck = left.chain(requests.into_iter().map(|request| request.name_any())).collect();
            verdict.locks = locks.list(&ListParams::default().labels("savepoint.dev/lock")).await.unwrap().items.len();
            if (verdict.stuck.is_empty() && verdict.locks == 0) || Instant::now() > ends {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The operator that held the lease is dead for certain: without this, every start would wait until the lease has run out.
async fn free_the_lease(world: &World) {
    let leases: Api<Lease> = Api::namespaced(world.admin.clone(), SYSTEM);
    let free = json!({"spec": {"holderIdentity": null}});
    let freed = leases.patch("savepoint-operator", &PatchParams::default(), &Patch::Merge(free)).await;
    assert!(freed.is_ok() || matches!(&freed, Err(kube::Error::Api(status)) if status.code == 404), "{freed:?}");
}

fn restore_broke_off(plan: &Plan, records: &[StepRecord]) -> bool {
    let restore = plan.steps.iter().find(|step| matches!(step.change, Change::RestoreData { .. }));
    let record = restore.and_then(|step| records.iter().find(|record| record.key == step.key));
    let said = record.filter(|record| record.state == StepState::Failed).and_then(|record| record.message.as_deref());
    said.is_some_and(|said| said.contains("nothing changed"))
}

/// The points of a run that was not killed, in order.
fn points(log: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| line.strip_prefix("failpoint "));
    lines.filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

/// Whether the operator died while an intent was open: whether its call was taken, no log says.
fn died_with_an_open_intent(points: &[String]) -> bool {
    let of_step = |point: &&String| point.starts_with("before-intent:") || point.starts_with("after-outcome:");
    points.iter().rfind(of_step).is_some_and(|last| last.starts_with("before-intent:"))
}

/// A clean run, then one run for each of the points that `choose` leaves of it. Prints a table as it goes.
async fn kill_at(choose: impl FnOnce(Vec<String>) -> Vec<String>) {
    let (world, server) = world().await;
    let five = Five::create(&world, &server, SHOP, "shop", "{freeze: DuringRollback}").await;
    let operator = world.start_operator();
    five.back_up("friday").await;
    backup_verified(&world, "friday").await;
    operator.kill().await;
    let mut rounds = Loop { world: &world, five, runs: 0 };
    let clean = rounds.run("never").await;
    assert_eq!(clean.faults(), [""; 0], "{clean:?}");
    let points = points(&read_log(&world.folder.join("operator-1.log")));
    println!("{} points; a run that is not killed takes {:.1} s", points.len(), clean.took.as_secs_f64());
    println!(
        "| point | killed | outcome | asked | keyless | restores | locks | s | wrong |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut bad = Vec::new();
    for at in choose(points) {
        let verdict = rounds.run(&at).await;
        let faults = verdict.faults();
        let Verdict { at, outcome, asked, keyless, restores, locks, took, .. } = &verdict;
        let (killed, asked) = (yes(verdict.killed), yes(*asked));
        let outcome = outcome.map_or("none".into(), |outcome| format!("{outcome:?}"));
        let seconds = took.as_secs_f64();
        println!(
            "| {at} | {killed} | {outcome} | {asked} | {keyless} | {restores} | {locks} | {seconds:.1} | {} |",
            faults.join("; ")
        );
        if !faults.is_empty() {
            bad.push((verdict, faults));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

const fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "" }
}

/// About every kind of thing that leaves the process; `make kill-all` goes through all of them.
#[tokio::test]
async fn killed_at_six_points_of_five_components() {
    if std::env::var_os("SAVEPOINT_TEST_KILLS").is_none() {
        return; // minutes on a busy machine: part of `make kill-all`
    }
    let sample = [
        "after-lock:2",
        "after-safety-backup:1",
        "before-commit:1",
        "after-commit:1",
        "after-keyless-effect:2",
        "after-unlock:1",
    ];
    kill_at(|points| {
        let there = |point: &&&str| points.iter().any(|one| one == **point);
        assert_eq!(sample.iter().filter(there).count(), sample.len(), "{points:?}");
        sample.map(str::to_owned).to_vec()
    })
    .await;
}

/// `make kill-all`, or with `EVERY=10` every tenth point.
#[tokio::test]
async fn killed_at_every_point_of_five_components() {
    let Some(every) = std::env::var("SAVEPOINT_TEST_KILL_EVERY").ok().and_then(|every| every.parse().ok()) else {
        return;
    };
    let from = std::env::var("SAVEPOINT_TEST_KILL_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    kill_at(|points| points.into_iter().skip(from).step_by(every).collect()).await;
}
