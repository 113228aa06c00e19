//! Delays: spread by a jitter that is a pure function of who waits and how often.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// `base`, spread by ±20 %. The same object and attempt give the same delay.
pub fn jittered(base: Duration, who: &str, attempt: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (who, attempt).hash(&mut hasher);
    let permille = u32::try_from(800 + hasher.finish() % 401).unwrap_or(1000);
    base * permille / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_a_fifth() {
        let base = Duration::from_secs(100);
        let delays: Vec<_> = (0..50).map(|attempt| jittered(base, "some-uid", attempt)).collect();
        assert!(delays.iter().all(|delay| (80..=120).contains(&delay.as_secs())));
        let distinct: std::collections::BTreeSet<_> = delays.iter().collect();
        assert!(distinct.len() > 40, "{distinct:?}");
        assert_ne!(jittered(base, "some-uid", 1), jittered(base, "another-uid", 1));
        assert_eq!(jittered(base, "some-uid", 1), delays[1]);
    }
}
