//! The custom resources: pure types, their schema and its rules. No I/O, no clock.
//!
//! Field docs are what `kubectl explain` prints: unit, default, and what absence means.

#![allow(clippy::duplicated_attributes)] // `printcolumn(type_ = …)` of kube's derive repeats by design

mod backup;
mod change;
mod check;
mod condition;
mod crd;
mod duration;
mod feature_flags;
mod health_policy;
mod not_yet_supported;
mod notification;
mod plan;
mod platform;
mod policy;
mod refs;
mod rollback;
mod store;
mod target;

pub use backup::*;
pub use change::*;
pub use check::*;
pub use condition::*;
pub use crd::{GeneratedFile, KINDS, crd_files, crds};
pub use duration::*;
pub use feature_flags::*;
pub use health_policy::*;
pub use not_yet_supported::{NOT_YET_SUPPORTED, Unsupported, unsupported_fields};
pub use notification::*;
pub use plan::*;
pub use platform::*;
pub use policy::*;
pub use refs::*;
pub use rollback::*;
pub use store::*;
pub use target::*;

/// API group of every kind.
pub const GROUP: &str = "savepoint.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";

/// Set by a user to any new value: look again now. Echoed in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "savepoint.dev/reconcile-requested-at";
/// Label on a Secret by which its owner allows a use of it (`platform`, `http`, `store`, `postgres`).
pub const SECRET_USE_LABEL: &str = "savepoint.dev/use";
/// Annotation on a Secret: comma-separated hosts that it may be sent to, for addresses that a user chose.
pub const SECRET_ALLOWED_HOSTS: &str = "savepoint.dev/allowed-hosts";
/// Finalizer on every kind that must not vanish while something depends on it.
pub const FINALIZER: &str = "savepoint.dev/operator";
/// Label on objects that a request or a policy made: the uid of the maker.
pub const MADE_BY_LABEL: &str = "savepoint.dev/made-by";
