//! Reading back, against a real store in a folder. No API server is asked: the default store needs none.

use super::act::describe;
use super::capture::environment_digest;
use super::load::{load, manifest_of};
use crate::api::*;
use crate::config::Config;
use crate::controller::backup_store::OpenedStore;
use crate::controller::{Context, Leadership, Refusal};
use crate::decide::conditions::{say, set};
use crate::keyed_digest::sha256_hex;
use crate::platform::{self, Connector, ErrorKind, Platform};
use crate::store::{BackupContents, ComponentContents, ObjectName, encrypt};
use clap::Parser;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

struct NoPlatform;

impl Connector for NoPlatform {
    fn connect(&self, _: &Component, _: SecretString) -> platform::Result<Box<dyn Platform>> {
        Err(platform::Error {
            kind: ErrorKind::NotAllowed,
            platform: PlatformName::Render,
            operation: "connect",
            message: "there is no platform in this test".into(),
            retry_after: None,
        })
    }
}

fn identity() -> SecretString {
    age::x25519::Identity::generate().to_string()
}

fn context(root: &Path, identity: Option<SecretString>) -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::parse_from(["savepoint", "--store-root", root.to_str().unwrap()]);
    let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = kube::Client::try_from(nowhere).unwrap();
    let leader = Arc::new(Leadership::new(&config));
    Context::new(client, config, Arc::new(NoPlatform), leader, identity)
}

fn contents(values: &[(&str, &str)]) -> BackupContents {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from((*value).to_owned())));
    let component = ComponentContents {
        platform: PlatformName::Render,
        resource: "srv-1".into(),
        deploy: Some(DeployStatus { id: "dep-1".into(), ..DeployStatus::default() }),
        commit: None,
        settings: BTreeMap::new(),
        flags: BTreeMap::new(),
        data: None,
        schema_version: None,
        values: values.collect(),
        opaque: ["SEALED".to_owned()].into(),
    };
    BackupContents::new([("backend".to_owned(), component)].into())
}

/// A finished backup, made the way the controller makes it.
async fn made(context: &Context, namespace: &str, uid: &str, contents: &BackupContents) -> DeploymentBackup {
    let spec = serde_json::json!({"targetRef": {"name": "shop"}, "tier": "Quick"});
    let mut backup = DeploymentBackup::new("b", serde_json::from_value(spec).unwrap());
    backup.metadata.namespace = Some(namespace.into());
    backup.metadata.uid = Some(uid.into());
    backup.metadata.creation_timestamp = Some(Time(Timestamp::from_second(1_000).unwrap()));
    let key = context.digest_key.as_ref().unwrap();
    let held = &contents.components["backend"];
    let environment = CapturedEnvironment {
        count: 1,
        digest: environment_digest(held, key),
        unreadable: held.opaque.iter().cloned().collect(),
    };
    let mut status = DeploymentBackupStatus {
        target: Some(PinnedRef { name: "shop".into(), uid: "target-1".into() }),
        components: vec![CapturedComponent {
            name: "backend".into(),
            platform: held.platform,
            resource: held.resource.clone(),
            deploy: held.deploy.clone(),
            commit: None,
            backup_ref: None,
            environment: Some(environment),
            settings: BTreeMap::new(),
            flags: BTreeMap::new(),
            data: None,
            schema_version: None,
        }],
        ..DeploymentBackupStatus::default()
    };
    for type_ in [ConditionType::Succeeded, ConditionType::Verified] {
        set(&mut status.conditions, say(type_, true, Reason::Completed, ""), 1, Timestamp::UNIX_EPOCH);
    }
    backup.status = Some(status);
    let opened = OpenedStore::of(context, namespace, None, None).ok().unwrap();
    let keys = opened.keys(context).await.ok().unwrap();
    let sealed = encrypt(&contents.to_json().unwrap(), keys.recipients()).unwrap();
    let payload = describe(&backup, &opened, &sealed, key).unwrap();
    let manifest = manifest_of(&backup, &payload, key).unwrap();
    opened.store.put(&ObjectName::payload(namespace, uid, &payload.sha256).unwrap(), &sealed).await.unwrap();
    opened.store.put(&ObjectName::manifest(namespace, uid).unwrap(), &manifest).await.unwrap();
    backup.status.as_mut().unwrap().payload = Some(payload);
    backup
}

fn files(root: &Path, backup: &DeploymentBackup) -> (PathBuf, PathBuf) {
    let payload = backup.status.as_ref().unwrap().payload.as_ref().unwrap();
    (root.join(&payload.location), root.join(&payload.manifest))
}

async fn refused(context: &Context, backup: &DeploymentBackup) -> Refusal {
    load(context, backup, "target-1").await.err().expect("a refusal")
}

#[tokio::test]
async fn a_good_backup_opens() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let backup = made(&context, "ns", "uid-1", &contents(&[("URL", "https://x\n"), ("EMPTY", "")])).await;
    let opened = load(&context, &backup, "target-1").await.ok().unwrap();
    let backend = &opened.components["backend"];
    assert_eq!(backend.values["URL"].expose_secret(), "https://x\n");
    assert_eq!(backend.values["EMPTY"].expose_secret(), "");
    assert!(backend.opaque.contains("SEALED"));
    let (payload, manifest) = files(root.path(), &backup);
    assert!(payload.starts_with(root.path().join("ns/uid-1")) && manifest.ends_with("ns/uid-1/manifest.json"));
}

#[tokio::test]
async fn the_payload_opens_by_hand() {
    let root = TempDir::new().unwrap();
    let identity = identity();
    let context = context(root.path(), Some(identity.clone()));
    let backup = made(&context, "ns", "uid-1", &contents(&[("URL", "https://x")])).await;
    let sealed = std::fs::read(files(root.path(), &backup).0).unwrap();
    let identity: age::x25519::Identity = identity.expose_secret().parse().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&age::decrypt(&identity, &sealed).unwrap()).unwrap();
    assert_eq!(json["components"]["backend"]["environment"]["URL"], "https://x");
}

#[tokio::test]
async fn every_changed_byte_and_every_cut_is_refused() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let backup = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    let (payload, manifest) = files(root.path(), &backup);
    for file in [payload, manifest] {
        let good = std::fs::read(&file).unwrap();
        for position in 0..good.len() {
            let mut changed = good.clone();
            changed[position] ^= 0x04;
            std::fs::write(&file, &changed).unwrap();
            assert_eq!(refused(&context, &backup).await.reason, Reason::BackupAltered, "{file:?} byte {position}");
        }
        for cut in [0, 1, good.len() / 2, good.len() - 1] {
            std::fs::write(&file, &good[..cut]).unwrap();
            assert_eq!(refused(&context, &backup).await.reason, Reason::BackupAltered, "{file:?} cut at {cut}");
        }
        std::fs::write(&file, [&good[..], b" "].concat()).unwrap();
        assert_eq!(refused(&context, &backup).await.reason, Reason::BackupAltered, "{file:?} made longer");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(refused(&context, &backup).await.reason, Reason::PayloadMissing, "{file:?} removed");
        std::fs::write(&file, &good).unwrap();
    }
    assert!(load(&context, &backup, "target-1").await.is_ok(), "the files as they were are good again");
}

#[tokio::test]
async fn the_words_of_an_altered_payload() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let backup = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    let (payload, _) = files(root.path(), &backup);
    let mut changed = std::fs::read(&payload).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&payload, changed).unwrap();
    assert_eq!(
        refused(&context, &backup).await.message,
        "the payload of backup b was altered: its sha256 is not the one in the manifest; nothing was changed"
    );
}

#[tokio::test]
async fn what_belongs_to_another_is_refused() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let ours = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    for (namespace, uid) in [("ns", "uid-2"), ("other", "uid-1")] {
        let theirs = made(&context, namespace, uid, &contents(&[("A", "theirs")])).await;
        let ((our_payload, our_manifest), (payload, manifest)) =
            (files(root.path(), &ours), files(root.path(), &theirs));
        let good = (std::fs::read(&our_payload).unwrap(), std::fs::read(&our_manifest).unwrap());
        // Their payload under our name; their manifest in the place of ours; both, and the status of ours told to believe it.
        std::fs::copy(&payload, &our_payload).unwrap();
        assert_eq!(refused(&context, &ours).await.reason, Reason::BackupAltered, "payload of {namespace}/{uid}");
        std::fs::copy(&manifest, &our_manifest).unwrap();
        assert_eq!(refused(&context, &ours).await.reason, Reason::BackupAltered, "manifest of {namespace}/{uid}");
        let mut misled = ours.clone();
        let status = misled.status.as_mut().unwrap();
        status.payload = theirs.status.as_ref().unwrap().payload.clone();
        status.components = theirs.status.as_ref().unwrap().components.clone();
        std::fs::copy(&payload, our_payload.with_file_name(payload.file_name().unwrap())).unwrap();
        let refusal = refused(&context, &misled).await;
        assert_eq!(refusal.reason, Reason::BackupAltered, "both of {namespace}/{uid}");
        assert!(refusal.message.contains("its manifest is that of backup b"), "{}", refusal.message);
        std::fs::write(&our_payload, good.0).unwrap();
        std::fs::write(&our_manifest, good.1).unwrap();
    }
}

#[tokio::test]
async fn a_payload_made_by_somebody_with_the_public_key_is_refused() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let mut backup = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    let opened = OpenedStore::of(&context, "ns", None, None).ok().unwrap();
    let keys = opened.keys(&context).await.ok().unwrap();
    // The recipient is public: anybody can encrypt to it. Without the installation's key the manifest cannot be made to fit.
    let forged = encrypt(&contents(&[("A", "evil")]).to_json().unwrap(), keys.recipients()).unwrap();
    let foreign = crate::keyed_digest::DigestKey::derive(&identity());
    let payload = describe(&backup, &opened, &forged, &foreign).unwrap();
    std::fs::write(root.path().join(&payload.location), &forged).unwrap();
    std::fs::write(root.path().join(&payload.manifest), manifest_of(&backup, &payload, &foreign).unwrap()).unwrap();
    backup.status.as_mut().unwrap().payload = Some(payload);
    let refusal = refused(&context, &backup).await;
    assert_eq!(refusal.reason, Reason::BackupAltered);
    assert!(refusal.message.contains("manifest was altered"), "{}", refusal.message);
}

#[tokio::test]
async fn a_genuine_payload_that_is_not_what_status_speaks_of_is_refused() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let mut backup = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    let environment = backup.status.as_mut().unwrap().components[0].environment.as_mut().unwrap();
    environment.digest = sha256_hex(b"another");
    assert_eq!(refused(&context, &backup).await.reason, Reason::BackupAltered);
}

#[tokio::test]
async fn only_a_verified_backup_of_this_target_opens() {
    let root = TempDir::new().unwrap();
    let context = context(root.path(), Some(identity()));
    let backup = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    let refusal = load(&context, &backup, "target-2").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::BackupOfAnotherTarget);
    for type_ in [ConditionType::Succeeded, ConditionType::Verified] {
        let mut other = backup.clone();
        let conditions = &mut other.status.as_mut().unwrap().conditions;
        set(conditions, say(type_, Tri::Unknown, Reason::Pending, ""), 1, Timestamp::UNIX_EPOCH);
        assert_eq!(refused(&context, &other).await.reason, Reason::BackupNotVerified, "{type_}");
    }
    let nothing = DeploymentBackup { status: None, ..backup };
    assert_eq!(refused(&context, &nothing).await.reason, Reason::BackupNotVerified);
}

#[tokio::test]
async fn without_the_key_nothing_opens() {
    let root = TempDir::new().unwrap();
    let first = context(root.path(), Some(identity()));
    let backup = made(&first, "ns", "uid-1", &contents(&[("A", "1")])).await;
    assert_eq!(refused(&context(root.path(), None), &backup).await.reason, Reason::NoKey);
    // Another identity has another digest key: the manifest is not believed.
    assert_eq!(refused(&context(root.path(), Some(identity())), &backup).await.reason, Reason::BackupAltered);
}

#[tokio::test]
async fn a_store_that_is_gone_is_said_so() {
    let root = TempDir::new().unwrap();
    let context = context(&root.path().join("root"), Some(identity()));
    std::fs::create_dir(root.path().join("root")).unwrap();
    let backup = made(&context, "ns", "uid-1", &contents(&[("A", "1")])).await;
    std::fs::rename(root.path().join("root"), root.path().join("elsewhere")).unwrap();
    let refusal = refused(&context, &backup).await;
    assert_eq!((refusal.reason, refusal.temporary), (Reason::StoreUnavailable, true), "{}", refusal.message);
}

#[tokio::test]
async fn no_refusal_shows_a_value_or_a_key() {
    let root = TempDir::new().unwrap();
    let identity = identity();
    let context = context(root.path(), Some(identity.clone()));
    let backup = made(&context, "ns", "uid-1", &contents(&[("A", "canary-value")])).await;
    let shown = serde_json::to_string(&backup).unwrap();
    let manifest = std::fs::read_to_string(files(root.path(), &backup).1).unwrap();
    for text in [shown, manifest] {
        assert!(!text.contains("canary-value") && !text.contains(identity.expose_secret()));
    }
    assert_eq!(backup.name_any(), "b");
}
