//! Delays: spread by a jitter that is a pure function of who waits and how often.

use std::time::Duration;

/// `base`, spread by ±20 %. The same object and attempt give the same delay.
pub fn jittered(base: Duration, who: &str, attempt: u32) -> Duration {
    let hash = who.bytes().fold(u64::from(attempt) ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let permille = u32::try_from(800 + hash % 401).unwrap_or(1000);
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
        assert!(delays.iter().any(|delay| delay != &delays[0]));
    }
}
