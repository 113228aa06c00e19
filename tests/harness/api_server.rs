//! A Kubernetes API server in memory: only what the engine uses, but that as the real one does it (`tests/cluster/fidelity.rs` compares).

use crate::api_patch::{apply, merge};
use axum::body::Bytes;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which object: resource (plural), namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// One object as stored, with the bytes that a read gives.
#[derive(Clone)]
pub struct Stored {
    pub value: Arc<Value>,
    pub bytes: Bytes,
    /// As it was one write before: what a cache that lags behind still shows.
    pub previous: Option<Bytes>,
}

/// A request, parsed.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    pub key: Key,
    /// `/status` of the object.
    pub of_status: bool,
    pub query: HashMap<String, String>,
    pub body: Option<Value>,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Create,
    Replace,
    Merge,
    Apply,
    Delete,
}

impl Verb {
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// What a write did: the object before and after. `after` is absent where it is gone.
pub struct Landed {
    pub key: Key,
    pub before: Option<Arc<Value>>,
    pub after: Option<Arc<Value>>,
}

/// The answer to a request.
pub struct Answer {
    pub code: u16,
    pub body: Bytes,
    pub landed: Option<Landed>,
}

/// Why a request was refused, as the real server words it.
struct Refused(u16, &'static str, String);

type Result<T> = std::result::Result<T, Refused>;

/// How many writes a watch may lie behind.
const WATCH_WINDOW: u64 = 10;

/// All objects, and the counters of versions and uids.
#[derive(Clone, Default)]
pub struct ApiServer {
    objects: BTreeMap<Key, Stored>,
    version: u64,
    /// How many objects of each resource were made: uids follow from it, so that one kind does not shift another's.
    made: BTreeMap<String, u64>,
    /// What each field manager applied last: what it leaves out next time goes.
    applied: BTreeMap<(Key, String), Value>,
}

impl ApiServer {
    pub fn get(&self, key: &Key) -> Option<&Stored> {
        self.objects.get(key)
    }

    pub fn of_resource<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = (&'a Key, &'a Stored)> {
        self.objects.iter().filter(move |(key, _)| key.resource == resource)
    }

    /// Merges into the status of an object what no request of the operator says: an earlier release wrote it, or what it cannot do yet.
    pub fn set_status(&mut self, key: &Key, status: Value) {
        let Some(stored) = self.objects.get(key).cloned() else { return };
        let object = merged(&stored.value, json!({"status": status}), true);
        self.store(key.clone(), Some(stored.value), object, 200);
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Answers one request. `now` is what the server's clock says, RFC 3339.
    pub fn answer(&mut self, call: Call, now: &str) -> Answer {
        let done = match call.verb {
            Verb::Get => self.read(&call.key).map(|stored| (200, stored.bytes.clone(), None)),
            Verb::List if call.query.contains_key("watch") => Ok((200, self.watch(&call), None)),
            Verb::List => Ok((200, self.list(&call), None)),
            Verb::Create => self.create(call, now),
            Verb::Delete => self.delete(&call, now),
            Verb::Replace | Verb::Merge | Verb::Apply => self.update(call),
        };
        match done {
            Ok((code, body, landed)) => Answer { code, body, landed },
            Err(Refused(code, reason, message)) => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": reason, "code": code});
                Answer { code, body: status.to_string().into(), landed: None }
            }
        }
    }

    fn read(&self, key: &Key) -> Result<&Stored> {
        self.objects.get(key).ok_or_else(|| {
            Refused(404, "NotFound", format!("{}.savepoint.dev \"{}\" not found", key.resource, key.name))
        })
    }

    /// A watch: whatever is newer is not told here (the driver wakes by itself), but a version that is too old is refused.
    fn watch(&self, call: &Call) -> Bytes {
        let from: u64 = call.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        if from + WATCH_WINDOW >= self.version {
            return Bytes::new();
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("too old resource version: {from} ({})", self.version), "reason": "Expired", "code": 410});
        format!("{}\n", json!({"type": "ERROR", "object": status})).into()
    }

    fn list(&self, call: &Call) -> Bytes {
        let selector = call.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let inside = |key: &Key| call.key.namespace.is_empty() || key.namespace == call.key.namespace;
        let found = self.of_resource(&call.key.resource).filter(|(key, _)| inside(key));
        let found = found.filter(|(_, stored)| selected(&stored.value, selector));
        let mut text = format!(
            "{{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{}\"}},\"items\":[",
            self.version
        )
        .into_bytes();
        for (index, (_, stored)) in found.enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&stored.bytes);
        }
        text.extend_from_slice(b"]}");
        text.into()
    }

    fn create(&mut self, call: Call, now: &str) -> Result<(u16, Bytes, Option<Landed>)> {
        let Some(Value::Object(mut object)) = call.body else { return Err(invalid("a body is required")) };
        let mut key = call.key;
        key.name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if self.objects.contains_key(&key) {
            let text = format!("{} \"{}\" already exists", key.resource, key.name);
            return Err(Refused(409, "AlreadyExists", text));
        }
        if has_status(&key.resource) {
            // What the CRDs' schema gives an object without a status.
            object.insert("status".into(), json!({"conditions": [], "observedGeneration": -1}));
        }
        let made = self.made.entry(key.resource.clone()).or_default();
        *made += 1;
        let uid = format!("{made:08x}-0000-4000-8000-{}", key.resource);
        let metadata = &mut object["metadata"];
        metadata["namespace"] = json!(key.namespace);
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(now);
        if has_status(&key.resource) {
            metadata["generation"] = json!(1);
        }
        Ok(self.store(key, None, object, 201))
    }

    fn delete(&mut self, call: &Call, now: &str) -> Result<(u16, Bytes, Option<Landed>)> {
        let stored = self.read(&call.key)?.clone();
        let wanted = call.body.as_ref().map(|body| &body["preconditions"]).unwrap_or(&Value::Null);
        for (name, field) in [("uid", "uid"), ("resourceVersion", "resourceVersion")] {
            if !wanted[name].is_null() && wanted[name] != stored.value["metadata"][field] {
                return Err(conflict(&call.key));
            }
        }
        if no_finalizers(&stored.value) {
            return Ok(self.remove(call.key.clone(), stored.value));
        }
        if !stored.value["metadata"]["deletionTimestamp"].is_null() {
            return Ok((200, stored.bytes, None));
        }
        let Value::Object(mut object) = (*stored.value).clone() else { return Err(invalid("not an object")) };
        let metadata = &mut object["metadata"];
        metadata["deletionTimestamp"] = json!(now);
        metadata["deletionGracePeriodSeconds"] = json!(0);
        if let Some(generation) = metadata["generation"].as_i64() {
            metadata["generation"] = json!(generation + 1);
        }
        Ok(self.store(call.key.clone(), Some(stored.value), object, 200))
    }

    fn remove(&mut self, key: Key, before: Arc<Value>) -> (u16, Bytes, Option<Landed>) {
        self.objects.remove(&key);
        self.applied.retain(|(of, _), _| *of != key);
        self.version += 1;
        let said = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {"name": key.name}});
        (200, said.to_string().into(), Some(Landed { key, before: Some(before), after: None }))
    }

    fn update(&mut self, call: Call) -> Result<(u16, Bytes, Option<Landed>)> {
        let stored = self.read(&call.key)?.clone();
        let Some(mut body) = call.body else { return Err(invalid("a body is required")) };
        let (known, wanted) = (&stored.value["metadata"], body["metadata"].clone());
        if call.verb == Verb::Replace && wanted["resourceVersion"].as_str().is_none_or(str::is_empty) {
            return Err(invalid("metadata.resourceVersion: Invalid value: 0: must be specified for an update"));
        }
        let differs = |field: &str| !wanted[field].is_null() && wanted[field] != known[field];
        if differs("resourceVersion") || differs("uid") {
            return Err(conflict(&call.key));
        }
        let of_status = call.of_status;
        let mut object = match call.verb {
            Verb::Replace => replaced(&stored.value, &mut body, of_status),
            Verb::Merge => merged(&stored.value, body, of_status),
            _ => {
                let manager = call.query.get("fieldManager").cloned().unwrap_or_default();
                let old = self.applied.insert((call.key.clone(), manager), body["status"].clone());
                applied(&stored.value, body, &old.unwrap_or(Value::Null))
            }
        };
        if object.get("spec") != stored.value.get("spec")
            && let Some(generation) = known["generation"].as_i64()
        {
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let object = Value::Object(object);
        if object == *stored.value {
            return Ok((200, stored.bytes, None)); // the real server writes nothing either
        }
        if !known["deletionTimestamp"].is_null() && no_finalizers(&object) {
            let (_, _, landed) = self.remove(call.key, stored.value);
            return Ok((200, object.to_string().into(), landed));
        }
        let Value::Object(object) = object else { return Err(invalid("not an object")) };
        Ok(self.store(call.key, Some(stored.value), object, 200))
    }

    fn store(
        &mut self,
        key: Key,
        before: Option<Arc<Value>>,
        mut object: Map<String, Value>,
        code: u16,
    ) -> (u16, Bytes, Option<Landed>) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let value = Arc::new(Value::Object(object));
        let bytes = Bytes::from(serde_json::to_vec(&*value).unwrap());
        let previous = self.objects.get(&key).map(|stored| stored.bytes.clone());
        self.objects.insert(key.clone(), Stored { value: value.clone(), bytes: bytes.clone(), previous });
        (code, bytes, Some(Landed { key, before, after: Some(value) }))
    }
}

fn invalid(message: &str) -> Refused {
    Refused(422, "Invalid", message.into())
}

fn conflict(key: &Key) -> Refused {
    let text = format!(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the latest version and try again",
        key.resource, key.name
    );
    Refused(409, "Conflict", text)
}

/// Kinds with the subresource `status`: a write of the object leaves the status alone, and the other way round.
fn has_status(resource: &str) -> bool {
    !matches!(resource, "leases" | "secrets" | "events")
}

fn no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

fn selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
        Some((name, value)) => object["metadata"]["labels"][name] == value.trim_start_matches('='),
        None => !object["metadata"]["labels"][part].is_null(),
    })
}

/// The object with everything but the named part taken from `from`.
fn without(object: &Value, part: &str) -> Map<String, Value> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| *name != part).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Fields of metadata that a client cannot write.
const SERVERS_OWN: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace"];

fn keep_servers_own(object: &mut Map<String, Value>, known: &Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.remove("managedFields");
    if metadata.get("finalizers").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        metadata.remove("finalizers");
    }
    for field in SERVERS_OWN.iter().chain(&["resourceVersion"]) {
        match known.get(*field) {
            Some(value) => metadata.insert((*field).to_owned(), value.clone()),
            None => metadata.remove(*field),
        };
    }
}

fn replaced(old: &Value, body: &mut Value, of_status: bool) -> Map<String, Value> {
    if of_status {
        let mut object = without(old, "status");
        object.insert("status".into(), body["status"].take());
        return object;
    }
    let mut object = without(body, "status");
    if let Some(status) = old.get("status") {
        object.insert("status".into(), status.clone());
    }
    keep_servers_own(&mut object, &old["metadata"]);
    object
}

fn merged(old: &Value, mut body: Value, of_status: bool) -> Map<String, Value> {
    let part = if of_status { "status" } else { "" };
    let mut object = without(old, "");
    let fields = body.as_object_mut().map(std::mem::take).unwrap_or_default();
    for (name, value) in fields {
        let may = if of_status { name == part } else { name != "status" || !old["metadata"]["generation"].is_i64() };
        if may {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
    keep_servers_own(&mut object, &old["metadata"]);
    object
}

fn applied(old: &Value, mut body: Value, before: &Value) -> Map<String, Value> {
    let mut object = without(old, "status");
    let mut status = old.get("status").cloned().unwrap_or(Value::Null);
    apply(&mut status, body["status"].take(), before);
    object.insert("status".into(), status);
    object
}
