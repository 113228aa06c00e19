//! A bare repository, worked on by git itself.
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;

pub const ZEROS: &str = "0000000000000000000000000000000000000000";

#[derive(Clone, Debug)]
pub struct Git {
    directory: PathBuf,
    /// A home without settings, so that the person's own git configuration plays no part.
    home: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git cannot be run")]
    Run(#[source] std::io::Error),
    #[error("git {command}: {said}")]
    Refused { command: String, said: String },
}

#[derive(Clone, Debug)]
pub struct Ref {
    pub name: String,
    pub sha: String,
    pub kind: String,
}

#[derive(Clone, Debug)]
pub struct Person {
    pub name: String,
    pub email: String,
    pub date: Timestamp,
}

#[derive(Clone, Debug)]
pub struct GitCommit {
    pub sha: String,
    pub tree: String,
    pub parents: Vec<String>,
    pub author: Person,
    pub committer: Person,
    pub message: String,
}

/// A wished change of one ref. Both sides may be [`ZEROS`]: absent before, or absent after.
#[derive(Clone, Debug)]
pub struct Move {
    pub name: String,
    pub old: String,
    pub new: String,
}

impl Git {
    pub fn init(directory: &Path, home: &Path) -> Result<Git, GitError> {
        std::fs::create_dir_all(directory).map_err(GitError::Run)?;
        let git = Git { directory: directory.to_path_buf(), home: home.to_path_buf() };
        git.run(&["init", "--quiet", "--bare", "--initial-branch=main"], None)?;
        Ok(git)
    }

    fn run(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<String, GitError> {
        let mut child = Command::new("git")
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("GIT_DIR", &self.directory)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("LC_ALL", "C")
            .current_dir(&self.home)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(GitError::Run)?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            // A child that ends early tells why on its error output.
            let _ = pipe.write_all(input);
        }
        let output = child.wait_with_output().map_err(GitError::Run)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            Err(GitError::Refused { command: arguments.first().copied().unwrap_or_default().to_string(), said })
        }
    }

    /// Refs whose full name begins with `prefix`.
    pub fn refs(&self, prefix: &str) -> Result<Vec<Ref>, GitError> {
        let listed = self.run(&["for-each-ref", "--format=%(objectname) %(objecttype) %(refname)"], None)?;
        let refs = listed.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ' ').map(str::to_string);
            Some(Ref { sha: parts.next()?, kind: parts.next()?, name: parts.next()? })
        });
        Ok(refs.filter(|found| found.name.starts_with(prefix)).collect())
    }

    pub fn find(&self, name: &str) -> Result<Option<Ref>, GitError> {
        Ok(self.refs(name)?.into_iter().find(|found| found.name == name))
    }

    /// The type of an object; none when it is not there. Only whole names of objects are looked at.
    pub fn kind(&self, sha: &str) -> Option<String> {
        let whole = sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !whole {
            return None;
        }
        self.run(&["cat-file", "-t", sha], None).ok().map(|kind| kind.trim().to_string())
    }

    /// The commit that a branch, a tag or a possibly shortened name means.
    pub fn resolve(&self, name: &str) -> Option<String> {
        let commit = format!("{name}^{{commit}}");
        let found = self.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit], None).ok()?;
        Some(found.trim().to_string())
    }

    pub fn commit(&self, sha: &str) -> Option<GitCommit> {
        if self.kind(sha)? != "commit" {
            return None;
        }
        parse_commit(sha, &self.run(&["cat-file", "commit", sha], None).ok()?)
    }

    /// Commits reachable by these arguments of `git rev-list`, newest first.
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<String>, GitError> {
        let mut all = vec!["rev-list"];
        all.extend(arguments);
        Ok(self.run(&all, None)?.lines().map(str::to_string).collect())
    }

    pub fn is_ancestor(&self, old: &str, new: &str) -> bool {
        self.run(&["merge-base", "--is-ancestor", old, new], None).is_ok()
    }

    pub fn merge_base(&self, left: &str, right: &str) -> Option<String> {
        self.run(&["merge-base", left, right], None).ok().map(|sha| sha.trim().to_string())
    }

    pub fn is_good_name(&self, name: &str) -> bool {
        name.starts_with("refs/")
            && name.matches('/').count() >= 2
            && self.run(&["check-ref-format", name], None).is_ok()
    }

    /// Moves all refs or none; git itself compares the old values under its locks.
    pub fn update(&self, moves: &[Move]) -> Result<(), GitError> {
        let mut script = String::from("start\n");
        for step in moves {
            let line = match (step.old.as_str(), step.new.as_str()) {
                (ZEROS, ZEROS) => format!("verify {} {ZEROS}\n", step.name),
                (ZEROS, new) => format!("create {} {new}\n", step.name),
                (old, ZEROS) => format!("delete {} {old}\n", step.name),
                (old, new) => format!("update {} {new} {old}\n", step.name),
            };
            script.push_str(&line);
        }
        script.push_str("prepare\ncommit\n");
        self.run(&["update-ref", "--stdin"], Some(script.as_bytes())).map(|_| ())
    }

    /// The name of this commit object; stored unless `dry`.
    pub fn write_commit(&self, raw: &str, dry: bool) -> Result<String, GitError> {
        let mut arguments = vec!["hash-object", "-t", "commit", "--stdin"];
        if !dry {
            arguments.push("-w");
        }
        Ok(self.run(&arguments, Some(raw.as_bytes()))?.trim().to_string())
    }

    /// Runs a stream of `git fast-import`.
    pub fn import(&self, stream: &[u8]) -> Result<(), GitError> {
        self.run(&["fast-import", "--quiet", "--force", "--date-format=raw"], Some(stream)).map(|_| ())
    }

    pub fn set_head(&self, branch: &str) -> Result<(), GitError> {
        self.run(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], None).map(|_| ())
    }
}

pub fn parse_commit(sha: &str, raw: &str) -> Option<GitCommit> {
    let (head, message) = raw.split_once("\n\n")?;
    let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let parents = head.lines().filter_map(|line| line.strip_prefix("parent ")).map(str::to_string).collect();
    Some(GitCommit {
        sha: sha.to_string(),
        tree: line("tree")?.to_string(),
        parents,
        author: parse_person(line("author")?)?,
        committer: parse_person(line("committer")?)?,
        message: message.to_string(),
    })
}

fn parse_person(line: &str) -> Option<Person> {
    let (name, rest) = line.split_once(" <")?;
    let (email, date) = rest.split_once("> ")?;
    let seconds = date.split(' ').next()?.parse().ok()?;
    Some(Person { name: name.into(), email: email.into(), date: Timestamp::from_second(seconds).ok()? })
}
