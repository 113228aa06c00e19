//! What is true of a target, from what its components, its backups and its own status say.

use crate::api::*;
use crate::decide::conditions::{Statement, say};
use crate::decide::facts::{Capabilities, Deploy, Observation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Why a component could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Reason for the condition.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// A later try may go better without anybody's help.
    pub temporary: bool,
}

/// A component that was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// What can be done with it.
    pub capabilities: Capabilities,
    /// What the platform says.
    pub observation: Observation,
    /// Names of its variables; whether each can be read. `None`: the platform has none.
    pub variables: Option<Vec<(String, bool)>>,
}

/// One component and what came of reading it.
#[derive(Clone, Debug)]
pub struct ComponentReading {
    /// Name of the component.
    pub name: String,
    /// Platform that it runs on.
    pub platform: PlatformName,
    /// Names that must be there.
    pub required: Vec<String>,
    /// What came of reading it.
    pub result: Result<Read, Unread>,
}

/// Most deploys to go back to that status shows.
const SHOWN_DEPLOYS: usize = 10;

/// Status of one component.
pub fn component_status(reading: &ComponentReading, left: &[RolledAwayDeploy]) -> ComponentStatus {
    let empty = ComponentStatus {
        name: reading.name.clone(),
        platform: reading.platform,
        reachable: false,
        message: None,
        current: None,
        can_roll_back_to: Vec::new(),
        environment: None,
        capabilities: Vec::new(),
    };
    match &reading.result {
        Err(unread) => ComponentStatus {
            reachable: !matches!(unread.reason, Reason::PlatformUnreachable | Reason::RateLimited),
            message: Some(crate::decide::conditions::clip(&unread.message)),
            ..empty
        },
        Ok(read) => ComponentStatus {
            reachable: true,
            current: read.observation.current.as_ref().map(deploy_status),
            can_roll_back_to: candidates(&reading.name, read, left),
            environment: read.variables.as_ref().map(|variables| environment_status(&reading.required, variables)),
            capabilities: capabilities(read.capabilities),
            ..empty
        },
    }
}

/// A deploy as status shows it.
pub fn deploy_status(deploy: &Deploy) -> DeployStatus {
    DeployStatus {
        id: deploy.id.clone(),
        commit: deploy.commit.clone(),
        created: deploy.created.clone(),
        state: Some(deploy.state.clone()),
        link: deploy.link.clone(),
    }
}

fn candidates(component: &str, read: &Read, left: &[RolledAwayDeploy]) -> Vec<DeployStatus> {
    let current = read.observation.current.as_ref().map(|deploy| deploy.id.as_str());
    let was_left = |deploy: &Deploy| left.iter().any(|left| left.component == component && left.deploy == deploy.id);
    let deploys = read.observation.deploys.iter();
    deploys
        .filter(|deploy| deploy.can_return && Some(deploy.id.as_str()) != current && !was_left(deploy))
        .take(SHOWN_DEPLOYS)
        .map(deploy_status)
        .collect()
}

fn environment_status(required: &[String], variables: &[(String, bool)]) -> EnvironmentStatus {
    let present: BTreeSet<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    EnvironmentStatus {
        count: i64::try_from(variables.len()).unwrap_or(i64::MAX),
        missing: required.iter().filter(|name| !present.contains(name.as_str())).take(512).cloned().collect(),
        unreadable: variables
            .iter()
            .filter(|(_, readable)| !readable)
            .take(512)
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

fn capabilities(capabilities: Capabilities) -> Vec<String> {
    let Capabilities { environment, roll_back, redeploy, freeze, move_branch, flags, data } = capabilities;
    let named = [
        (true, "Observe"),
        (environment, "Environment"),
        (roll_back, "RollBack"),
        (redeploy, "Redeploy"),
        (freeze, "Freeze"),
        (move_branch, "MoveBranch"),
        (flags, "FeatureFlags"),
        (data, "Data"),
    ];
    named.iter().filter(|(can, _)| *can).map(|(_, name)| (*name).to_owned()).collect()
}

/// Whether the refusal is about a Secret or what it holds.
const fn about_credentials(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::SecretNotFound
            | R::SecretKeyMissing
            | R::SecretNotLabelled
            | R::SecretAccessDenied
            | R::CredentialsRejected
            | R::PermissionDenied
    )
}

/// The conditions of a target that could be looked at.
pub fn statements(
    readings: &[ComponentReading],
    status: &DeploymentTargetStatus,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Vec<Statement> {
    let unread = || readings.iter().filter_map(|reading| reading.result.as_ref().err());
    let credentials = unread().find(|unread| about_credentials(unread.reason));
    let unreachable = unread().find(|unread| !about_credentials(unread.reason));
    let mut said = vec![
        match credentials {
            Some(unread) => say(ConditionType::CredentialsValid, false, unread.reason, unread.message.clone()),
            None if unreachable.is_some() => {
                say(ConditionType::CredentialsValid, Tri::Unknown, Reason::Unknown, "a platform did not answer")
            }
            None => say(
                ConditionType::CredentialsValid,
                true,
                Reason::CredentialsAccepted,
                "every platform accepts its credential",
            ),
        },
        match unreachable {
            Some(unread) => say(ConditionType::PlatformReachable, false, unread.reason, unread.message.clone()),
            None => say(ConditionType::PlatformReachable, true, Reason::PlatformAnswered, "every platform answers"),
        },
        environment_complete(status),
        backup_fresh(status, max_age, now),
        frozen(status),
    ];
    let broken = credentials.or(unreachable);
    let permanent = broken.filter(|unread| !unread.temporary);
    said.push(match broken {
        Some(unread) => say(ConditionType::Ready, false, unread.reason, unread.message.clone()),
        None => say(ConditionType::Ready, true, Reason::AsExpected, format!("{} components read", readings.len())),
    });
    said.push(match permanent {
        Some(unread) => say(ConditionType::Stalled, true, unread.reason, unread.message.clone()),
        None => say(ConditionType::Stalled, false, Reason::AsExpected, "nothing is in the way"),
    });
    said.push(match broken.filter(|unread| unread.temporary) {
        Some(unread) => say(ConditionType::Reconciling, true, unread.reason, unread.message.clone()),
        None => say(ConditionType::Reconciling, false, Reason::AsExpected, "up to date"),
    });
    said
}

fn environment_complete(status: &DeploymentTargetStatus) -> Statement {
    let missing: Vec<String> = status
        .components
        .iter()
        .flat_map(|component| {
            let names = component.environment.iter().flat_map(|environment| &environment.missing);
            names.map(|name| format!("{}: {name}", component.name))
        })
        .collect();
    match missing.len() {
        0 => say(
            ConditionType::EnvironmentComplete,
            true,
            Reason::VariablesPresent,
            "every required variable is present",
        ),
        count => {
            let words = format!("{count} required variables are missing: {}", missing.join(", "));
            say(ConditionType::EnvironmentComplete, false, Reason::VariablesMissing, words)
        }
    }
}

fn backup_fresh(status: &DeploymentTargetStatus, max_age: Option<Duration>, now: Timestamp) -> Statement {
    let type_ = ConditionType::BackupFresh;
    let Some(last) = &status.last_backup else {
        return say(type_, false, Reason::NoBackup, "there is no verified backup");
    };
    let Some(max_age) = max_age else {
        return say(type_, true, Reason::BackupRecent, format!("newest verified backup: {}", last.name));
    };
    let age = Duration::try_from(now.duration_since(last.time.0)).unwrap_or_default();
    match age <= max_age {
        true => say(type_, true, Reason::BackupRecent, format!("{} is younger than {}s", last.name, max_age.as_secs())),
        false => say(type_, false, Reason::BackupTooOld, format!("{} is older than {}s", last.name, max_age.as_secs())),
    }
}

fn frozen(status: &DeploymentTargetStatus) -> Statement {
    match &status.freeze {
        None => say(ConditionType::Frozen, false, Reason::NotFrozen, "automatic deploys are not held"),
        Some(freeze) if freeze.holders.is_empty() => {
            let settings = freeze.settings.iter();
            let words: Vec<String> = settings.map(|s| format!("{}: {} to {}", s.component, s.name, s.prior)).collect();
            let words = format!(
                "a rollback froze these settings and nobody is left to put them back: set them by hand ({}); the hold ends once they read so",
                words.join(", ")
            );
            say(ConditionType::Frozen, true, Reason::FrozenByRollback, words)
        }
        Some(freeze) => {
            let holders: Vec<&str> = freeze.holders.iter().map(|holder| holder.name.as_str()).collect();
            let words =
                format!("automatic deploys are held by {}: set spec.release there to end it", holders.join(", "));
            say(ConditionType::Frozen, true, Reason::FrozenByRollback, words)
        }
    }
}

/// The newest good backup among these, by name, whether it is good, and when it finished.
pub fn last_backup<'a>(backups: impl Iterator<Item = &'a DeploymentBackup>, uid: &str) -> Option<LastBackup> {
    let good = backups.filter_map(|backup| {
        let status = backup.status.as_ref()?;
        let ours = status.target.as_ref().is_some_and(|target| target.uid == uid);
        let verified = is_true(&status.conditions, ConditionType::Succeeded)
            && is_true(&status.conditions, ConditionType::Verified);
        let time: Time = status.finished.clone()?;
        (ours && verified).then(|| LastBackup { name: backup.metadata.name.clone().unwrap_or_default(), time })
    });
    good.max_by(|a, b| (a.time.0, &a.name).cmp(&(b.time.0, &b.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(result: Result<Read, Unread>) -> ComponentReading {
        ComponentReading {
            name: "backend".into(),
            platform: PlatformName::Render,
            required: vec!["DATABASE_URL".into()],
            result,
        }
    }

    fn unread(reason: Reason, temporary: bool) -> ComponentReading {
        reading(Err(Unread { reason, message: "words".into(), temporary }))
    }

    fn of(said: &[Statement], type_: ConditionType) -> (Tri, Reason) {
        said.iter().find(|statement| statement.type_ == type_).map(|s| (s.status, s.reason)).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(10_000).unwrap()
    }

    #[test]
    fn readiness_is_credentials_and_reach_and_nothing_else() {
        let status = DeploymentTargetStatus::default();
        for (reading, credentials, reachable, stalled) in [
            (unread(Reason::CredentialsRejected, false), Tri::False, Tri::True, Tri::True),
            (unread(Reason::SecretNotFound, false), Tri::False, Tri::True, Tri::True),
            (unread(Reason::PlatformUnreachable, true), Tri::Unknown, Tri::False, Tri::False),
            (unread(Reason::ResourceGone, false), Tri::Unknown, Tri::False, Tri::True),
        ] {
            let said = statements(std::slice::from_ref(&reading), &status, None, now());
            assert_eq!(of(&said, ConditionType::Ready).0, Tri::False, "{reading:?}");
            assert_eq!(of(&said, ConditionType::CredentialsValid).0, credentials, "{reading:?}");
            assert_eq!(of(&said, ConditionType::PlatformReachable).0, reachable, "{reading:?}");
            assert_eq!(of(&said, ConditionType::Stalled).0, stalled, "{reading:?}");
        }
        // No backup and a missing variable do not touch Ready: a gate on Ready would block the very sync that repairs production.
        let said = statements(&[], &status, Some(Duration::from_secs(60)), now());
        assert_eq!(of(&said, ConditionType::Ready), (Tri::True, Reason::AsExpected));
        assert_eq!(of(&said, ConditionType::BackupFresh), (Tri::False, Reason::NoBackup));
    }

    #[test]
    fn a_hold_that_nobody_ends_says_what_to_put_back() {
        let setting = FrozenSetting { component: "web".into(), name: "stop_builds".into(), prior: "false".into() };
        let mut freeze = FreezeStatus { since: Time(now()), holders: Vec::new(), settings: vec![setting] };
        let words = |freeze: &FreezeStatus| {
            let status = DeploymentTargetStatus { freeze: Some(freeze.clone()), ..DeploymentTargetStatus::default() };
            let said = statements(&[], &status, None, now());
            said.into_iter().find(|said| said.type_ == ConditionType::Frozen).unwrap().message
        };
        let said = words(&freeze);
        assert!(said.contains("by hand (web: stop_builds to false)") && !said.contains("spec.release"), "{said}");
        freeze.holders = vec![FreezeHolder { name: "back".into(), uid: "u".into(), components: vec!["web".into()] }];
        assert_eq!(words(&freeze), "automatic deploys are held by back: set spec.release there to end it");
    }

    fn deploy(id: &str, can_return: bool) -> Deploy {
        Deploy { id: id.into(), state: "live".into(), can_return, ..Deploy::default() }
    }

    #[test]
    fn a_component_says_what_is_live_what_it_can_go_back_to_and_what_it_lacks() {
        let left =
            |component: &str, deploy: &str| RolledAwayDeploy { component: component.into(), deploy: deploy.into() };
        let deploys = [("dep-4", true), ("dep-3", true), ("dep-2", false), ("dep-1", true), ("dep-0", true)];
        let observation = Observation {
            current: Some(deploy("dep-4", true)),
            deploys: deploys.map(|(id, can_return)| deploy(id, can_return)).to_vec(),
            ..Observation::default()
        };
        let capabilities = Capabilities { environment: true, roll_back: true, ..Capabilities::default() };
        let variables = Some(vec![("OPEN".to_owned(), true), ("SEALED".to_owned(), false)]);
        let read = reading(Ok(Read { capabilities, observation, variables }));
        let status = component_status(&read, &[left("backend", "dep-1"), left("another", "dep-0")]);
        assert_eq!((status.name.as_str(), status.reachable, status.message.as_deref()), ("backend", true, None));
        assert_eq!(status.current.map(|deploy| deploy.id).as_deref(), Some("dep-4"));
        let back: Vec<&str> = status.can_roll_back_to.iter().map(|deploy| deploy.id.as_str()).collect();
        assert_eq!(
            back,
            ["dep-3", "dep-0"],
            "neither what is live, nor what cannot come back, nor what was rolled away from"
        );
        assert_eq!(status.capabilities, ["Observe", "Environment", "RollBack"]);
        let environment = status.environment.unwrap();
        assert_eq!(
            (environment.count, environment.missing, environment.unreadable),
            (2, vec!["DATABASE_URL".into()], vec!["SEALED".into()])
        );
    }

    #[test]
    fn a_component_that_answered_was_reached_whatever_it_said() {
        for (reason, reachable) in [
            (Reason::CredentialsRejected, true),
            (Reason::ResourceGone, true),
            (Reason::PlatformUnreachable, false),
            (Reason::RateLimited, false),
        ] {
            let status = component_status(&unread(reason, true), &[]);
            assert_eq!((status.reachable, status.message.as_deref()), (reachable, Some("words")), "{reason}");
            assert_eq!((status.current, status.environment, status.capabilities), (None, None, vec![]));
        }
    }

    fn backup(name: &str, uid: &str, finished: i64, conditions: &[ConditionType]) -> DeploymentBackup {
        let spec = serde_json::json!({"targetRef": {"name": "shop"}, "tier": "Quick"});
        let mut backup = DeploymentBackup::new(name, serde_json::from_value(spec).unwrap());
        let mut status = DeploymentBackupStatus {
            target: Some(PinnedRef { name: "shop".into(), uid: uid.into() }),
            finished: Some(Time(Timestamp::from_second(finished).unwrap())),
            ..DeploymentBackupStatus::default()
        };
        for type_ in conditions {
            let said = say(*type_, true, Reason::AsExpected, "");
            crate::decide::conditions::set(&mut status.conditions, said, 1, now());
        }
        backup.status = Some(status);
        backup
    }

    #[test]
    fn the_last_backup_is_the_newest_good_one_of_this_very_target() {
        use ConditionType::{Succeeded, Verified};
        let all = [
            backup("old", "uid", 10, &[Succeeded, Verified]),
            backup("good", "uid", 20, &[Succeeded, Verified]),
            backup("unverified", "uid", 30, &[Succeeded]),
            backup("failed", "uid", 40, &[Verified]),
            backup("of-another", "other", 50, &[Succeeded, Verified]),
        ];
        assert_eq!(last_backup(all.iter(), "uid").map(|last| last.name).as_deref(), Some("good"));
        assert_eq!(last_backup(all.iter(), "gone"), None);
    }

    #[test]
    fn a_backup_is_fresh_up_to_its_age() {
        let last_backup = Some(LastBackup { name: "b".into(), time: Time(Timestamp::from_second(9_940).unwrap()) });
        let status = DeploymentTargetStatus { last_backup, ..DeploymentTargetStatus::default() };
        for (age, expected) in [(60, Reason::BackupRecent), (59, Reason::BackupTooOld)] {
            let said = statements(&[], &status, Some(Duration::from_secs(age)), now());
            assert_eq!(of(&said, ConditionType::BackupFresh).1, expected);
        }
    }
}
