//! One run: boots the operator, reconciles what is due, boots it again after a crash, until nothing is left to do.

use crate::api_server::Key;
use crate::fault::{Cut, Kind};
use crate::oracles::{self, End, at_end};
use crate::plans::Row;
use crate::platforms::FakeConnector;
use crate::queue::Queue;
use crate::script::{self, Play, request};
use crate::stage;
use crate::stores::InMemory;
use crate::world::{Op, Shared, State, Things, Violation, What, World};
use clap::Parser;
use futures::FutureExt;
use savepoint::api::{DeploymentBackup, RollbackRequest};
use savepoint::config::Config;
use savepoint::controller::{Context, Failure, Leadership, Outcome, Waits, backup, rollback};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// An age identity of the tests.
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
/// How long the operator is away after a crash.
const RESTART: Duration = Duration::from_secs(10);
/// Longest time in which nothing changes, but for a run that waits for a person: the wait for a keyless call that left no trace.
const QUIET: Duration = Duration::from_secs(150);
/// Time until those act who wait until nothing happens.
const A_WHILE: Duration = Duration::from_secs(20);
/// How many reconciles the other process does before a stopped one goes on.
const PAUSE: usize = 6;
/// More reconciles than any run needs.
const MOST_RECONCILES: usize = 2_000;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub end: End,
    pub ops: Vec<What>,
    /// Two steps were under way at the same time.
    pub overlapped: bool,
    pub violations: Vec<Violation>,
    pub trace: u64,
}

/// Everything that runs share on one thread.
pub struct Lab {
    world: Shared,
    client: kube::Client,
    config: Config,
    identity: SecretString,
}

/// A plan, made ready to be run.
pub struct Prepared {
    pub row: Row,
    things: Things,
}

impl Lab {
    /// Must be made on the runtime that it is used on.
    pub fn new() -> Self {
        let world = World::shared();
        let client = crate::api_service::client(&world);
        let config = Config::parse_from(["savepoint", "--poll-interval", "10s", "--replica", "harness"]);
        Self { world, client, config, identity: SecretString::from(IDENTITY.to_owned()) }
    }

    /// Brings the world to where somebody asks to go back.
    pub async fn prepare(&self, row: &Row) -> Prepared {
        self.world.begin(&Things::default(), Play::default(), &[]);
        stage::before(&mut self.world.state(), row);
        Run::new(self).until_settled().await;
        stage::incident(&mut self.world.state(), row);
        if !row.first.is_empty() {
            self.world.state().play.confirms = true;
            stage::ask_first(&mut self.world.state(), row);
            Run::new(self).until_settled().await;
        }
        let mut state = self.world.state();
        stage::ask(&mut state, row);
        state.things.at = state.elapsed();
        let things = std::mem::take(&mut state.things);
        Prepared { row: row.clone(), things }
    }

    /// One run with these cuts, from its beginning.
    pub async fn run(&self, plan: &Prepared, cuts: &[Cut], clean: Option<&End>, loud: bool) -> Report {
        self.begin(plan, cuts, loud);
        Run::new(self).until_settled().await;
        self.report(plan, clean)
    }

    /// One run with these cuts, and the moments that others may go on from.
    pub async fn run_kept(&self, plan: &Prepared, cuts: &[Cut], clean: Option<&End>) -> (Report, Vec<Moment>) {
        self.begin(plan, cuts, false);
        let moments = Run { moments: Some(Vec::new()), ..Run::new(self) }.until_settled().await;
        (self.report(plan, clean), moments)
    }

    /// As `run`, but what comes before the last cut is taken from a run that had the same cuts until there.
    pub async fn run_on(&self, plan: &Prepared, cuts: &[Cut], clean: Option<&End>, moments: &[Moment]) -> Report {
        let is_before = |moment: &&Moment| cuts.last().is_none_or(|cut| moment.state.ops.len() < cut.at);
        let Some(moment) = moments.iter().rev().find(is_before) else {
            return self.run(plan, cuts, clean, false).await;
        };
        self.world.begin_from(&moment.state, cuts);
        Run::from(self, moment).until_settled().await;
        self.report(plan, clean)
    }

    fn begin(&self, plan: &Prepared, cuts: &[Cut], loud: bool) {
        let row = &plan.row;
        let play = Play {
            confirms: !row.silent,
            releases: row.releases,
            lines: row.lines.to_vec(),
            lines_at_first: row.lines.len(),
            falls: row.strategy == "Gradual",
            troubled: !row.trouble.is_empty(),
            ..Play::default()
        };
        self.world.begin(&plan.things, play, cuts);
        self.world.state().loud = loud;
    }

    fn report(&self, plan: &Prepared, clean: Option<&End>) -> Report {
        let mut state = self.world.state();
        if crate::logs::leaked() {
            state.violate("I23 no secret anywhere", "a canary stands in a line of the log");
        }
        let end = at_end(&mut state, &plan.row, clean);
        let overlapped = state.memory.overlapped;
        let ops = state.ops.iter().map(|op| op.what).collect();
        Report { end, ops, overlapped, violations: std::mem::take(&mut state.violations), trace: state.trace_hash() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.world.state()
    }
}

/// A moment between two reconciles that another run can go on from: everything but the process, which keeps nothing that matters.
pub struct Moment {
    state: State,
    queue: Queue,
    epoch: i64,
    waits: Waits,
}

/// A reconcile under way.
type Work = Pin<Box<dyn Future<Output = Result<Outcome, Failure>>>>;

/// A process that was stopped in the middle of a reconcile.
struct Frozen {
    work: Work,
    /// Reconciles of the other one until it goes on.
    left: usize,
}

/// How a reconcile ended.
enum Ended {
    Done(Result<Outcome, Failure>),
    Crashed,
    Paused(Kind),
}

/// One run under way.
struct Run<'a> {
    lab: &'a Lab,
    context: Arc<Context>,
    epoch: i64,
    frozen: Option<Frozen>,
    queue: Queue,
    /// Where other runs may go on from, if they are wanted.
    moments: Option<Vec<Moment>>,
}

impl<'a> Run<'a> {
    fn new(lab: &'a Lab) -> Self {
        let queue = Queue::of_all(&mut lab.state());
        Self { lab, context: boot(lab, 0), epoch: 0, frozen: None, queue, moments: None }
    }

    /// Goes on from a moment of an earlier run.
    fn from(lab: &'a Lab, moment: &Moment) -> Self {
        let context = boot(lab, moment.epoch);
        context.wait_as(&moment.waits);
        Self { lab, context, epoch: moment.epoch, frozen: None, queue: moment.queue.clone(), moments: None }
    }

    /// Keeps this moment, if it can be gone on from.
    fn remember(&mut self) {
        let Some(moments) = self.moments.as_mut().filter(|_| self.frozen.is_none()) else { return };
        if let (Some(waits), Some(state)) = (self.context.waits(), self.lab.state().copy()) {
            moments.push(Moment { state, queue: self.queue.clone(), epoch: self.epoch, waits });
        }
    }

    async fn restart(&mut self) {
        tokio::time::advance(RESTART).await;
        self.reboot();
    }

    fn reboot(&mut self) {
        self.epoch += 1;
        self.context = boot(self.lab, self.epoch);
        let mut state = self.lab.state();
        state.crashed = false;
        state.note("the operator starts again");
        self.queue = Queue::of_all(&mut state);
    }

    async fn until_settled(mut self) -> Vec<Moment> {
        for _ in 0..MOST_RECONCILES {
            if self.lab.state().crashed {
                self.restart().await; // a dump beside the reconciles was cut
            }
            self.queue.wake(&mut self.lab.state());
            let next = self.queue.next();
            if !self.pass_time(next.as_ref().map(|(_, at)| *at)).await {
                if self.frozen.is_none() {
                    return self.moments.unwrap_or_default();
                }
                self.thaw().await;
                continue;
            }
            let Some((key, _)) = next else { continue };
            let now = {
                let mut state = self.lab.state();
                self.queue.wake(&mut state);
                state.elapsed()
            };
            if !self.queue.is_later(&key, now) {
                self.remember();
                self.one(&key).await;
            }
        }
        self.lab.state().violate("I21 every run ends", format!("more than {MOST_RECONCILES} reconciles"));
        Vec::new()
    }

    /// One reconcile, and what follows where the process did not survive it.
    async fn one(&mut self, key: &Key) {
        let writes = self.lab.state().things.api.version();
        self.lab.state().reconcile += 1;
        let began = savepoint::clock::monotonic();
        let mut work = self.work(key);
        match until_crash(&self.lab.world, &mut work).await {
            Ended::Done(result) => {
                oracles::at_reconcile(&mut self.lab.state(), began);
                let wrote = self.lab.state().things.api.version() != writes;
                self.queue.schedule(&mut self.lab.state(), key, result, wrote);
            }
            Ended::Crashed => self.restart().await,
            Ended::Paused(kind) => {
                let left = if kind == Kind::Paused { PAUSE } else { usize::MAX };
                self.frozen = Some(Frozen { work, left });
                tokio::time::advance(self.lab.config.lease_duration).await;
                self.reboot();
            }
        }
        let resumes = self.frozen.as_mut().is_some_and(|frozen| {
            frozen.left -= 1;
            frozen.left == 0
        });
        if resumes {
            self.thaw().await;
        }
    }

    /// The stopped process goes on where it was, and ends as soon as it sees that it lost the lease.
    async fn thaw(&mut self) {
        let Some(Frozen { mut work, .. }) = self.frozen.take() else { return };
        self.lab.state().note("the stopped process goes on");
        self.lab.state().resumed = true;
        match until_crash(&self.lab.world, &mut work).await {
            Ended::Crashed => self.lab.state().crashed = false,
            Ended::Done(_) | Ended::Paused(_) => {}
        }
    }

    /// Goes on to when something is due, letting late calls land and quiet people act. `false`: nothing is left to do.
    async fn pass_time(&mut self, next: Option<Duration>) -> bool {
        let patience = self.patience();
        let (now, late, quiet_at, until, has_quiet) = {
            let state = self.lab.state();
            let has_quiet = state.play.lines.first().is_some_and(|(when, _)| *when == script::When::Quiet);
            let last = state.last_change;
            (state.elapsed(), state.next_late(), last + A_WHILE, last + patience, has_quiet)
        };
        if has_quiet && next.is_none_or(|next| next > quiet_at) {
            self.advance_to(quiet_at).await;
            script::after_quiet(&mut self.lab.state());
            return true;
        }
        match (next, late) {
            (None, None) => return false,
            (next, Some(late)) if next.is_none_or(|next| late < next) => {
                self.advance_to(late).await;
                self.lab.state().land();
                return true;
            }
            (Some(next), _) if next > now.max(until) => return false,
            (Some(next), _) => self.advance_to(next).await,
            (None, Some(_)) => {}
        }
        self.lab.state().land();
        true
    }

    async fn advance_to(&self, at: Duration) {
        let left = at.saturating_sub(self.lab.state().elapsed());
        if !left.is_zero() {
            // In whole milliseconds, as the runtime's timers go: or it would matter when a run began.
            tokio::time::advance(Duration::from_millis(left.as_micros().div_ceil(1_000) as u64)).await;
        }
    }

    /// A deletion that waits for a platform goes on for ten minutes; a person is waited for a little.
    fn patience(&self) -> Duration {
        let state = self.lab.state();
        let Some(stored) = state.things.api.get(&request()) else { return QUIET };
        let deleting = !stored.value["metadata"]["deletionTimestamp"].is_null();
        let asked = !stored.value["status"]["question"].is_null();
        match (deleting, asked) {
            (true, _) => Duration::from_secs(700),
            (false, true) => Duration::from_secs(40),
            (false, false) => QUIET,
        }
    }

    /// A reconcile of this object, beginning with what the cache shows of it.
    fn work(&self, key: &Key) -> Work {
        self.context.leader.renew_now();
        let (world, context, key) = (self.lab.world.clone(), self.context.clone(), key.clone());
        let op = Op { what: What::Seen, text: format!("see {}", key.name) };
        let work = async move {
            let (wanted, kind) = (key.clone(), key.resource);
            let seen = world.cut(op, move |state| {
                let stored = state.things.api.get(&wanted)?;
                Some(stored.previous.clone().filter(|_| state.stale).unwrap_or_else(|| stored.bytes.clone()))
            });
            let Some(bytes) = seen.await.ok().flatten() else { return Ok(Outcome::AwaitChange) };
            match kind.as_str() {
                "rollbackrequests" => match parsed::<RollbackRequest>(&bytes) {
                    Ok(request) => rollback::reconcile(request, context).await,
                    Err(_) => Ok(Outcome::AwaitChange), // `controller::run` says so on the object, and does nothing else
                },
                _ => backup::reconcile(parsed::<DeploymentBackup>(&bytes).unwrap(), context).await,
            }
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        Box::pin(work.map(|ended| ended.unwrap_or_else(|_| Err(Failure::Bug("it panicked".into())))))
    }
}

fn boot(lab: &Lab, epoch: i64) -> Arc<Context> {
    let leader = Arc::new(Leadership::of_epoch(&lab.config, epoch));
    let connector = Arc::new(FakeConnector(lab.world.clone()));
    let identity = Some(lab.identity.clone());
    let mut context = Context::new(lab.client.clone(), lab.config.clone(), connector, leader, identity);
    let world = lab.world.clone();
    context.stores =
        Arc::new(move |_, namespace| Ok(Box::new(InMemory { world: world.clone(), namespace: namespace.to_owned() })));
    Arc::new(context)
}

fn parsed<K: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<Arc<K>> {
    serde_json::from_slice(bytes).map(Arc::new)
}

/// Polls `work` until it ends, or until its process crashes or is stopped.
async fn until_crash(world: &Shared, work: &mut Work) -> Ended {
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ended::Done(done));
        }
        let mut state = world.state();
        match state.paused.take() {
            _ if state.crashed => Poll::Ready(Ended::Crashed),
            Some(kind) => Poll::Ready(Ended::Paused(kind)),
            None => Poll::Pending,
        }
    })
    .await
}
