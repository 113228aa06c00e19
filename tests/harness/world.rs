//! The world of one run: time, operations, faults, everything that is stored anywhere, and what the oracles found.
//!
//! Every call that leaves the engine goes through [`World::cut`]. Nothing here is random and nothing reads a clock but the runtime's.

use crate::api_server::{ApiServer, Call, Key, Landed, Verb};
use crate::fault::{Cut, Kind};
use crate::model::{Model, Truth};
use crate::oracles::{self, Memory};
use crate::script::Play;
use axum::body::Bytes;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use savepoint::failpoint::planted;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

pub use crate::fault::What;

/// How many operations a late call waits for.
const LATE_OPERATIONS: usize = 4;
/// A late call takes effect within its deadline and the settle slack: the contract of `--settle-slack`.
const LAST_MOMENT: Duration = Duration::from_secs(29);

/// Virtual time at which a run begins.
const BEFORE: Duration = Duration::from_secs(1000);
/// What the wall clock says then: 2026-11-20T14:00:00Z.
const WALL_CLOCK: i64 = 1_795_183_200;

/// One operation.
#[derive(Clone, Debug)]
pub struct Op {
    pub what: What,
    pub text: String,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It certainly did nothing.
    NotSent,
    /// Nobody knows.
    Unknown,
}

/// What broke a promise: the oracle's name, and in words what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub oracle: &'static str,
    pub words: String,
}

type Effect = Box<dyn FnOnce(&mut State) + Send>;

/// A call that takes effect after its caller has seen an error.
struct Late {
    at: usize,
    /// Virtual time.
    when: Duration,
    effect: Effect,
}

/// What outlives the operator's processes. A run begins from a copy of the one that its plan prepared.
#[derive(Clone, Default)]
pub struct Things {
    pub api: ApiServer,
    pub models: BTreeMap<String, Model>,
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// The components as they were when somebody asked to go back.
    pub before: Arc<BTreeMap<String, Truth>>,
    /// Virtual time at which all this is so.
    pub at: Duration,
}

/// Everything of one run.
pub struct State {
    pub things: Things,
    pub play: Play,
    pub memory: Memory,
    pub ops: Vec<Op>,
    pub cuts: Vec<Cut>,
    pub violations: Vec<Violation>,
    /// Objects that were written since the driver last looked: their watches wake it.
    pub woken: Vec<Key>,
    /// The process of now has crashed: none of its calls goes anywhere any more.
    pub crashed: bool,
    /// The process of now has been stopped right before a call: the fault that did it.
    pub paused: Option<Kind>,
    /// The stopped process goes on.
    pub resumed: bool,
    /// The operation of now reads what was so one write before.
    pub stale: bool,
    /// Number of the reconcile under way.
    pub reconcile: usize,
    /// Prints every operation with its answer.
    pub loud: bool,
    /// Virtual time of the last write to anything.
    pub last_change: Duration,
    late: Vec<Late>,
    /// Virtual time at `started`.
    began: Duration,
    started: Instant,
    trace: DefaultHasher,
}

impl State {
    fn new() -> Self {
        Self {
            things: Things::default(),
            play: Play::default(),
            memory: Memory::default(),
            ops: Vec::new(),
            cuts: Vec::new(),
            violations: Vec::new(),
            woken: Vec::new(),
            crashed: false,
            paused: None,
            resumed: false,
            stale: false,
            reconcile: 0,
            loud: false,
            last_change: BEFORE,
            late: Vec::new(),
            began: BEFORE,
            started: savepoint::clock::monotonic(),
            trace: DefaultHasher::new(),
        }
    }

    /// A copy that another run can go on from. `None` while something is under way that cannot be copied.
    pub fn copy(&self) -> Option<Self> {
        if !self.late.is_empty() || self.crashed || self.paused.is_some() {
            return None;
        }
        Some(Self {
            things: self.things.clone(),
            play: self.play.clone(),
            memory: self.memory.clone(),
            ops: self.ops.clone(),
            cuts: self.cuts.clone(),
            violations: self.violations.clone(),
            woken: self.woken.clone(),
            late: Vec::new(),
            began: self.elapsed(),
            started: savepoint::clock::monotonic(),
            trace: self.trace.clone(),
            ..*self
        })
    }

    /// Virtual time. A run begins late enough for what its plan prepared to lie in the past.
    pub fn elapsed(&self) -> Duration {
        self.began + savepoint::clock::monotonic().duration_since(self.started)
    }

    pub fn violate(&mut self, oracle: &'static str, words: impl Into<String>) {
        let words = words.into();
        if self.loud {
            println!("          VIOLATION {oracle}: {words}");
        }
        if !self.violations.iter().any(|known| known.oracle == oracle) {
            self.violations.push(Violation { oracle, words });
        }
    }

    /// Says what happens beside the operations, and takes it into the trace.
    pub fn note(&mut self, words: &str) {
        words.hash(&mut self.trace);
        if self.loud {
            println!("{:>9.1}s       {words}", self.elapsed().as_secs_f64());
        }
    }

    /// Whether two processes have been at work at the same time: what the old one still sends may undo what the new one did, as long as
    /// it is nothing that may happen only once.
    pub fn had_two_leaders(&self) -> bool {
        self.cuts.iter().any(|cut| matches!(cut.kind, Kind::Paused | Kind::PausedLong))
    }

    /// Hash over every operation with its moment, and over every note.
    pub fn trace_hash(&self) -> u64 {
        self.trace.finish()
    }

    /// Lets late calls take effect whose moment has come.
    pub fn land(&mut self) {
        let (at, now) = (self.ops.len(), self.elapsed());
        while let Some(index) = self.late.iter().position(|late| late.at <= at || late.when <= now) {
            let late = self.late.remove(index);
            self.note("a late call takes effect");
            (late.effect)(self);
        }
    }

    /// When the next late call must have taken effect.
    pub fn next_late(&self) -> Option<Duration> {
        self.late.iter().map(|late| late.when).min()
    }

    fn begin(&mut self, op: Op) -> Option<Kind> {
        self.ops.push(op);
        self.land();
        let at = self.ops.len();
        let kind = self.cuts.iter().find(|cut| cut.at == at).map(|cut| cut.kind);
        self.stale = kind == Some(Kind::Stale);
        let elapsed = self.elapsed();
        let op = &self.ops[at - 1];
        (elapsed.as_millis(), &op.text).hash(&mut self.trace);
        if self.loud {
            let cut = kind.map(|kind| format!("   <== {kind:?}")).unwrap_or_default();
            println!("{:>9.1}s {at:>4}  {}{cut}", elapsed.as_secs_f64(), op.text);
        }
        kind
    }

    /// One request to the API server takes effect.
    pub fn request(&mut self, call: Call) -> (u16, Bytes) {
        let writes = call.verb.writes();
        if call.key.resource == "events" {
            let told = call.body.unwrap_or_default().to_string();
            oracles::secrets(self, "an Event", told.as_bytes());
            self.memory.told_held_off |= told.contains("still held off");
            return (201, Bytes::from(told));
        }
        if call.verb == Verb::Delete && call.key.resource == "leases" && planted("the API server forgets a deletion") {
            return (200, Bytes::from_static(b"{\"kind\":\"Status\",\"status\":\"Success\"}"));
        }
        let now = savepoint::clock::now().to_string();
        let answer = self.things.api.answer(call, &now);
        if self.loud && (writes || answer.code >= 400) {
            println!("                 -> {}", answer.code);
        }
        if let Some(landed) = answer.landed {
            self.landed(&landed);
        }
        (answer.code, answer.body)
    }

    /// A write has landed, whoever made it.
    pub fn landed(&mut self, landed: &Landed) {
        self.last_change = self.elapsed();
        self.woken.push(landed.key.clone());
        oracles::at_write(self, landed);
        crate::script::after_write(self, landed);
    }
}

/// The world behind its lock: what clients, platforms and stores share.
pub struct World(Mutex<State>);

/// A world that many hold.
pub type Shared = Arc<World>;

/// What one operation came to.
enum Came<T> {
    To(Result<T, Broken>),
    Nowhere,
    /// It happens once the process goes on.
    Later(Box<dyn FnOnce(&mut State) -> T + Send>),
}

impl World {
    pub fn shared() -> Shared {
        Arc::new(Self(Mutex::new(State::new())))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Begins a new run from a copy of these things.
    pub fn begin(&self, things: &Things, play: Play, cuts: &[Cut]) {
        let mut state = State::new();
        state.things = things.clone();
        state.play = play;
        state.cuts = cuts.to_vec();
        state.began = things.at.max(BEFORE);
        state.last_change = state.began;
        self.go_on(state);
    }

    /// Begins a run where another one was when it was copied.
    pub fn begin_from(&self, moment: &State, cuts: &[Cut]) {
        let Some(mut state) = moment.copy() else { return };
        state.began = moment.began;
        state.cuts = cuts.to_vec();
        self.go_on(state);
    }

    /// Goes on from this state, at its own time.
    fn go_on(&self, mut state: State) {
        state.started = savepoint::clock::monotonic();
        let since = i64::try_from((state.began - BEFORE).as_nanos()).unwrap_or(i64::MAX);
        let wall = Timestamp::from_second(WALL_CLOCK).unwrap() + SignedDuration::from_nanos(since);
        savepoint::clock::virtual_from(wall);
        *self.state() = state;
    }

    /// One operation: it happens, or the fault at its number does.
    pub async fn cut<T: Send + 'static>(
        &self,
        op: Op,
        effect: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, Broken> {
        match self.now(op, effect) {
            Came::To(result) => result,
            Came::Nowhere => std::future::pending().await,
            Came::Later(effect) => {
                std::future::poll_fn(|_| if self.state().resumed { Poll::Ready(()) } else { Poll::Pending }).await;
                Ok(effect(&mut self.state()))
            }
        }
    }

    fn now<T: Send + 'static>(&self, op: Op, effect: impl FnOnce(&mut State) -> T + Send + 'static) -> Came<T> {
        let mut state = self.state();
        if state.crashed {
            return Came::Nowhere; // another call of the process that has just died
        }
        match state.begin(op) {
            None | Some(Kind::Stale) => {
                let answer = effect(&mut state);
                crate::script::after_operation(&mut state);
                Came::To(Ok(answer))
            }
            Some(Kind::CrashBefore) => {
                state.crashed = true;
                Came::Nowhere
            }
            Some(Kind::CrashAfter) => {
                effect(&mut state);
                state.crashed = true;
                Came::Nowhere
            }
            Some(Kind::ErrorBefore) => Came::To(Err(Broken::NotSent)),
            Some(Kind::LostRequest) => Came::To(Err(Broken::Unknown)),
            Some(Kind::LostResponse) => {
                effect(&mut state);
                Came::To(Err(Broken::Unknown))
            }
            Some(kind @ (Kind::Paused | Kind::PausedLong)) => {
                state.paused = Some(kind);
                Came::Later(Box::new(effect))
            }
            Some(kind @ (Kind::Late | Kind::Latest)) => {
                let at = if kind == Kind::Late { state.ops.len() + LATE_OPERATIONS } else { usize::MAX };
                let when = state.elapsed() + LAST_MOMENT;
                state.late.push(Late { at, when, effect: Box::new(move |state| drop(effect(state))) });
                Came::To(Err(Broken::Unknown))
            }
        }
    }
}
