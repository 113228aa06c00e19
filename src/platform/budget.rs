//! How much each credential may still send, and whether it may send at all.
//!
//! One account per platform, host and credential, shared by every component and every reconcile of the process. Nothing here sleeps: who
//! may not send is told when to come back.

use super::retry_after;
use crate::api::PlatformName;
use reqwest::header::HeaderMap;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a credential that was rejected stays unused. A new value is another credential and is tried at once.
const REJECTED_FOR: Duration = Duration::from_secs(10 * 60);
/// How long an account that nobody uses is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Whose calls are counted together. The credential stands here only as a digest, and only in memory.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Credential {
    pub platform: PlatformName,
    pub host: String,
    pub digest: [u8; 32],
}

/// What a call counts against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    Read,
    Write,
    /// Calls that vendors limit per resource: deploys, rollbacks, changes of a service.
    Deploy(String),
}

/// Why a call must not be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The platform rejected this credential, and nothing suggests that it would not do so again.
    Rejected,
    /// The platform asked to be left alone for so long.
    Asked(Duration),
    /// Our own share of the vendor's limit is used up for so long.
    Spent(Duration),
}

/// Calls per minute that the vendors allow.
struct Limits {
    reads: usize,
    writes: usize,
    deploys: usize,
}

/// Sources: Render, "Rate limits" of the API reference (400 reads, 30 writes per user, 10 deploys per service, each per minute); Netlify,
/// "Get started with the API" (500 calls a minute, shared here between reads and writes); GitHub, "Rate limits for the REST API" (900 points
/// a minute at 1 per read and 5 per write, 80 creations a minute).
const fn limits(platform: PlatformName) -> Limits {
    match platform {
        PlatformName::Render => Limits { reads: 400, writes: 30, deploys: 10 },
        PlatformName::Netlify => Limits { reads: 400, writes: 100, deploys: 100 },
        PlatformName::Github => Limits { reads: 500, writes: 60, deploys: 60 },
        // Their own installations: a rate that no server minds.
        PlatformName::FeatureFlags | PlatformName::Postgres | PlatformName::Http => {
            Limits { reads: 600, writes: 300, deploys: 60 }
        }
    }
}

/// The moments of the last calls: never more than the limit in any minute, yet all of it at once where it is free.
#[derive(Default)]
struct Window(VecDeque<Instant>);

impl Window {
    fn take(&mut self, limit: usize, now: Instant) -> Result<(), Duration> {
        while self.0.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            self.0.pop_front();
        }
        match self.0.front() {
            Some(first) if self.0.len() >= limit => Err(MINUTE.saturating_sub(now.duration_since(*first))),
            _ => {
                self.0.push_back(now);
                Ok(())
            }
        }
    }
}

struct Account {
    reads: Window,
    writes: Window,
    deploys: BTreeMap<String, Window>,
    not_before: Option<Instant>,
    rejected: Option<Instant>,
    /// Refusals for too many calls since the last success, for the waits where the platform names none.
    refusals: u32,
    left: Option<u64>,
    used: Instant,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            reads: Window::default(),
            writes: Window::default(),
            deploys: BTreeMap::new(),
            not_before: None,
            rejected: None,
            refusals: 0,
            left: None,
            used: now,
        }
    }

    fn enter(&mut self, limits: &Limits, quota: &Quota, now: Instant) -> Result<(), Held> {
        self.used = now;
        if self.rejected.is_some_and(|since| now.duration_since(since) < REJECTED_FOR) {
            return Err(Held::Rejected);
        }
        if let Some(wait) = self.not_before.and_then(|moment| moment.checked_duration_since(now))
            && !wait.is_zero()
        {
            return Err(Held::Asked(wait));
        }
        let taken = match quota {
            Quota::Read => self.reads.take(limits.reads, now),
            Quota::Write => self.writes.take(limits.writes, now),
            Quota::Deploy(resource) => self.deploys.entry(resource.clone()).or_default().take(limits.deploys, now),
        };
        taken.map_err(Held::Spent)
    }
}

/// The accounts of all credentials of the process.
#[derive(Default)]
pub(super) struct Budgets(Mutex<HashMap<Credential, Account>>);

impl Budgets {
    /// Counts one call, or says why it must not be sent.
    pub fn enter(&self, credential: &Credential, quota: &Quota, now: Instant) -> Result<(), Held> {
        let mut accounts = self.locked();
        if !accounts.contains_key(credential) {
            accounts.retain(|_, account| now.duration_since(account.used) < REMEMBERED_FOR);
        }
        let account = accounts.entry(credential.clone()).or_insert_with(|| Account::new(now));
        account.enter(&limits(credential.platform), quota, now)
    }

    /// The platform took the call.
    pub fn accepted(&self, credential: &Credential, headers: &HeaderMap, now: Instant) {
        self.change(credential, now, |account| {
            account.refusals = 0;
            account.rejected = None;
            account.left = retry_after::calls_left(headers).or(account.left);
        });
    }

    /// The platform does not know the credential: it is not sent again for a while.
    pub fn rejected(&self, credential: &Credential, now: Instant) {
        self.change(credential, now, |account| account.rejected = Some(now));
    }

    /// The platform refused for too many calls. Gives the wait, at least `at_least` where it names none itself.
    pub fn limited(&self, credential: &Credential, headers: &HeaderMap, at_least: Duration, now: Instant) -> Duration {
        let named = retry_after::asked(headers).or_else(|| retry_after::reset(headers));
        let mut wait = named.unwrap_or(at_least);
        self.change(credential, now, |account| {
            wait = named.unwrap_or_else(|| backoff(account.refusals).max(at_least));
            account.refusals = account.refusals.saturating_add(1);
            // An answer that was under way before the refusal must not shorten the wait.
            account.not_before = account.not_before.max(Some(now + wait));
            account.left = retry_after::calls_left(headers).or(account.left);
        });
        wait
    }

    /// Calls left by the platforms' own count, the least over all credentials.
    pub fn left(&self) -> BTreeMap<PlatformName, u64> {
        let mut least = BTreeMap::new();
        for (credential, account) in self.locked().iter() {
            if let Some(left) = account.left {
                least
                    .entry(credential.platform)
                    .and_modify(|known: &mut u64| *known = left.min(*known))
                    .or_insert(left);
            }
        }
        least
    }

    fn change(&self, credential: &Credential, now: Instant, change: impl FnOnce(&mut Account)) {
        change(self.locked().entry(credential.clone()).or_insert_with(|| Account::new(now)));
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Credential, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 5, 10, 20, 40, then 60 seconds.
fn backoff(refusals: u32) -> Duration {
    Duration::from_secs(5u64.saturating_mul(1 << refusals.min(4)).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(digest: u8) -> Credential {
        Credential { platform: PlatformName::Render, host: "api.render.com".into(), digest: [digest; 32] }
    }

    #[test]
    fn a_minute_never_holds_more_than_the_limit() {
        let (budgets, start) = (Budgets::default(), Instant::now());
        for _ in 0..30 {
            assert_eq!(budgets.enter(&credential(1), &Quota::Write, start), Ok(()));
        }
        let soon = start + Duration::from_secs(20);
        assert_eq!(budgets.enter(&credential(1), &Quota::Write, soon), Err(Held::Spent(Duration::from_secs(40))));
        assert_eq!(budgets.enter(&credential(1), &Quota::Read, soon), Ok(()));
        assert_eq!(budgets.enter(&credential(2), &Quota::Write, soon), Ok(()));
        assert_eq!(budgets.enter(&credential(1), &Quota::Write, start + MINUTE), Ok(()));
    }

    #[test]
    fn deploys_count_per_service() {
        let (budgets, now) = (Budgets::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(budgets.enter(&credential(1), &Quota::Deploy("a".into()), now), Ok(()));
        }
        assert!(budgets.enter(&credential(1), &Quota::Deploy("a".into()), now).is_err());
        assert_eq!(budgets.enter(&credential(1), &Quota::Deploy("b".into()), now), Ok(()));
    }

    #[test]
    fn a_refusal_holds_every_call_of_the_credential_and_grows_without_a_named_wait() {
        let (budgets, now) = (Budgets::default(), Instant::now());
        let waits: Vec<u64> =
            (0..6).map(|_| budgets.limited(&credential(1), &HeaderMap::new(), Duration::ZERO, now).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(budgets.enter(&credential(1), &Quota::Read, now), Err(Held::Asked(Duration::from_secs(60))));
        assert_eq!(budgets.enter(&credential(2), &Quota::Read, now), Ok(()));
        budgets.accepted(&credential(1), &HeaderMap::new(), now);
        let later = now + Duration::from_secs(61);
        assert_eq!(budgets.enter(&credential(1), &Quota::Read, later), Ok(()));
    }

    #[test]
    fn a_rejected_credential_is_tried_again_after_ten_minutes() {
        let (budgets, now) = (Budgets::default(), Instant::now());
        budgets.rejected(&credential(1), now);
        assert_eq!(budgets.enter(&credential(1), &Quota::Read, now + REJECTED_FOR / 2), Err(Held::Rejected));
        assert_eq!(budgets.enter(&credential(1), &Quota::Read, now + REJECTED_FOR), Ok(()));
    }
}
