//! One vendor's description of its REST API, and how an exchange compares with it.
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

use super::lenient;
use crate::ledger::Exchange;
use crate::locked;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAPI 3: Render and GitHub.
    OpenApi,
    /// Swagger 2: Netlify.
    Swagger,
}

const ROOT: &str = "https://description.invalid/root";

/// Parameters that Netlify's server takes and only its fuller description tells of.
const NETLIFY_ALSO: [&str; 5] = ["commit_sha", "review_id", "from", "to", "context"];

pub struct Description {
    root: Value,
    dialect: Dialect,
    registry: Registry<'static>,
    /// By JSON pointer: compiling one takes longer than using it.
    validators: Mutex<HashMap<String, Result<Arc<Validator>, String>>>,
}

impl Description {
    pub fn new(mut root: Value, dialect: Dialect) -> Result<Self, String> {
        lenient::schemas(&mut root, dialect);
        let resource = Draft::Draft4.create_resource(root.clone());
        let registry = Registry::new().add(ROOT, resource).and_then(|builder| builder.prepare());
        let registry = registry.map_err(|fault| fault.to_string())?;
        Ok(Description { root, dialect, registry, validators: Mutex::default() })
    }

    pub fn check(&self, exchange: &Exchange) -> Vec<String> {
        let Some(template) = self.template(&exchange.path) else {
            return vec!["this path is not described".into()];
        };
        let path = format!("/paths/{}", escape(&template));
        let operation = format!("{path}/{}", exchange.method.to_lowercase());
        if self.at(&operation).is_none() {
            return vec!["this method is not described".into()];
        }
        let parameters = self.parameters(&[&path, &operation]);
        let mut found = self.check_query(exchange, &parameters);
        found.extend(self.check_request(exchange, &operation, &parameters));
        if let (None, Some(status)) = (&exchange.fault, exchange.status) {
            found.extend(self.check_response(exchange, &operation, status));
        }
        found
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        self.root.pointer(pointer)
    }

    /// The place that this one refers to, in the end.
    fn follow(&self, pointer: String) -> String {
        let target = self.at(&pointer).and_then(|value| value["$ref"].as_str()?.strip_prefix('#'));
        match target.map(|target| percent_encoding::percent_decode_str(target).decode_utf8_lossy().into_owned()) {
            Some(target) => self.follow(target),
            None => pointer,
        }
    }

    /// The described path that fits best: the one with the most parts that are equal as they stand.
    fn template(&self, path: &str) -> Option<String> {
        let asked: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let paths = self.at("/paths")?.as_object()?;
        let fitting = paths.keys().filter_map(|template| Some((fit(template, &asked)?, template)));
        fitting.max_by_key(|(literal, _)| *literal).map(|(_, template)| template.clone())
    }

    /// Pointers to the parameters of a path and of one of its operations.
    fn parameters(&self, places: &[&str]) -> Vec<String> {
        let mut pointers = Vec::new();
        for place in places {
            let count = self.at(&format!("{place}/parameters")).and_then(Value::as_array).map_or(0, Vec::len);
            pointers.extend((0..count).map(|index| self.follow(format!("{place}/parameters/{index}"))));
        }
        pointers
    }

    fn check_query(&self, exchange: &Exchange, parameters: &[String]) -> Vec<String> {
        let described = parameters.iter().filter_map(|pointer| self.at(pointer));
        let described: BTreeSet<&str> = described
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|given| given["name"].as_str())
            .collect();
        let netlify = self.dialect == Dialect::Swagger;
        let unknown = exchange
            .query
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !described.contains(name) && (!netlify || !NETLIFY_ALSO.contains(name)));
        unknown.map(|name| format!("the query parameter {name} is not described")).collect()
    }

    fn check_request(&self, exchange: &Exchange, operation: &str, parameters: &[String]) -> Vec<String> {
        let schema = match self.dialect {
            Dialect::OpenApi => {
                let body = self.follow(format!("{operation}/requestBody"));
                let required = self.at(&body).is_some_and(|body| body["required"] == true);
                if required && exchange.request_body.is_none() && accepted(exchange) {
                    return vec!["a body is required".into()];
                }
                self.content(&body)
            }
            Dialect::Swagger => {
                let body = parameters.iter().find(|pointer| self.at(pointer).is_some_and(|one| one["in"] == "body"));
                body.map(|pointer| format!("{pointer}/schema"))
            }
        };
        match (&exchange.request_body, schema) {
            // What was refused need not fit: refusing it is the point.
            _ if !accepted(exchange) => Vec::new(),
            (None, _) => Vec::new(),
            (Some(body), Some(schema)) => self.validate(&schema, body, "request"),
            // An empty object says as little as no body.
            (Some(body), None) if *body == json!({}) => Vec::new(),
            (Some(_), None) => vec!["no body is described".into()],
        }
    }

    fn check_response(&self, exchange: &Exchange, operation: &str, status: u16) -> Vec<String> {
        let Some(answer) = self.answer(operation, status) else {
            // Described beside the operations, in prose.
            let everywhere = matches!(status, 304 | 401 | 403 | 404 | 405 | 429 | 500..);
            return if everywhere { Vec::new() } else { vec![format!("the status {status} is not described")] };
        };
        let schema = match self.dialect {
            Dialect::OpenApi => self.content(&answer),
            Dialect::Swagger => self.at(&format!("{answer}/schema")).map(|_| format!("{answer}/schema")),
        };
        match (&exchange.response_body, schema) {
            (Some(body), Some(schema)) => self.validate(&schema, body, "response"),
            (None, Some(_)) => vec![format!("the status {status} comes with a body")],
            (Some(_), None) if status < 300 => vec![format!("the status {status} comes without a body")],
            _ => Vec::new(),
        }
    }

    /// Where the answer of this status is described. Netlify's two descriptions differ on 200 and 201.
    fn answer(&self, operation: &str, status: u16) -> Option<String> {
        let other = match (self.dialect, status) {
            (Dialect::Swagger, 200) => "201".to_string(),
            (Dialect::Swagger, 201) => "200".to_string(),
            _ => status.to_string(),
        };
        let keys = [status.to_string(), other, "default".to_string()];
        let places = keys.iter().map(|key| format!("{operation}/responses/{key}"));
        let found = places.into_iter().find(|place| self.at(place).is_some())?;
        // `default` speaks of errors only.
        let error_only = found.ends_with("/default") && status < 400;
        (!error_only).then(|| self.follow(found))
    }

    fn content(&self, place: &str) -> Option<String> {
        let kinds = self.at(&format!("{place}/content"))?.as_object()?;
        let kind = kinds.keys().find(|kind| kind.starts_with("application/json"))?;
        let schema = format!("{place}/content/{}/schema", escape(kind));
        self.at(&schema).map(|_| schema)
    }

    fn validate(&self, schema: &str, body: &Value, side: &str) -> Vec<String> {
        match self.validator(schema) {
            Ok(validator) => {
                let faults = validator.iter_errors(body).take(5);
                faults
                    .map(|fault| format!("{side}: {} at {}", shortened(&fault.to_string()), fault.instance_path()))
                    .collect()
            }
            Err(said) => vec![format!("the description of the {side} is not understood: {said}")],
        }
    }

    fn validator(&self, schema: &str) -> Result<Arc<Validator>, String> {
        let build = || {
            let reference = json!({ "$ref": format!("{ROOT}#{}", schema.replace('{', "%7B").replace('}', "%7D")) });
            let options = jsonschema::options().with_draft(Draft::Draft4).should_validate_formats(true);
            let built = options.should_ignore_unknown_formats(true).with_registry(&self.registry).build(&reference);
            built.map(Arc::new).map_err(|fault| fault.to_string())
        };
        locked(&self.validators).entry(schema.to_string()).or_insert_with(build).clone()
    }
}

fn accepted(exchange: &Exchange) -> bool {
    exchange.status.is_none_or(|status| status < 400) || exchange.fault.is_some()
}

/// How many parts are equal as they stand; none when the path does not fit. A parameter at the end that names a
/// ref takes all that is left.
fn fit(template: &str, asked: &[&str]) -> Option<usize> {
    let parts: Vec<&str> = template.split('/').filter(|part| !part.is_empty()).collect();
    let greedy = parts.last().is_some_and(|last| matches!(*last, "{ref}" | "{branch}" | "{basehead}"));
    if asked.len() < parts.len() || (asked.len() > parts.len() && !greedy) {
        return None;
    }
    let pairs = parts.iter().zip(asked);
    pairs
        .map(|(part, asked)| match part {
            part if part.starts_with('{') => Some(0),
            part if part == asked => Some(1),
            _ => None,
        })
        .sum()
}

fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn shortened(text: &str) -> String {
    text.chars().rev().take(160).collect::<Vec<_>>().into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(method: &str, path: &str, status: u16, body: Value) -> Exchange {
        let view = json!({
            "seq": 1, "at": "2026-01-01T00:00:00Z", "platform": "render", "requestId": "r", "method": method,
            "path": path, "query": [], "requestHeaders": {}, "requestBody": null, "status": status,
            "responseHeaders": {}, "responseBody": body, "fault": null,
        });
        serde_json::from_value(view).unwrap()
    }

    fn description() -> Description {
        let root = json!({
            "paths": { "/things/{id}": { "get": { "parameters": [{ "$ref": "#/components/parameters/limit" }],
                "responses": { "200": { "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/thing" } } } } } } } },
            "components": {
                "parameters": { "limit": { "name": "limit", "in": "query" } },
                "schemas": { "thing": { "type": "object", "required": ["id"], "properties": {
                    "id": { "type": "string" }, "note": { "type": "string", "nullable": true },
                    "at": { "type": "string", "format": "date-time" } } } } },
        });
        Description::new(root, Dialect::OpenApi).unwrap()
    }

    #[test]
    fn tells_what_does_not_fit() {
        let description = description();
        let good = json!({ "id": "a", "note": null, "at": "2026-01-01T00:00:00Z" });
        assert_eq!(description.check(&exchange("GET", "/things/a", 200, good.clone())), Vec::<String>::new());
        for (method, path, status, body) in [
            ("GET", "/others/a", 200, good.clone()),
            ("POST", "/things/a", 200, good.clone()),
            ("GET", "/things/a", 201, good.clone()),
            ("GET", "/things/a", 200, json!({ "id": 1 })),
            ("GET", "/things/a", 200, json!({ "note": "no id" })),
            ("GET", "/things/a", 200, json!({ "id": "a", "at": "yesterday" })),
        ] {
            let found = description.check(&exchange(method, path, status, body));
            assert_eq!(found.len(), 1, "{method} {path} {status}: {found:?}");
        }
        let mut asked = exchange("GET", "/things/a", 200, good);
        asked.query = vec![("limit".into(), "1".into()), ("limmit".into(), "1".into())];
        assert_eq!(description.check(&asked), ["the query parameter limmit is not described"]);
    }
}
