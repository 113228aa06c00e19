//! How long the operator itself takes, on a real API server. `make bench`; docs in `benches/README.md`.
//!
//! The platforms answer at once, so what is left is the operator and the API server. Not a test: nothing here fails for being slow.

#[path = "../../tests/support/mod.rs"]
mod support;

mod recovery;
mod requests;
mod share;

use kube::Api;
use kube::api::{Patch, PatchParams};
use savepoint::api::*;
use serde_json::json;
use std::time::Duration;
use support::five::Five;
use support::operator::Operator;
use support::postgres::Server;
use support::wait::until;
use support::world::World;

/// Namespace of everything that is measured.
pub const SHOP: &str = "shop";

/// One thread: the operator and the database server are tied to the thread that starts them.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let number = |name: &str, default: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let world = World::start(&[SHOP]).await;
    let server = Server::start(&world.folder);
    world.platforms.put("/settings", json!({"phaseMillis": 0})).await;
    let policy = "{confirmation: Always, freeze: DuringRollback}";
    let scene = Scene { five: Five::create(&world, &server, SHOP, "shop", policy).await, world: &world };
    let operator = world.start_operator();
    scene.five.back_up("friday").await;
    scene.verified("friday").await;
    let profile = if cfg!(debug_assertions) { "without optimisation" } else { "optimised" };
    println!("operator built {profile}; {} cores", std::thread::available_parallelism().map_or(0, usize::from));
    share::measure(&scene, number("RUNS", 5)).await;
    recovery::measure(&scene, operator, number("KILLS", 20)).await;
}

/// The world and what is measured in it.
pub struct Scene<'a> {
    pub world: &'a World,
    pub five: Five<'a>,
}

impl Scene<'_> {
    pub fn requests(&self) -> Api<RollbackRequest> {
        Api::namespaced(self.world.admin.clone(), SHOP)
    }

    async fn verified(&self, name: &str) {
        let backups = Api::<DeploymentBackup>::namespaced(self.world.admin.clone(), SHOP);
        until("the backup", || async {
            let status = backups.get(name).await.unwrap().status.unwrap_or_default();
            if is_true(&status.conditions, ConditionType::Verified) { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Breaks production and asks for everything back; gives when the plan is there.
    pub async fn ask(&self, name: &str, components: &str) -> Plan {
        self.five.break_everything().await;
        let to = "{backupRef: {name: friday}}";
        let request = support::scenario::request(SHOP, name, "shop", "Full", to, components);
        self.world.apply(&request).await;
        until("the plan", || async {
            let status = self.requests().get(name).await.unwrap().status.unwrap_or_default();
            status.plan.clone().ok_or(status)
        })
        .await
    }

    /// Confirms a plan.
    pub async fn confirm(&self, name: &str, plan: &Plan) {
        let body = json!({"spec": {"confirmation": {"planDigest": plan.digest, "confirmedBy": "admin"}}});
        self.requests().patch(name, &PatchParams::default(), &Patch::Merge(body)).await.unwrap();
    }
}

/// Starts the operator again after its death; the lease of the dead one is given back, because how long a lease lasts is a setting.
pub async fn start_again(world: &World) -> Operator {
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(world.admin.clone(), support::world::SYSTEM);
    let free = json!({"spec": {"holderIdentity": null}});
    leases.patch("savepoint-operator", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    world.start_operator()
}

/// Median, and the value below which 99 of 100 lie.
pub fn median_and_p99(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    let at = |share: usize| times[(times.len() * share).div_ceil(100).saturating_sub(1).min(times.len() - 1)];
    (at(50), at(99))
}
