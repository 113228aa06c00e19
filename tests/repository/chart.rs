//! What the chart installs: flags that the operator knows, a restricted pod, admission that fails closed.

use crate::helm::{EVERYTHING, NAMESPACE, helm, of_kind, rendered};
use clap::{CommandFactory, Parser};
use savepoint::config::Config;
use serde_json::{Value, json};

fn pod(objects: &[Value]) -> Value {
    of_kind(objects, "Deployment").next().expect("a Deployment")["spec"]["template"]["spec"].clone()
}

fn arguments(objects: &[Value]) -> Vec<String> {
    serde_json::from_value(pod(objects)["containers"][0]["args"].clone()).unwrap()
}

#[test]
fn lint_finds_nothing() {
    for values in ["{}", EVERYTHING] {
        let output = helm(&["lint", "--strict"], values);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn mistakes_in_values_are_refused_with_words() {
    let mistakes = [
        ("replica: 2", "'replica'"),
        ("operator: {allowedCidrs: [example.com]}", "/operator/allowedCidrs/0"),
        ("operator: {observeInterval: 1.5m}", "/operator/observeInterval"),
        ("credentialNamespaces: ['*']", "/credentialNamespaces/0"),
        ("networkPolicy: {enabled: true}", "networkPolicy.apiServerCidrs is empty"),
    ];
    for (values, words) in mistakes {
        let output = helm(&["template", "savepoint"], values);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{values}: wanted {words:?}: {said}");
    }
}

#[test]
fn arguments_are_flags_of_the_operator() {
    for values in ["{}", EVERYTHING] {
        let arguments = arguments(&rendered(values));
        let config = Config::try_parse_from(std::iter::once("savepoint".to_owned()).chain(arguments.clone()));
        config.unwrap_or_else(|error| panic!("{arguments:?}: {error}")).check().unwrap();
    }
    // Nothing is reachable by a flag that the chart cannot set. These come from the pod, by its environment.
    let from_the_pod = ["namespace", "replica", "root-certificates", "help", "version"];
    let everything = arguments(&rendered(EVERYTHING));
    for flag in Config::command().get_arguments().filter_map(|argument| argument.get_long()) {
        let set = everything.iter().any(|argument| argument.starts_with(&format!("--{flag}=")));
        assert!(set || from_the_pod.contains(&flag), "the chart has no value for --{flag}");
    }
}

#[test]
fn without_a_secret_there_is_no_key() {
    let objects = rendered("{}");
    assert!(!arguments(&objects).iter().any(|argument| argument.starts_with("--identity-file")));
    assert!(
        !arguments(&objects).iter().any(|argument| argument.starts_with("--allow-")),
        "nothing is allowed by default"
    );
    assert_eq!(of_kind(&objects, "Secret").count(), 0);
}

#[test]
fn root_certificates_come_from_a_config_map() {
    let pod = pod(&rendered(EVERYTHING));
    let is_there = |list: &Value, one: Value| list.as_array().unwrap().contains(&one);
    let container = &pod["containers"][0];
    let file = "/etc/savepoint/certificates/roots.pem";
    assert!(is_there(&container["env"], json!({"name": "SSL_CERT_FILE", "value": file})));
    let mounted = json!({"name": "certificates", "mountPath": "/etc/savepoint/certificates", "readOnly": true});
    assert!(is_there(&container["volumeMounts"], mounted));
    assert!(is_there(&pod["volumes"], json!({"name": "certificates", "configMap": {"name": "our-roots"}})));
    assert!(!rendered("{}").iter().any(|object| object.to_string().contains("SSL_CERT_FILE")));
}

/// The profile *restricted* of Pod Security Standards, and what it does not ask for.
#[test]
fn the_pod_is_restricted() {
    for values in ["{}", EVERYTHING] {
        let pod = pod(&rendered(values));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 65532);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[forbidden].is_null());
        }
        let wanted = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        for container in pod["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"], wanted);
            assert!(!container["resources"]["limits"]["memory"].is_null());
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let kinds: Vec<_> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
            let kinds_allowed = ["configMap", "emptyDir", "persistentVolumeClaim", "secret"];
            let fine = |kind: &&String| kinds_allowed.contains(&kind.as_str());
            assert!(kinds.iter().all(fine), "{volume}");
        }
    }
}

#[test]
fn what_holds_backups_outlives_the_release() {
    let objects = rendered("{}");
    let kept = |object: &Value| object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
    assert_eq!(
        of_kind(&objects, "CustomResourceDefinition").filter(|object| kept(object)).count(),
        savepoint::api::KINDS.len()
    );
    assert!(of_kind(&objects, "PersistentVolumeClaim").all(kept));
    assert_eq!(of_kind(&rendered("crds: {install: false}"), "CustomResourceDefinition").count(), 0);
}

#[test]
fn admission_fails_closed_and_is_bound() {
    let objects = rendered(EVERYTHING);
    let policies: Vec<_> = of_kind(&objects, "ValidatingAdmissionPolicy").collect();
    assert_eq!(policies.len(), 4);
    for policy in policies {
        let name = &policy["metadata"]["name"];
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{name}");
        let mut bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding");
        let binding = bindings.find(|binding| binding["spec"]["policyName"] == *name).expect("a binding");
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]), "{name}");
        assert!(
            binding["spec"]["matchResources"].is_null() && binding["spec"]["paramRef"].is_null(),
            "{name} is narrowed"
        );
    }
    assert_eq!(of_kind(&objects, "Namespace").count(), 0);
    let operator = format!("system:serviceaccount:{NAMESPACE}:savepoint");
    let status = of_kind(&objects, "ValidatingAdmissionPolicy")
        .find(|policy| policy["metadata"]["name"] == "savepoint-status")
        .unwrap();
    let expression = status["spec"]["validations"][0]["expression"].as_str().unwrap();
    assert!(expression.contains(&operator) && expression.contains(r#""it's \"me\"""#), "{expression}");
}
