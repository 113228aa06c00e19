//! A production system to break: a backend on Render, a frontend on Netlify, a branch on GitHub, and the objects that describe it.

use super::platforms::{GITHUB_TOKEN, NETLIFY_TOKEN, Platforms, RENDER_TOKEN, sixty_one};
use serde_json::{Value, json};

/// Variables without which the backend does not start.
pub const REQUIRED: [&str; 5] = ["DATABASE_URL", "JWT_SECRET", "STRIPE_KEY", "SETTING_01", "SETTING_02"];

/// What is in production, by id.
#[derive(Clone, Debug)]
pub struct Production {
    pub service: String,
    pub site: String,
    pub owner: String,
    pub repository: String,
    /// Commit that is live and good.
    pub good: String,
    /// Deploy of the backend that is live and good.
    pub good_deploy: String,
    /// Deploy of the frontend that is published and good.
    pub good_site_deploy: String,
}

impl Production {
    /// Sets everything up, live and healthy, with an earlier release behind it.
    pub async fn create(platforms: &Platforms, name: &str) -> Self {
        let owner = "acme".to_owned();
        let commits = json!([
            {"message": "Begin the shop", "files": {"app.py": "print('shop')"}},
            {"message": "Add the checkout", "files": {"checkout.py": "total = 1"}},
        ]);
        let made = platforms
            .post("/github/repos", json!({"owner": owner, "name": name, "branch": "main", "commits": commits}))
            .await;
        let sha = |n: usize| made["commits"][n].as_str().unwrap().to_owned();
        let (old, good) = (sha(0), sha(1));
        let service = platforms
            .post(
                "/render/services",
                json!({"name": format!("{name}-api"), "env": sixty_one(), "requiredEnv": REQUIRED,
                       "firstDeploy": {"commit": old, "message": "Begin the shop"}}),
            )
            .await;
        let service = service["id"].as_str().unwrap().to_owned();
        let deploy = json!({"commit": good, "message": "Add the checkout", "instant": true});
        let deployed = platforms.post(&format!("/render/services/{service}/deploys"), deploy.clone()).await;
        let site = platforms
            .post(
                "/netlify/sites",
                json!({"name": format!("{name}-web"), "accountSlug": "acme", "env": [
                    {"key": "VITE_BACKEND_URL", "values": [{"context": "all", "value": "https://api.example.com/s3cr3t"}]},
                    {"key": "VITE_THEME", "values": [{"context": "production", "value": "dark-s3cr3t"}, {"context": "dev", "value": ""}]},
                    {"key": "SENTRY_AUTH", "isSecret": true, "scopes": ["builds", "functions", "runtime"],
                     "values": [{"context": "production", "value": "masked-s3cr3t"}]},
                ], "firstDeploy": {"commit": old, "message": "Begin the shop"}}),
            )
            .await;
        let site = site["id"].as_str().unwrap().to_owned();
        let published = platforms.post(&format!("/netlify/sites/{site}/deploys"), deploy).await;
        let id = |value: &Value| value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned();
        Self {
            service,
            site,
            owner,
            repository: name.into(),
            good,
            good_deploy: id(&deployed),
            good_site_deploy: id(&published),
        }
    }

    /// A release goes out with five variables missing and a broken page. Gives the bad commit.
    pub async fn ship_broken(&self, platforms: &Platforms) -> String {
        let pushed = platforms
            .post(
                &format!("/github/repos/{}/{}/push", self.owner, self.repository),
                json!({"branch": "main", "message": "Rewrite the checkout", "files": {"checkout.py": "total = None"}}),
            )
            .await;
        let bad = pushed["head"].as_str().unwrap().to_owned();
        let message = "Rewrite the checkout";
        platforms
            .post(
                &format!("/render/services/{}/deploys", self.service),
                json!({"commit": bad, "message": message, "instant": true, "unsetEnv": REQUIRED,
                       "setEnv": {"SETTING_10": "changed-by-the-release-s3cr3t", "NEW_FLAG": "added-by-the-release-s3cr3t"}}),
            )
            .await;
        platforms
            .post(
                &format!("/netlify/sites/{}/deploys", self.site),
                json!({"commit": bad, "message": message, "instant": true, "broken": true}),
            )
            .await;
        bad
    }

    /// Head of the branch.
    pub async fn head(&self, platforms: &Platforms) -> String {
        let truth = platforms.repository(&self.owner, &self.repository).await;
        truth["refs"]["refs/heads/main"].as_str().unwrap_or_else(|| panic!("no main in {truth}")).to_owned()
    }

    /// Secret and target. `policy` is the YAML of `spec.rollback`.
    pub fn objects(&self, namespace: &str, target: &str, policy: &str) -> String {
        let Self { service, site, owner, repository, .. } = self;
        format!(
            r#"
apiVersion: v1
kind: Secret
metadata: {{name: platform-tokens, namespace: {namespace}, labels: {{savepoint.dev/use: platform}}}}
stringData: {{render: "{RENDER_TOKEN}", netlify: "{NETLIFY_TOKEN}", github: "{GITHUB_TOKEN}"}}
---
apiVersion: savepoint.dev/v1alpha1
kind: DeploymentTarget
metadata: {{name: {target}, namespace: {namespace}}}
spec:
  components:
  - name: backend
    role: Backend
    render: {{serviceId: {service}}}
    credentialsRef: {{name: platform-tokens, key: render}}
    environment: {{required: [DATABASE_URL, JWT_SECRET, STRIPE_KEY, SETTING_01, SETTING_02], exclude: [BUILD_ID]}}
  - name: frontend
    role: Frontend
    netlify: {{siteId: {site}}}
    credentialsRef: {{name: platform-tokens, key: netlify}}
    dependsOn: [backend]
  - name: source
    role: Source
    github: {{owner: {owner}, repository: {repository}, branch: main, rollback: ForcedMove}}
    credentialsRef: {{name: platform-tokens, key: github}}
  backup: {{maxAge: 1h}}
  rollback: {policy}
"#
        )
    }
}

/// A quick backup of a target.
pub fn backup(namespace: &str, name: &str, target: &str) -> String {
    format!(
        r#"
apiVersion: savepoint.dev/v1alpha1
kind: DeploymentBackup
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{targetRef: {{name: {target}}}, tier: Quick, notes: "before the Friday release"}}
"#
    )
}

/// A request; `rest` is more of its spec, as YAML in flow style without the outer braces.
pub fn request(namespace: &str, name: &str, target: &str, strategy: &str, to: &str, rest: &str) -> String {
    let rest = if rest.is_empty() { String::new() } else { format!(", {rest}") };
    format!(
        r#"
apiVersion: savepoint.dev/v1alpha1
kind: RollbackRequest
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{targetRef: {{name: {target}}}, reason: "checkout broken since 14:02", initiatedBy: on-call, strategy: {strategy}, to: {to}{rest}}}
"#
    )
}
