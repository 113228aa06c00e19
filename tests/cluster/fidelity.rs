//! The crash harness has an API server of its own in memory: here the real one answers the same script of requests.

use crate::fidelity_script;
use crate::support::control_plane::client;
use crate::support::world::World;

#[tokio::test]
async fn the_real_api_server_answers_as_the_one_in_memory() {
    let world = World::start(&["shop"]).await;
    let operator = client(&world.operator_kubeconfig).await;
    let said = fidelity_script::run(&world.admin, &operator).await;
    let (path, expected) = fidelity_script::expected();
    if std::env::var_os("UPDATE_FIDELITY").is_some() {
        return std::fs::write(&path, &said).unwrap();
    }
    assert_eq!(expected, said, "{} is not what the real API server answers", path.display());
}
