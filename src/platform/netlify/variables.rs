//! A variable of Netlify has several values. Here they become one text and come back from it.
//!
//! Source: Netlify's API description, `envVar`; scopes in both spellings from its CLI and its Terraform provider.

use super::super::Value;
use super::super::paging::Keyed;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// All scopes. A variable with all of them is written without any: teams on the free plan may not name scopes.
const ALL_SCOPES: [&str; 4] = ["builds", "functions", "post-processing", "runtime"];

/// A variable as Netlify lists it.
#[derive(Deserialize)]
pub(super) struct Listed {
    key: String,
    scopes: Option<Vec<String>>,
    values: Option<Vec<ListedValue>>,
    is_secret: Option<bool>,
}

#[derive(Deserialize)]
struct ListedValue {
    value: Option<SecretString>,
    context: Option<String>,
    context_parameter: Option<String>,
}

impl Keyed for Listed {
    fn key(&self) -> &str {
        &self.key
    }
}

/// A variable with all that a restore needs, in one order only: equal variables have equal texts.
///
/// Ids and times of change are left out: they are new after each write.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Canonical {
    is_secret: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<Vec<String>>,
    values: Vec<CanonicalValue>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
struct CanonicalValue {
    context: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context_parameter: Option<String>,
    value: String,
}

impl Listed {
    /// The canonical text, or `Opaque` where any value may not be the real one.
    ///
    /// An empty value of a variable that says it is no secret is a real value. One that says nothing about it is trusted only where no
    /// value looks masked.
    pub fn into_pair(self) -> (String, Value) {
        let value = self.canonical().map_or(Value::Opaque, |canonical| Value::Readable(canonical.text()));
        (self.key, value)
    }

    fn canonical(&self) -> Option<Canonical> {
        let listed = self.values.as_ref().filter(|values| !values.is_empty())?;
        if self.is_secret == Some(true) {
            return None;
        }
        let mut values = Vec::new();
        for one in listed {
            let value = one.value.as_ref()?.expose_secret();
            if self.is_secret.is_none() && value.bytes().all(|byte| byte == b'*') {
                return None;
            }
            values.push(CanonicalValue {
                context: one.context.clone()?,
                context_parameter: one.context_parameter.clone().filter(|parameter| !parameter.is_empty()),
                value: value.to_string(),
            });
        }
        Some(Canonical::new(self.scopes.clone(), values))
    }
}

impl Canonical {
    fn new(scopes: Option<Vec<String>>, mut values: Vec<CanonicalValue>) -> Self {
        values.sort();
        let mut scopes: Vec<String> = scopes.unwrap_or_default().iter().map(|scope| scope.replace('_', "-")).collect();
        scopes.sort();
        scopes.dedup();
        let all = scopes == ALL_SCOPES;
        Self { is_secret: false, scopes: (!all && !scopes.is_empty()).then_some(scopes), values }
    }

    fn text(&self) -> SecretString {
        // A struct of texts always has a JSON form.
        serde_json::to_string(self).unwrap_or_default().into()
    }
}

/// The canonical text of what is to be written: a text that a listing gave comes back as it is, any other is one value for all contexts.
fn wanted(text: &SecretString) -> Canonical {
    match serde_json::from_str::<Canonical>(text.expose_secret()) {
        Ok(known) if !known.is_secret => Canonical::new(known.scopes, known.values),
        _ => {
            let value = text.expose_secret().to_string();
            Canonical::new(None, vec![CanonicalValue { context: "all".into(), context_parameter: None, value }])
        }
    }
}

/// Whether a listed value is the wanted one. An opaque one never is.
pub(super) fn is_as_wanted(is: &Value, text: &SecretString) -> bool {
    match is {
        Value::Readable(is) => is.expose_secret() == wanted(text).text().expose_secret(),
        Value::Opaque => false,
    }
}

/// What a write sends. Contexts that are not in it are gone afterwards, so all of them are.
pub(super) fn body(key: &str, text: &SecretString) -> serde_json::Value {
    let wanted = wanted(text);
    let mut body = json!({ "key": key, "values": wanted.values, "is_secret": false });
    if let Some(scopes) = wanted.scopes {
        body["scopes"] = json!(scopes);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let listed: Listed = serde_json::from_str(text).unwrap();
        match listed.into_pair().1 {
            Value::Readable(text) => Some(text.expose_secret().to_string()),
            Value::Opaque => None,
        }
    }

    #[test]
    fn one_text_whatever_the_order_the_spelling_and_the_ids() {
        let first = r#"{"key":"K","is_secret":false,"scopes":["runtime","post_processing","builds","functions"],"values":[
            {"id":"1","value":"b","context":"production"},{"id":"2","value":"a","context":"dev","context_parameter":""}]}"#;
        let second = r#"{"key":"K","is_secret":false,"values":[
            {"id":"9","value":"a","context":"dev"},{"id":"8","value":"b","context":"production","context_parameter":null}]}"#;
        let text =
            r#"{"is_secret":false,"values":[{"context":"dev","value":"a"},{"context":"production","value":"b"}]}"#;
        assert_eq!(read(first).as_deref(), Some(text));
        assert_eq!(read(second).as_deref(), Some(text));
    }

    #[test]
    fn whatever_may_be_masked_is_opaque_and_an_empty_value_is_real() {
        for opaque in [
            r#"{"key":"K","is_secret":true,"values":[{"value":"x","context":"dev"}]}"#,
            r#"{"key":"K","is_secret":true,"values":[{"value":"****","context":"production"}]}"#,
            r#"{"key":"K","is_secret":false,"values":[{"value":null,"context":"production"}]}"#,
            r#"{"key":"K","is_secret":false,"values":[{"context":"production"}]}"#,
            r#"{"key":"K","is_secret":false,"values":[]}"#,
            r#"{"key":"K","is_secret":false}"#,
            r#"{"key":"K","values":[{"value":"","context":"production"}]}"#,
            r#"{"key":"K","values":[{"value":"***","context":"production"}]}"#,
        ] {
            assert_eq!(read(opaque), None, "{opaque}");
        }
        let empty = r#"{"key":"K","is_secret":false,"values":[{"value":"","context":"all"}]}"#;
        assert!(read(empty).is_some());
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        let listed = r#"{"key":"K","is_secret":false,"scopes":["builds"],"values":[
            {"value":"x","context":"branch","context_parameter":"staging"}]}"#;
        let text: SecretString = read(listed).unwrap().into();
        let sent = body("K", &text);
        assert_eq!(sent["scopes"], json!(["builds"]));
        assert_eq!(sent["values"], json!([{"context": "branch", "context_parameter": "staging", "value": "x"}]));
        assert!(is_as_wanted(&Value::Readable(text.clone()), &text));
        assert!(!is_as_wanted(&Value::Opaque, &text));
    }

    #[test]
    fn a_plain_text_is_one_value_for_all_contexts() {
        assert_eq!(body("K", &"{}".into())["values"], json!([{"context": "all", "value": "{}"}]));
    }
}
