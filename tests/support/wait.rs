//! Waiting for states, never for times. The bound is only there to end a test that has failed.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// Longest wait for a state.
pub const BOUND: Duration = Duration::from_secs(120);

/// Waits until `look` gives something. On failure it says what was waited for, and what was seen last.
pub async fn until<T, Seen, Fut>(what: &str, mut look: impl FnMut() -> Fut) -> T
where
    Fut: Future<Output = Result<T, Seen>>,
    Seen: Debug,
{
    let begun = std::time::Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() > BOUND => panic!("waited for {what}; last seen: {seen:#?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
