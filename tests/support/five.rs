//! A production system of five components: backend, frontend, database, branch and feature flags. Broken as a whole, held against what it
//! shall be as a whole.

use super::platforms::sixty_one;
use super::postgres::{Database, GOOD, Server, WRONG};
use super::scenario::Production;
use super::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Token of the feature flags.
const FLAGS_TOKEN: &str = "flags-canary-0ffee5ecret";

/// Everything that can be read back, by name.
pub type State = BTreeMap<&'static str, Value>;

pub struct Five<'a> {
    pub world: &'a World,
    pub production: Production,
    pub database: Database<'a>,
    pub namespace: &'a str,
    pub target: String,
}

impl<'a> Five<'a> {
    /// Sets everything up, well, with the target that describes it. `name` is that of the target, the database and the platforms' resources.
    pub async fn create(world: &'a World, server: &'a Server, namespace: &'a str, name: &str, policy: &str) -> Self {
        let production = Production::create(&world.platforms, name).await;
        let database = Database::create(server, name).await;
        let five = Self { world, production, database, namespace, target: name.into() };
        world.platforms.post("/tokens", json!({"platform": "featureFlags", "token": FLAGS_TOKEN})).await;
        five.set_flags(false, 80).await;
        world.apply(&five.production.objects(namespace, name, policy)).await;
        for (secret, usage, content) in [
            ("flags", "http", json!({"token": FLAGS_TOKEN})),
            ("database", "postgres", json!({"url": five.database.url()})),
        ] {
            let object = json!({
                "apiVersion": "v1", "kind": "Secret", "stringData": content,
                "metadata": {"name": format!("{name}-{secret}"), "namespace": namespace, "labels": {"savepoint.dev/use": usage},
                             "annotations": {"savepoint.dev/allowed-hosts": "127.0.0.1"}},
            });
            world.apply(&object.to_string()).await;
        }
        five.add_components().await;
        five
    }

    async fn add_components(&self) {
        let Self { target, world, namespace, .. } = self;
        let flags = json!({
            "name": "flags", "role": "FeatureFlags", "credentialsRef": {"name": format!("{target}-flags"), "key": "token"},
            "featureFlags": {"flags": [self.flag("NEW_UI"), self.flag("VOICE")], "http": {"url": world.simulator.url("featureFlags")}},
        });
        let database = json!({
            "name": "database", "role": "Database",
            "postgres": {"connectionRef": {"name": format!("{target}-database"), "key": "url"},
                         "migrations": {"query": "SELECT max(version) FROM schema_migrations"},
                         "integrity": [{"name": "orders", "query": "SELECT count(*) FROM orders"}]},
        });
        let add = |value: Value| json!({"op": "add", "path": "/spec/components/-", "value": value});
        let patch = json!([add(flags), add(database)]).to_string();
        let kubectl = world.kubectl();
        kubectl.run(&["-n", namespace, "patch", "dtgt", target, "--type=json", "-p", &patch]).await.unwrap();
    }

    fn flag(&self, name: &str) -> String {
        format!("{name}-{}", self.target)
    }

    async fn set_flags(&self, new_ui: bool, voice: i64) {
        let platforms = &self.world.platforms;
        platforms.put(&format!("/featureFlags/{}", self.flag("NEW_UI")), json!({"enabled": new_ui})).await;
        let voice = json!({"enabled": true, "percentage": voice});
        platforms.put(&format!("/featureFlags/{}", self.flag("VOICE")), voice).await;
    }

    /// A release goes out with variables missing and a broken page, a wrong migration with it, and a flag is switched on.
    pub async fn break_everything(&self) -> State {
        self.database.make_well().await;
        self.database.migrate_wrongly().await;
        let bad = self.production.ship_broken(&self.world.platforms).await;
        self.set_flags(true, 100).await;
        let broken = self.state().await;
        assert_eq!((&broken["rows"], &broken["branch"]), (&json!(WRONG), &json!(bad)));
        broken
    }

    /// What is there now, read from the platforms themselves.
    pub async fn state(&self) -> State {
        let (platforms, production) = (&self.world.platforms, &self.production);
        let service = platforms.service(&production.service).await;
        let site = platforms.site(&production.site).await;
        let flags = platforms.get("/featureFlags").await;
        let of = |name: &str| {
            let found = &flags[self.flag(name)];
            json!([found["enabled"], found["percentage"]])
        };
        let application = self.database.application_writes().await;
        BTreeMap::from([
            ("variables", service["env"].clone()),
            ("backend", service["live"]["commit"]["id"].clone()),
            ("frontend", site["published"]["id"].clone()),
            ("branch", json!(production.head(platforms).await)),
            ("rows", json!(self.database.contents().await)),
            ("NEW_UI", of("NEW_UI")),
            ("VOICE", of("VOICE")),
            ("application", json!(application.err().unwrap_or_else(|| "writes".into()))),
        ])
    }

    /// What there is when all is well.
    pub fn well(&self) -> State {
        BTreeMap::from([
            ("variables", json!(sixty_one())),
            ("backend", json!(self.production.good)),
            ("frontend", json!(self.production.good_site_deploy)),
            ("branch", json!(self.production.good)),
            ("rows", json!(GOOD)),
            ("NEW_UI", json!([false, null])),
            ("VOICE", json!([true, 80])),
            ("application", json!("writes")),
        ])
    }

    /// How often data was restored into the database: marks of committed restores.
    pub async fn restores(&self) -> usize {
        let there = self.database.value("SELECT to_regclass('savepoint.restores') IS NOT NULL").await;
        if there != "t" {
            return 0;
        }
        self.database.value("SELECT count(*) FROM savepoint.restores").await.parse().unwrap()
    }

    /// A backup of tier Full.
    pub async fn back_up(&self, name: &str) {
        let backup = super::scenario::backup(self.namespace, name, &self.target);
        self.world.apply(&backup.replace("tier: Quick", "tier: Full")).await;
    }

    /// Asks for a Full rollback.
    pub async fn ask(&self, name: &str, to: &str) {
        let request = super::scenario::request(self.namespace, name, &self.target, "Full", to, "");
        self.world.apply(&request).await;
    }
}

/// What differs, in words: not the values of variables.
pub fn differences(found: &State, wanted: &State) -> Vec<String> {
    let differs = wanted.iter().filter(|(name, value)| found.get(*name) != Some(value));
    differs
        .map(|(name, value)| match *name {
            "variables" => "variables".to_owned(),
            name => format!("{name}: {} instead of {value}", found.get(name).unwrap_or(&Value::Null)),
        })
        .collect()
}
