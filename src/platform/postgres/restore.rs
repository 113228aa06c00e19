//! A restore: one session, one transaction, one commit at the very end. It takes minutes where a reconcile may not, so a task of this
//! process owns it, and whoever asks later learns from the server itself how it stands.
//!
//! The dump becomes SQL in `pg_restore` and goes into `psql` behind an explicit BEGIN. COMMIT is written only after the whole dump was
//! read, its digest matched, and `pg_restore` ended well. If anything breaks off, also this process, psql comes to the end of its input
//! inside the transaction, and the server takes everything back. `psql -1` would commit there.

use super::address::{Address, Route};
use super::connection::error;
use super::dump::{complaint, judged};
use super::marks::{has_session, mark};
use super::programs::Programs;
use super::script::{self, Mark, There};
use super::{Postgres, facts};
use crate::api::{CapturedData, EffectClass, IntegrityQuery, PinnedRef};
use crate::decide::facts::Progress;
use crate::platform::{CommittedIntent, DataSource, DataStream, ErrorKind, Result, SendError, SendOutcome};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

pub(super) const OPERATION: &str = "restore data";
/// Longest time for one restore.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How much of the end of the SQL is looked at before it is sent.
const TAIL: usize = 4096;

/// The restores that this process began. It is no state that matters: the server knows what became of each.
#[derive(Default)]
pub(super) struct Restores(Mutex<HashMap<String, State>>);

#[derive(Clone)]
enum State {
    /// Bytes of the dump that were read so far.
    Running(Arc<AtomicU64>),
    /// It ended: None, or what went wrong.
    Ended(Option<String>),
}

impl Restores {
    fn of(&self, attempt: &str) -> Option<State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(attempt).cloned()
    }

    fn set(&self, attempt: &str, state: State) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > 1_000 {
            all.retain(|_, state| matches!(state, State::Running(_)));
        }
        all.insert(attempt.to_owned(), state);
    }
}

/// How often a restore that lost a deadlock begins its transaction anew.
const DEADLOCKS: usize = 5;

/// Everything that a restore needs after the call that began it has returned.
struct Job {
    attempt: String,
    name: String,
    address: Address,
    route: Route,
    programs: Programs,
    server: u32,
    there: There,
    data: CapturedData,
    backup: String,
    queries: Vec<IntegrityQuery>,
    source: Arc<dyn DataSource>,
}

/// How the session of an attempt is called: short enough that the server does not cut it.
fn session_name(attempt: &str) -> String {
    let digest = Sha256::digest(attempt.as_bytes());
    digest.iter().take(16).fold("savepoint-restore-".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// Begins the restore and returns. The output is the attempt, by which `inspect` finds it.
pub(super) async fn begin(
    postgres: &Postgres,
    intent: CommittedIntent,
    (backup, data): (&PinnedRef, &CapturedData),
    source: Option<&dyn DataSource>,
) -> Result<SendOutcome, SendError> {
    let not_applied = |kind, words: &str| SendError::NotApplied(error(OPERATION, kind, words));
    if intent.class() != EffectClass::Destructive {
        return Err(not_applied(ErrorKind::NotAllowed, "the call has another effect class than its intent"));
    }
    let source = source.ok_or_else(|| not_applied(ErrorKind::NotAllowed, "there is no dump to restore"))?.share();
    let attempt = intent.intent().id.clone();
    let job = postgres.in_time(OPERATION, prepare(postgres, attempt.clone(), backup, data, source)).await;
    let job = job.map_err(SendError::NotApplied)?;
    let read = Arc::new(AtomicU64::new(0));
    postgres.shared.restores.set(&attempt, State::Running(read.clone()));
    let shared = postgres.shared.clone();
    let message = format!("session {} restores the dump of backup {}", job.name, backup.name);
    tokio::spawn(async move {
        let attempt = job.attempt.clone();
        // In a task of its own, so that not even a panic leaves a restore that seems to go on for ever.
        let ended = tokio::spawn(async move { tokio::time::timeout(LIMIT, run_to_an_end(&job, &read)).await }).await;
        let went_wrong = match ended {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(why))) => Some(why),
            Ok(Err(_)) => Some(format!("it took longer than {} hours", LIMIT.as_secs() / 3600)),
            Err(_) => Some("the task broke off".to_owned()),
        };
        if let Some(why) = &went_wrong {
            tracing::warn!(attempt, error = why, "a restore failed; nothing of it took effect");
        }
        shared.restores.set(&attempt, State::Ended(went_wrong));
    });
    Ok(SendOutcome { output: Some(attempt), message })
}

async fn prepare(
    postgres: &Postgres,
    attempt: String,
    backup: &PinnedRef,
    data: &CapturedData,
    source: Arc<dyn DataSource>,
) -> Result<Job> {
    let address = postgres.restored_to();
    let link = postgres.link(address, OPERATION).await?;
    let (_, server) = facts::version(&link).await?;
    let name = session_name(&attempt);
    let known = postgres.shared.restores.of(&attempt).is_some();
    if known || has_session(&link, &name).await? || mark(&link, &attempt).await?.is_some() {
        return Err(error(OPERATION, ErrorKind::Refused, "this attempt was begun before: it is never sent twice"));
    }
    // What was dumped by a newer program cannot be read by an older one.
    let dumped = data.server_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let programs = postgres.programs(server.max(dumped), OPERATION).await?;
    let there = There {
        schemas: link.column(OPERATION, "SELECT nspname FROM pg_catalog.pg_namespace").await?,
        extensions: link.column(OPERATION, "SELECT extname FROM pg_catalog.pg_extension").await?,
        publications: link.column(OPERATION, "SELECT pubname FROM pg_catalog.pg_publication").await?,
        languages: link.column(OPERATION, "SELECT lanname FROM pg_catalog.pg_language").await?,
    };
    let queries = postgres.spec.integrity.clone().unwrap_or_default();
    // One statement each, and read-only: the server says so before any of it comes near the transaction of the restore.
    link.run(OPERATION, "BEGIN READ ONLY").await?;
    for query in queries.iter().filter(|query| data.integrity.contains_key(&query.name)) {
        let statement = query.query.trim().trim_end_matches(';');
        if let Err(met) = link.client.prepare(statement).await
            && met.code() == Some(&tokio_postgres::error::SqlState::SYNTAX_ERROR)
        {
            let words = format!("integrity query {} is not one statement", query.name);
            return Err(error(OPERATION, ErrorKind::Refused, words));
        }
        // A table that is missing now may well come with the dump.
        link.run(OPERATION, "ROLLBACK; BEGIN READ ONLY").await?;
    }
    let (route, address) = (link.route.clone(), address.clone());
    let (data, backup) = (data.clone(), backup.uid.clone());
    Ok(Job { attempt, name, address, route, programs, server, there, data, backup, queries, source })
}

/// What broke, while nothing was committed.
enum Broke {
    /// The dump was cut or altered, or a program could not be started.
    Said(String),
    /// psql ended: it has said why.
    Session,
}

/// Runs the restore. Where the server chose it as the victim of a deadlock, its transaction was rolled back for certain: the same attempt
/// goes on with a new one.
async fn run_to_an_end(job: &Job, read: &AtomicU64) -> Result<(), String> {
    let mut met = Ok(());
    for _ in 0..DEADLOCKS {
        met = run(job, read).await;
        if !met.as_ref().is_err_and(|why| why.contains("deadlock detected")) {
            return met;
        }
        read.store(0, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    met
}

async fn run(job: &Job, read: &AtomicU64) -> Result<(), String> {
    let list = list(job).await?;
    let mut wanted =
        tempfile::NamedTempFile::new().map_err(|_| "there is no folder for temporary files (TMPDIR)".to_owned())?;
    let text = script::wanted(&list, &job.there);
    wanted
        .write_all(text.as_bytes())
        .and_then(|()| wanted.flush())
        .map_err(|_| "a temporary file could not be written".to_owned())?;
    let unusable = |_| "a client program could not be started".to_owned();
    let mut restoring = job.programs.bare("pg_restore");
    restoring
        .args(["--clean", "--if-exists", "--single-transaction", "--file=-", "--use-list"])
        .arg(wanted.path())
        .stdin(Stdio::piped());
    let mut session = job.programs.command("psql", &job.address, &job.route, &job.name).map_err(|met| met.message)?;
    session.args([
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
        "--set=VERBOSITY=verbose",
        "--file=-",
    ]);
    session.stdin(Stdio::piped()).stdout(Stdio::null());
    let data = job.source.open().await?;
    let mut restoring = restoring.spawn().map_err(unusable)?;
    let mut session = session.spawn().map_err(unusable)?;
    let (restore_complaint, session_complaint) = (listen(&mut restoring), listen(&mut session));
    let broke = carry(job, (&list, data), &mut restoring, &mut session, read).await.err();
    let _ = restoring.start_kill();
    if matches!(broke, Some(Broke::Said(_))) {
        let _ = session.start_kill();
    }
    let ended = session.wait().await.map_err(unusable)?;
    let (said_restore, said_session) =
        (restore_complaint.await.unwrap_or_default(), session_complaint.await.unwrap_or_default());
    match broke {
        None if ended.success() => {
            crate::failpoint::reach("after-commit");
            Ok(())
        }
        None | Some(Broke::Session) => Err(judged(&said_session, job.address.secret()).1),
        Some(Broke::Said(words)) if words.is_empty() => {
            Err(format!("pg_restore: {}", judged(&said_restore, job.address.secret()).1))
        }
        Some(Broke::Said(words)) => Err(words),
    }
}

fn listen(child: &mut Child) -> tokio::task::JoinHandle<String> {
    let from = child.stderr.take();
    tokio::spawn(async move {
        match from {
            Some(from) => complaint(from).await,
            None => String::new(),
        }
    })
}

/// Opening, dump, closing, into the one session. Until the closing is written whole, nothing can be committed.
async fn carry(
    job: &Job,
    (list, data): (&str, DataStream),
    restoring: &mut Child,
    session: &mut Child,
    read: &AtomicU64,
) -> Result<(), Broke> {
    let missing = || Broke::Said("a client program could not be started".into());
    let into_restore = restoring.stdin.take().ok_or_else(missing)?;
    let from_restore = restoring.stdout.take().ok_or_else(missing)?;
    let mut into_session = session.stdin.take().ok_or_else(missing)?;
    let opening = script::opening(&job.attempt, &script::schemas(list), job.server);
    into_session.write_all(opening.as_bytes()).await.map_err(|_| Broke::Session)?;
    tokio::try_join!(feed(data, into_restore, read), translate(from_restore, &mut into_session, job.server))?;
    let ended = restoring.wait().await.map_err(|_| missing())?;
    if !ended.success() {
        return Err(Broke::Said(String::new())); // it has said why
    }
    let mark = Mark {
        attempt: &job.attempt,
        sha256: &job.data.sha256,
        backup: &job.backup,
        queries: &job.queries,
        expected: &job.data.integrity,
    };
    crate::failpoint::reach("before-commit");
    into_session.write_all(script::closing(&mark).as_bytes()).await.map_err(|_| Broke::Session)?;
    into_session.shutdown().await.map_err(|_| Broke::Session)
}

/// The dump, to its very end: only there is it known to be whole.
async fn feed(mut data: DataStream, into: ChildStdin, read: &AtomicU64) -> Result<(), Broke> {
    let mut into = Some(into);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count =
            data.read(&mut buffer).await.map_err(|met| Broke::Said(format!("the dump could not be read: {met}")))?;
        if count == 0 {
            return Ok(());
        }
        read.fetch_add(count as u64, Ordering::Relaxed);
        // pg_restore may have all that it needs before the last byte.
        if let Some(open) = &mut into
            && open.write_all(&buffer[..count]).await.is_err()
        {
            into = None;
        }
    }
}

/// The SQL of the dump, into the session. Newer programs set what older servers do not know, and its last statement is a COMMIT that is
/// not its to give (without `--single-transaction` there would be more of them, around large objects).
async fn translate(from: ChildStdout, into: &mut ChildStdin, server: u32) -> Result<(), Broke> {
    let unreadable = |_| Broke::Said("pg_restore could not be read".into());
    let mut from = BufReader::with_capacity(256 * 1024, from);
    let mut held = Vec::new();
    while !held.starts_with(b"SET row_security") {
        held.clear();
        if from.read_until(b'\n', &mut held).await.map_err(unreadable)? == 0 {
            return Err(Broke::Said(String::new())); // it has said why
        }
        if server >= 17 || !held.starts_with(b"SET transaction_timeout") {
            into.write_all(&held).await.map_err(|_| Broke::Session)?;
        }
    }
    held.clear();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = from.read(&mut buffer).await.map_err(unreadable)?;
        if count == 0 {
            break;
        }
        held.extend_from_slice(&buffer[..count]);
        let ready = held.len().saturating_sub(TAIL);
        into.write_all(&held[..ready]).await.map_err(|_| Broke::Session)?;
        held.drain(..ready);
    }
    let rest = script::without_commit(&held).ok_or_else(|| Broke::Said(String::new()))?;
    into.write_all(&rest).await.map_err(|_| Broke::Session)
}

/// What the dump holds.
async fn list(job: &Job) -> Result<String, String> {
    let data = job.source.open().await?;
    let unusable = || "pg_restore could not be started".to_owned();
    let mut child =
        job.programs.bare("pg_restore").arg("--list").stdin(Stdio::piped()).spawn().map_err(|_| unusable())?;
    let said = listen(&mut child);
    let (Some(into), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else { return Err(unusable()) };
    let mut list = String::new();
    // It needs the beginning alone, and ends when it has it.
    let (fed, read) = {
        let mut feed = std::pin::pin!(feed_until_closed(data, into));
        let mut read = std::pin::pin!(from.read_to_string(&mut list));
        tokio::select! {
            biased;
            read = &mut read => (Ok(()), read),
            // The very same reading goes on: another one would begin where this one is.
            fed = &mut feed => (fed, read.await),
        }
    };
    let ended = child.wait().await.map_err(|_| unusable())?;
    fed?;
    if read.is_err() || !ended.success() || !list.starts_with(";\n; Archive created at") {
        return Err(format!("pg_restore: {}", judged(&said.await.unwrap_or_default(), job.address.secret()).1));
    }
    Ok(list)
}

async fn feed_until_closed(mut data: DataStream, mut into: ChildStdin) -> Result<(), String> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = data.read(&mut buffer).await.map_err(|met| format!("the dump could not be read: {met}"))?;
        if count == 0 || into.write_all(&buffer[..count]).await.is_err() {
            return Ok(());
        }
    }
}

/// How a restore stands, from the server itself. `output` is the attempt; without one only a session of ours can be told.
pub(super) async fn progress(postgres: &Postgres, data: &CapturedData, output: Option<&str>) -> Result<Progress> {
    let link = postgres.link(postgres.restored_to(), OPERATION).await?;
    let Some(attempt) = output else {
        let statement = "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE datname = current_database() \
                         AND application_name LIKE 'savepoint-restore-%'";
        let running = !link.rows(OPERATION, statement).await?.is_empty();
        let message = || "a restore of this database is under way".to_owned();
        return Ok(if running {
            Progress::InProgress { output: None, message: message() }
        } else {
            Progress::NotStarted
        });
    };
    let output = Some(attempt.to_owned());
    // In this order: whoever ends between two of these looks has left its mark before the last one.
    let known = postgres.shared.restores.of(attempt);
    let running = has_session(&link, &session_name(attempt)).await?;
    match (mark(&link, attempt).await?, known) {
        (Some((sha256, said)), _) if sha256 == data.sha256 => Ok(Progress::Done { output, evidence: said }),
        (Some(_), _) => {
            Ok(Progress::Unclear { message: "the database says that this attempt restored another dump".into() })
        }
        (None, Some(State::Running(read))) => {
            let message = how_far(read.load(Ordering::Relaxed), data.size_bytes);
            Ok(Progress::InProgress { output, message })
        }
        (None, _) if running => {
            let message =
                "a session of an earlier process of ours is ending; without its input it cannot commit".into();
            Ok(Progress::InProgress { output, message })
        }
        (None, Some(State::Ended(Some(message)))) => {
            Ok(Progress::Failed { output, message: format!("{message}; nothing of the restore took effect") })
        }
        (None, Some(State::Ended(None)) | None) => Ok(Progress::NotStarted),
    }
}

/// How far a restore is, in tenths: words that change with each look would be a write of the status with each look.
fn how_far(read: u64, size_bytes: i64) -> String {
    let all = u64::try_from(size_bytes).unwrap_or(0).max(1);
    let percent = 10 * (read.saturating_mul(10) / all).min(9); // what comes after the last byte takes its time as well
    let mebibytes = all >> 20;
    format!(
        "restoring: at least {percent} % of the dump ({mebibytes} MiB) was read; nothing is visible before all of it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_about_a_restore_change_at_most_ten_times() {
        let size = 500_000_000;
        let mut words: Vec<String> = (0..=1_000).map(|part| how_far(part * 500_000, size)).collect();
        assert!(words[0].contains("at least 0 % of the dump (476 MiB)"), "{}", words[0]);
        assert!(words[555].contains("at least 50 %"), "{}", words[555]);
        words.dedup();
        assert_eq!(words.len(), 10, "{words:?}");
        assert!(how_far(7, 0).contains("90 %"), "a dump without a size");
    }
}
