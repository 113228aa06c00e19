//! No secret value in any status, event, log line or error of a whole run.

use crate::objects::*;
use crate::requests::broken;
use crate::support::operator::read_log;
use crate::support::platforms::CANARIES;
use crate::support::scenario;
use serde_json::json;

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    // Errors of every kind on the way: they must not carry what they were about.
    for kind in [json!({"status": {"code": 500}}), json!({"truncate": {"bytes": 40}}), json!({"html": {"code": 200}})] {
        world.platforms.fault(json!({"platform": "render", "method": "GET", "path": "env-vars", "kind": kind})).await;
    }
    world.platforms.fault(json!({"platform": "render", "method": "PUT", "path": "env-vars/.*", "kind": {"afterEffect": {"code": 500}}})).await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Full", "{backupRef: {name: friday}}", "")).await;
    phase(&world, SHOP, "back", "Succeeded").await;
    let kinds = "dtgt,dbak,rbr,hpol,bstore,events.events.k8s.io,leases.coordination.k8s.io,configmaps";
    let objects = world.kubectl().run(&["get", kinds, "-A", "-o", "yaml"]).await.unwrap();
    let log = read_log(&world.operator().log);
    assert!(log.len() > 1_000, "there is no log to look at");
    for (name, text) in [("objects", &objects), ("log", &log)] {
        for canary in CANARIES {
            let found = text.find(canary).map(|at| text.get(at.saturating_sub(200)..at + 40));
            assert!(found.is_none(), "a secret value is in the {name}: {found:?}");
        }
        let encoded = "czNjcjN0"; // base64 of the canary
        assert!(!text.contains(encoded), "a secret value is in the {name}, in base64");
    }
}
