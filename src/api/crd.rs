//! The CRDs as they are installed: derived from the types, then given what the derive cannot say.

use super::*;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, ValidationRule,
};
use kube::CustomResourceExt;

/// Names of the kinds, in the order in which they are documented.
pub const KINDS: [&str; 5] = ["DeploymentTarget", "DeploymentBackup", "RollbackRequest", "HealthPolicy", "BackupStore"];

/// Every CRD, ready to be applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        DeploymentTarget::crd(),
        DeploymentBackup::crd(),
        RollbackRequest::crd(),
        HealthPolicy::crd(),
        BackupStore::crd(),
    ];
    for crd in &mut crds {
        default_status(crd);
    }
    freeze_spec(&mut crds[1], &["pinned", "deletionPolicy", "ttl", "suspend"]);
    freeze_spec(&mut crds[2], &["confirmation", "cancel", "release", "suspend"]);
    crds
}

fn root_schema(crd: &mut CustomResourceDefinition) -> Option<&mut JSONSchemaProps> {
    crd.spec.versions.first_mut()?.schema.as_mut()?.open_api_v3_schema.as_mut()
}

/// kstatus calls an object without any status "Current": a default says that nobody has looked yet.
fn default_status(crd: &mut CustomResourceDefinition) {
    let status = root_schema(crd).and_then(|root| root.properties.as_mut()?.get_mut("status"));
    if let Some(status) = status {
        status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
        status.nullable = None;
    }
}

/// Makes every field of `spec` immutable but those named. One rule per field, on `spec`: a rule on an optional field itself does not
/// run when the field is added or removed later.
fn freeze_spec(crd: &mut CustomResourceDefinition, mutable: &[&str]) {
    let kind = crd.spec.names.kind.clone();
    let Some(spec) = root_schema(crd).and_then(|root| root.properties.as_mut()?.get_mut("spec")) else { return };
    let fields: Vec<String> = spec.properties.iter().flatten().map(|(name, _)| name.clone()).collect();
    let rules = spec.x_kubernetes_validations.get_or_insert_with(Vec::new);
    for field in fields.iter().filter(|field| !mutable.contains(&field.as_str())) {
        rules.push(ValidationRule {
            rule: format!(
                "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
            ),
            message: Some(format!("spec.{field} is immutable: make a new {kind}")),
            ..ValidationRule::default()
        });
    }
}
