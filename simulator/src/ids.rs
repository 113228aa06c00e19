//! Identifiers in the vendors' forms: the same in every run, and never twice in one.
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

#[derive(Default)]
pub struct Ids(AtomicU64);

impl Ids {
    fn next(&self, kind: &str) -> String {
        digest(&format!("{kind}/{}", self.0.fetch_add(1, Ordering::Relaxed)))
    }

    /// A prefix and twenty characters, as Render's.
    pub fn prefixed(&self, prefix: &str) -> String {
        format!("{prefix}-{}", &self.next(prefix)[..20])
    }

    /// Twenty-four hexadecimal digits, as Netlify's deploys.
    pub fn hex24(&self) -> String {
        self.next("hex")[..24].to_string()
    }

    pub fn uuid(&self) -> String {
        let hex = self.next("uuid");
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    pub fn request(&self) -> String {
        format!("req-{}", &self.next("req")[..16])
    }

    pub fn number(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
