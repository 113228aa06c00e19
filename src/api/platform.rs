//! Where a component runs: one struct per platform, the names of their settings as the vendors call them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A hosted platform that a component can run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PlatformName {
    /// render.com
    Render,
    /// netlify.com
    Netlify,
    /// github.com or GitHub Enterprise Server
    Github,
    /// Feature flags behind an HTTP API
    FeatureFlags,
    /// A PostgreSQL database
    Postgres,
    /// Any address with HTTP: hooks
    Http,
}

impl PlatformName {
    /// The platforms that a component can run on, as far as this build speaks to them.
    pub const ALL: [Self; 5] = [Self::Render, Self::Netlify, Self::Github, Self::FeatureFlags, Self::Postgres];
    /// Those of them that a vendor hosts at one public address.
    pub const HOSTED: [Self; 3] = [Self::Render, Self::Netlify, Self::Github];

    /// The name as written in specs, flags and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Render => "render",
            Self::Netlify => "netlify",
            Self::Github => "github",
            Self::FeatureFlags => "featureFlags",
            Self::Postgres => "postgres",
            Self::Http => "http",
        }
    }

    /// Base address of the vendor's public API. `None`: its address stands in the component.
    pub const fn public_url(self) -> Option<&'static str> {
        match self {
            Self::Render => Some("https://api.render.com/v1"),
            Self::Netlify => Some("https://api.netlify.com/api/v1"),
            Self::Github => Some("https://api.github.com"),
            Self::FeatureFlags | Self::Postgres | Self::Http => None,
        }
    }
}

impl std::fmt::Display for PlatformName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A service on Render.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderSpec {
    /// Id of the service, as in the address of its dashboard page: `srv-…`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub service_id: String,
}

/// A site (a "project" in today's dashboard) on Netlify.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetlifySpec {
    /// Id of the site: a UUID, shown as "Project ID" in the project's configuration.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub site_id: String,
}

/// How a branch goes back to an earlier commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BranchRollback {
    /// A new commit on top of the head, with the files of the commit returned to. History stays; no force is needed.
    #[default]
    RestoreCommit,
    /// The branch is moved to the commit by force, and the old head is kept under a ref. Counts as destructive.
    ForcedMove,
}

/// A branch of a repository on GitHub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubSpec {
    /// User or organisation that owns the repository.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub owner: String,
    /// Name of the repository, without the owner.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub repository: String,
    /// Branch that production is built from, without `refs/heads/`.
    #[schemars(length(min = 1, max = 244), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$"))]
    pub branch: String,
    /// How the branch goes back: `RestoreCommit` (default) adds a commit with the old files, `ForcedMove` moves the branch itself.
    #[serde(default)]
    pub rollback: BranchRollback,
    /// Ref prefix under which backups and old heads are kept. Default `refs/savepoint`: a private namespace, because refs under
    /// `refs/heads/` start preview builds on some platforms.
    #[serde(default = "default_ref_prefix")]
    #[schemars(length(min = 6, max = 100), regex(pattern = r"^refs/[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"))]
    pub ref_prefix: String,
}

fn default_ref_prefix() -> String {
    "refs/savepoint".into()
}

/// A project on Vercel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VercelSpec {
    /// Id of the project: `prj_…`.
    #[schemars(length(min = 1, max = 64))]
    pub project_id: String,
    /// Id of the team that owns it: `team_…`. Absent: the token's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub team_id: Option<String>,
}

/// A service in an environment of a Railway project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RailwaySpec {
    /// Id of the project, a UUID.
    #[schemars(length(min = 1, max = 64))]
    pub project_id: String,
    /// Id of the environment, a UUID.
    #[schemars(length(min = 1, max = 64))]
    pub environment_id: String,
    /// Id of the service, a UUID.
    #[schemars(length(min = 1, max = 64))]
    pub service_id: String,
}

/// A project on Supabase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SupabaseSpec {
    /// Reference of the project: twenty letters, as in its address.
    #[schemars(length(min = 1, max = 64))]
    pub project_ref: String,
}

/// A deployment on Convex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConvexSpec {
    /// Name of the deployment, such as `happy-animal-123`.
    #[schemars(length(min = 1, max = 64))]
    pub deployment: String,
}

/// A PostgreSQL database, reached directly: not through a pooler that shares sessions between transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresSpec {
    /// Secret key that holds the connection string: `postgresql://user:password@host:5432/database`. The Secret must carry the label
    /// `savepoint.dev/use: postgres`. The server's certificate is always verified; only over a unix socket, on loopback and in networks
    /// of the operator's `--allow-cidr` may the string say `sslmode=disable`.
    pub connection_ref: super::SecretKeyRef,
    /// Secret key that holds the connection string of another database, which restores go to. Absent: they go to the same one. The data
    /// of the other database is replaced for good: backups, also the safety backup, are dumps of the one that connectionRef names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_ref: Option<super::SecretKeyRef>,
    /// Queries that give one value, such as a count of rows. They run with the dump, and in the transaction of a restore before it
    /// commits: a value that differs undoes the restore. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub integrity: Option<Vec<IntegrityQuery>>,
    /// How the newest migration is found. Absent: in the tables of Rails, Supabase, Prisma, Flyway, Alembic, Django, Drizzle and Knex,
    /// in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<MigrationsSpec>,
}

/// A query that tells whether data is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntegrityQuery {
    /// Name of the query, unique in the list, a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// One `SELECT` that gives one row of one column, and the same for the same data: nothing of time or chance. It runs read-only, for
    /// at most 30 seconds. Its value, of at most 256 characters, is shown in status.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
}

/// How the newest migration is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationsSpec {
    /// One `SELECT` that gives one row of one column: the version of the schema.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
}

/// A key whose inner form a later release settles. Refused by name until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reserved(pub serde_json::Value);

impl JsonSchema for Reserved {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reserved".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}
