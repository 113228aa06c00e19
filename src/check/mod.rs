//! EFFECT. Checks: one look at something outside, said in our own words.

pub mod expression;
pub mod http;
pub mod schedule;

#[cfg(test)]
mod tests;

use crate::api::Verdict;

/// What one try of a check found. The words are ours: nothing that came over the network is in them but a status code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub verdict: Verdict,
    /// Why, in words that stay the same while nothing changes.
    pub message: String,
}

impl Finding {
    /// It passed.
    pub fn pass(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, message: message.into() }
    }

    /// It failed.
    pub fn breach(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Breach, message: message.into() }
    }

    /// It could not be carried out.
    pub fn error(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, message: message.into() }
    }
}
