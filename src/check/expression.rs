//! What `expectJson` says of a body.

use super::Finding;
pub use crate::expression::compile;
use crate::expression::{self, Fault, Outcome};

/// Whether the expression is true of this body. The caller holds the deadline.
pub async fn evaluate(source: &str, body: serde_json::Value) -> Finding {
    match expression::evaluate(source, body).await {
        Ok(Outcome::Bool(true)) => Finding::pass("expectJson is true"),
        Ok(Outcome::Bool(false)) => Finding::breach("expectJson is not true"),
        Ok(_) => Finding::breach("expectJson gives neither true nor false"),
        Err(Fault::Body) => Finding::breach("expectJson cannot be answered from this body"),
        Err(Fault::Expression(why)) => Finding::error(format!("expectJson: {why}")),
    }
}
