//! Five components on two kinds of truth: the simulator's and a real PostgreSQL's.

use crate::objects::*;
use crate::support::five::{Five, differences};
use crate::support::operator::Operator;
use crate::support::postgres::Server;
use crate::support::scenario;
use crate::support::wait::until;
use crate::support::world::{SYSTEM, World};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use savepoint::api::*;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// A world with a database server in it, which goes with it.
pub async fn world() -> (World, Server) {
    let world = World::start(&[SHOP]).await;
    let server = Server::start(&world.folder);
    (world, server)
}

/// Writes all the time, and remembers what kept it from writing.
async fn keep_writing(five: &Five<'_>, refusals: &RefCell<BTreeSet<String>>) {
    loop {
        if let Err(why) = five.database.application_writes().await {
            refusals.borrow_mut().insert(why);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn safety_tier(world: &World, status: &RollbackRequestStatus) -> Tier {
    let name = &status.safety_backup_ref.as_ref().expect("a safety backup").name;
    let safety = api::<DeploymentBackup>(world, SHOP).get(name).await.unwrap();
    assert!(is_true(&safety.status.unwrap().conditions, ConditionType::Verified));
    safety.spec.tier
}

/// Integrity queries of a column that the wrong migration dropped, and of a table that is newer than the backup: neither may keep anybody
/// from going back.
async fn ask_what_one_of_them_lacks(world: &World) {
    let queries = [("total", "SELECT sum(total) FROM orders"), ("wrong", "SELECT count(*) FROM wrong")];
    let path = "/spec/components/4/postgres/integrity/-"; // the database is the last one
    let add = |(name, query): (&str, &str)| json!({"op": "add", "path": path, "value": {"name": name, "query": query}});
    let patch = json!(queries.map(add)).to_string();
    let kubectl = world.kubectl();
    kubectl.run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", &patch]).await.unwrap();
}

#[tokio::test]
async fn full_rollback_of_five_components_and_back_again() {
    let (world, server) = world().await;
    // Nobody is asked by this policy: data is asked about all the same.
    let five = Five::create(&world, &server, SHOP, "shop", "{confirmation: Never, freeze: DuringRollback}").await;
    let _operator = world.start_operator();
    five.back_up("friday").await;
    backup_verified(&world, "friday").await;
    let broken = five.break_everything().await;
    let session = server.connect("shop_app", "shop").await.unwrap(); // of the application, from before
    ask_what_one_of_them_lacks(&world).await;
    five.ask("back", "{backupRef: {name: friday}}").await;
    let plan = phase(&world, SHOP, "back", "AwaitingConfirmation").await.status.unwrap().plan.unwrap();
    assert!(plan.destructive && plan.safety_tier == Some(Tier::Full), "{plan:#?}");
    let concerned: BTreeSet<&str> = plan.steps.iter().map(|step| step.component.as_str()).collect();
    assert_eq!(concerned, BTreeSet::from(["backend", "database", "flags", "frontend", "source"]));
    assert_eq!(differences(&five.state().await, &broken), [""; 0], "before the confirmation");
    confirm(&world, SHOP, "back").await;
    let refusals = RefCell::default();
    let done = tokio::select! {
        done = phase(&world, SHOP, "back", "Succeeded") => done.status.unwrap(),
        () = keep_writing(&five, &refusals) => unreachable!(),
    };
    assert_eq!(differences(&five.state().await, &five.well()), [""; 0]);
    // The hold is taken back after the outcome stands: its steps may be under way.
    let mut planned = done.steps.iter().filter(|step| !step.key.starts_with("release"));
    assert!(planned.all(|step| step.state == StepState::Verified && step.evidence.is_some()));
    assert!(!refusals.borrow().is_empty(), "the application was never held off");
    assert!(session.simple_query("SELECT 1").await.is_err(), "a session from before is still there");
    assert_eq!(safety_tier(&world, &done).await, Tier::Full);
    assert_eq!((world.platforms.count("render.rollback").await, five.restores().await), (1, 1));
    // The hold ends after the outcome stands; a plan that was made before would be made anew.
    target_says(&world, "shop", ConditionType::Frozen, "False/NotFrozen").await;
    // And back again: the safety backup of the first request is what was broken, data and all.
    five.ask("undo", "{undoOf: {name: back}}").await;
    confirm(&world, SHOP, "undo").await;
    let undone = phase(&world, SHOP, "undo", "Succeeded").await.status.unwrap();
    assert_eq!(differences(&five.state().await, &broken), [""; 0]);
    assert!(undone.confirmed_by.is_some(), "data is asked about again");
    assert_eq!(safety_tier(&world, &undone).await, Tier::Full);
}

#[tokio::test]
async fn a_leader_paused_past_its_lease_repeats_nothing_of_five_components() {
    let (world, server) = world().await;
    let five = Five::create(&world, &server, SHOP, "shop", "{freeze: DuringRollback}").await;
    let first = world.start_operator();
    five.back_up("friday").await;
    backup_verified(&world, "friday").await;
    five.break_everything().await;
    let leases: Api<Lease> = Api::namespaced(world.admin.clone(), SYSTEM);
    let epoch = || async { leases.get("savepoint-operator").await.unwrap().spec.unwrap().lease_transitions.unwrap() };
    let before = epoch().await;
    let _second = Operator::start(&world.operator());
    let slow = json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"slow": {"millis": 1500}}});
    world.platforms.fault(slow).await;
    five.ask("back", "{backupRef: {name: friday}}").await;
    confirm(&world, SHOP, "back").await;
    until("the rollback call", || async {
        if world.platforms.count("render.rollback").await == 1 { Ok(()) } else { Err(()) }
    })
    .await;
    first.signal("STOP").await;
    until("the second replica to take over", || async {
        let now = epoch().await;
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
    first.signal("CONT").await;
    let status = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    assert_eq!((world.platforms.count("render.rollback").await, five.restores().await), (1, 1));
    assert_eq!(differences(&five.state().await, &five.well()), [""; 0]);
    assert!(status.steps.iter().all(|step| step.state == StepState::Verified));
    assert!(!first.ended().await.success(), "the deposed leader ends by itself");
}

#[tokio::test]
async fn a_lost_dump_is_found_out_before_the_application_is_held_off() {
    let (world, server) = world().await;
    let five = Five::create(&world, &server, SHOP, "shop", "{confirmation: Never}").await;
    let _operator = world.start_operator();
    five.back_up("friday").await;
    let held = backup_verified(&world, "friday").await.status.unwrap();
    let dump = held.components.iter().find_map(|component| component.data.as_ref()).unwrap();
    std::fs::remove_file(world.folder.join("store").join(&dump.location)).unwrap();
    let before = five.state().await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Database", "{backupRef: {name: friday}}", "")).await;
    let message = request_says(&world, "back", ConditionType::Succeeded, "False/PayloadMissing").await;
    assert!(message.contains("friday") && message.contains("Nothing was changed"), "{message}");
    assert_eq!(differences(&five.state().await, &before), [""; 0]);
}
