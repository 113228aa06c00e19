//! The steps, in order: freeze, then (after the safety backup) variables, code, branch, pin.

use super::environment::{Difference, difference, digest_of};
use super::resolve::{Goal, Goals, concerns, short};
use super::{ComponentFacts, Plan, PlanFacts, PlanRefusal, refuse};
use crate::api::*;
use crate::decide::freeze;
use std::collections::BTreeMap;

/// The steps of a plan while it is laid out.
struct Layout<'a> {
    facts: &'a PlanFacts<'a>,
    steps: Vec<PlannedStep>,
    release: Vec<PlannedStep>,
    not_restored: Vec<String>,
}

pub(super) fn lay_out(facts: &PlanFacts<'_>, goals: &Goals) -> Result<Plan, PlanRefusal> {
    let ordered = in_order(&facts.components)?;
    let mut layout = Layout { facts, steps: Vec::new(), release: Vec::new(), not_restored: Vec::new() };
    let differences = differences(facts, goals, &ordered);
    let mut working = Vec::new();
    for component in &ordered {
        let goal = goals.components.get(&component.name).cloned().unwrap_or_default();
        if layout.has_work(component, &goal, differences.get(&component.name))? {
            working.push((*component, goal));
        }
    }
    for (component, _) in &working {
        layout.freeze(component);
    }
    let first_effect = layout.steps.len();
    for (component, _) in &working {
        layout.environment(component, differences.get(&component.name));
    }
    for (component, goal) in &working {
        layout.code(component, goal, differences.get(&component.name))?;
    }
    for (component, goal) in &working {
        layout.branch(component, goal);
    }
    for (component, _) in &working {
        layout.pin(component);
    }
    let key_of_first = layout.steps.get(first_effect).map(|step| step.key.clone());
    Ok(Plan {
        version: PLAN_VERSION,
        digest: String::new(),
        to: goals.words.clone(),
        backup_ref: goals.backup.clone(),
        because: None,
        destructive: layout.steps.iter().any(|step| step.destructive),
        safety_backup: SafetyBackup::Required,
        safety_tier: Some(Tier::Quick),
        confirm_because: Vec::new(),
        irreversible: Vec::new(),
        expected_seconds: 0,
        point_of_no_return: key_of_first.clone(),
        safety_backup_before: key_of_first,
        not_restored: layout.not_restored,
        steps: layout.steps,
        release: layout.release,
    })
}

/// What of the variables differs, for strategies that restore them.
fn differences(facts: &PlanFacts<'_>, goals: &Goals, ordered: &[&ComponentFacts]) -> BTreeMap<String, Difference> {
    let (_, environment) = concerns(facts.request.spec.strategy);
    let with_values = ordered.iter().filter(|component| environment && component.capabilities.environment);
    with_values
        .filter_map(|component| {
            let goal = goals.components.get(&component.name)?.variables.as_ref()?;
            Some((component.name.clone(), difference(&component.variables, goal)))
        })
        .collect()
}

/// Rank of a role among components that do not depend on each other.
const fn rank(role: Role) -> u8 {
    match role {
        Role::FeatureFlags => 0,
        Role::Database => 1,
        Role::Backend => 2,
        Role::Cache => 3,
        Role::Other => 4,
        Role::Frontend => 5,
        Role::Source => 6,
    }
}

/// Components in the order in which they go back: what others depend on first, then by role, then by name.
fn in_order(components: &[ComponentFacts]) -> Result<Vec<&ComponentFacts>, PlanRefusal> {
    let mut left: Vec<&ComponentFacts> = components.iter().collect();
    left.sort_by(|a, b| (rank(a.role), &a.name).cmp(&(rank(b.role), &b.name)));
    let mut ordered: Vec<&ComponentFacts> = Vec::new();
    while !left.is_empty() {
        let free =
            left.iter().position(|c| !c.depends_on.iter().any(|need| left.iter().any(|other| other.name == *need)));
        let Some(free) = free else {
            let names: Vec<&str> = left.iter().map(|component| component.name.as_str()).collect();
            let text = format!("dependsOn goes in a circle among {}: take one of these edges out", names.join(", "));
            return refuse(Reason::CycleInDependsOn, text);
        };
        ordered.push(left.remove(free));
    }
    Ok(ordered)
}

impl Layout<'_> {
    fn key(&self, component: &ComponentFacts, what: &str) -> String {
        format!("{:02}-{}-{what}", self.steps.len() + 1, component.name)
    }

    fn current(component: &ComponentFacts) -> String {
        match &component.observation.current {
            Some(deploy) => match &deploy.commit {
                Some(commit) if *commit != deploy.id => format!("{} (commit {})", deploy.id, short(commit)),
                _ => deploy.id.clone(),
            },
            None => "nothing live".into(),
        }
    }

    /// Whether anything of this component has to change.
    fn has_work(
        &mut self,
        component: &ComponentFacts,
        goal: &Goal,
        difference: Option<&Difference>,
    ) -> Result<bool, PlanRefusal> {
        if let Some(difference) = difference.filter(|difference| !difference.unreadable.is_empty()) {
            self.not_restored.push(crate::decide::conditions::clip(&format!(
                "{}: {} cannot be read, so it is neither overwritten nor deleted",
                component.name,
                difference.unreadable.join(", ")
            )));
        }
        let (code, _) = concerns(self.facts.request.spec.strategy);
        let environment = difference.is_some_and(|difference| !difference.is_empty());
        if code && component.capabilities.roll_back && goal.deploy.is_none() {
            let text = format!("component {}: the backup names no deploy that was live", component.name);
            return refuse(Reason::BackupLacksComponent, text);
        }
        if code && component.capabilities.move_branch && goal.commit.is_none() {
            let text = format!("component {}: the backup names no commit", component.name);
            return refuse(Reason::BackupLacksComponent, text);
        }
        let moves = code && (Self::deploy_moves(component, goal) || Self::branch_moves(component, goal));
        Ok(environment || moves)
    }

    fn deploy_moves(component: &ComponentFacts, goal: &Goal) -> bool {
        let current = component.observation.current.as_ref().map(|deploy| &deploy.id);
        component.capabilities.roll_back && current != goal.deploy.as_ref()
    }

    fn branch_moves(component: &ComponentFacts, goal: &Goal) -> bool {
        let current = component.observation.current.as_ref().map(|deploy| &deploy.id);
        component.branch.is_some() && current != goal.commit.as_ref()
    }

    fn freeze(&mut self, component: &ComponentFacts) {
        if self.facts.target.spec.rollback.freeze == Freeze::None || !component.capabilities.freeze {
            return;
        }
        let settings = freeze::freeze(component.platform, &component.observation.settings);
        if settings.is_empty() {
            // Held already: as one more holder, this request may be the last one and then puts the first prior settings back.
            let back = freeze::thaw_held(self.facts.target, &component.name, &component.observation.settings);
            self.add_release(component, back);
            return;
        }
        let words = |pick: fn(&SettingChange) -> &String| list(&settings, pick);
        let (from, to) = (words(|setting| &setting.from), words(|setting| &setting.to));
        let undo = format!("set back: {from}");
        let key = self.key(component, "freeze");
        self.add_settings(component, key, "stop automatic deploys", (from, to), undo, settings);
    }

    fn add_release(&mut self, component: &ComponentFacts, back: Vec<SettingChange>) {
        if back.is_empty() {
            return;
        }
        let (from, to) = (list(&back, |s| &s.from), list(&back, |s| &s.to));
        let key = format!("release-{:02}-{}", self.release.len() + 1, component.name);
        let step = planned(component, key, "end the hold", EffectClass::SetToValue, (from, to), "hold again");
        self.release.push(PlannedStep { change: Change::SetSettings { settings: back }, ..step });
    }

    fn pin(&mut self, component: &ComponentFacts) {
        let (code, _) = concerns(self.facts.request.spec.strategy);
        if self.facts.target.spec.rollback.freeze == Freeze::None || !code || !component.capabilities.roll_back {
            return;
        }
        let settings = freeze::pin(component.platform, &component.observation.settings);
        if settings.is_empty() {
            return;
        }
        let key = self.key(component, "pin");
        let words =
            ("it can be replaced by the next build".to_owned(), "it stays published until it is released".to_owned());
        self.add_settings(component, key, "lock the published deploy", words, "unlock it".into(), settings);
    }

    /// One step that writes settings, and its counterpart for the release.
    fn add_settings(
        &mut self,
        component: &ComponentFacts,
        key: String,
        action: &str,
        (from, to): (String, String),
        undo: String,
        settings: Vec<SettingChange>,
    ) {
        let mut back = freeze::thaw(self.facts.target, &component.name, &settings);
        for setting in &mut back {
            // A pin is written whatever was read before; released it goes back to what was really read.
            if let Some(read) = component.observation.settings.get(&setting.name).filter(|_| key.ends_with("-pin")) {
                setting.to.clone_from(read);
            }
        }
        back.retain(|setting| setting.from != setting.to);
        self.add_release(component, back);
        let step = planned(component, key, action, EffectClass::SetToValue, (from, to), &undo);
        self.steps.push(PlannedStep { change: Change::SetSettings { settings }, ..step });
    }

    fn environment(&mut self, component: &ComponentFacts, difference: Option<&Difference>) {
        let Some(difference) = difference.filter(|difference| !difference.is_empty()) else { return };
        let Difference { added, changed, removed, values, .. } = difference.clone();
        let mut words = Vec::new();
        for (verb, names) in [("add", &added), ("change", &changed), ("delete", &removed)] {
            if !names.is_empty() {
                words.push(format!("{verb} {}", names.join(", ")));
            }
        }
        let touched = |name: &str| [&added, &changed, &removed].iter().any(|names| names.iter().any(|n| n == name));
        let digest_names = self.facts.digest_names;
        let change = Change::SetEnvironment {
            values_digest: digest_names(&values),
            baseline_digest: digest_of(&component.variables, &|_| false, digest_names),
            untouched_digest: digest_of(&component.variables, &touched, digest_names),
            added,
            changed,
            removed,
            values_from: ValuesFrom::Backup,
        };
        let destructive = matches!(&change, Change::SetEnvironment { removed, .. } if !removed.is_empty());
        let from = format!("{} variables", component.variables.len());
        let to = crate::decide::conditions::clip(&words.join("; "));
        let key = self.key(component, "environment");
        let undo = "set again from the safety backup";
        let step = planned(component, key, "restore variables", EffectClass::SetToValue, (from, to), undo);
        self.steps.push(PlannedStep { destructive, change, ..step });
    }

    fn code(
        &mut self,
        component: &ComponentFacts,
        goal: &Goal,
        difference: Option<&Difference>,
    ) -> Result<(), PlanRefusal> {
        let (code, _) = concerns(self.facts.request.spec.strategy);
        if code && Self::deploy_moves(component, goal) {
            return self.roll_back(component, goal);
        }
        let written = difference.is_some_and(|difference| !difference.is_empty());
        if written && component.capabilities.redeploy {
            self.redeploy(component);
        } else if written {
            self.not_restored.push(format!(
                "{}: the variables take effect with the next build, which Savepoint does not start",
                component.name
            ));
        }
        Ok(())
    }

    fn roll_back(&mut self, component: &ComponentFacts, goal: &Goal) -> Result<(), PlanRefusal> {
        let Some(wanted) = &goal.deploy else { return Ok(()) };
        let known = component.observation.deploys.iter().find(|deploy| deploy.id == *wanted && deploy.can_return);
        let Some(known) = known else {
            let text = format!(
                "component {}: {} no longer holds deploy {wanted}, or it was never live: choose another backup",
                component.name, component.platform
            );
            return refuse(Reason::DeployGone, text);
        };
        let commit = known.commit.clone().or_else(|| goal.commit.clone());
        let live = component.observation.current.as_ref().map(|deploy| deploy.id.clone());
        let class = match component.platform {
            PlatformName::Render => EffectClass::Keyless,
            _ => EffectClass::SetToValue,
        };
        let to = commit.as_deref().map_or(wanted.clone(), |commit| format!("{wanted} (commit {})", short(commit)));
        let undo = live.as_deref().map_or("nothing was live before".into(), |live| format!("roll back to {live}"));
        let key = self.key(component, "code");
        let from = Self::current(component);
        let step = planned(component, key, "put an earlier deploy back into production", class, (from, to), &undo);
        let change = Change::RollBackDeploy {
            deploy: wanted.clone(),
            commit,
            live,
            newest: component.observation.newest.clone(),
        };
        self.steps.push(PlannedStep { change, ..step });
        Ok(())
    }

    fn redeploy(&mut self, component: &ComponentFacts) {
        let current = component.observation.current.as_ref();
        let change = Change::Redeploy {
            commit: current.and_then(|deploy| deploy.commit.clone()),
            live: current.map(|deploy| deploy.id.clone()),
            newest: component.observation.newest.clone(),
        };
        let words = (Self::current(component), "the same code with the restored variables".to_owned());
        let key = self.key(component, "redeploy");
        let undo = "restore the variables from the safety backup and deploy again";
        let step = planned(component, key, "deploy what is live once more", EffectClass::Keyless, words, undo);
        self.steps.push(PlannedStep { change, ..step });
    }

    fn branch(&mut self, component: &ComponentFacts, goal: &Goal) {
        let (code, _) = concerns(self.facts.request.spec.strategy);
        let (Some(branch), Some(commit), Some(head)) =
            (&component.branch, &goal.commit, &component.observation.current)
        else {
            return;
        };
        if !code || head.id == *commit {
            return;
        }
        let uid = self.facts.request.metadata.uid.clone().unwrap_or_default();
        let keep_under = format!("{}/replaced/{uid}", branch.ref_prefix);
        let from = format!("{} at {}", branch.branch, short(&head.id));
        let undo = format!("move {} to {}, which stays under {keep_under}", branch.branch, short(&head.id));
        let (before, name) = (head.id.clone(), branch.branch.clone());
        match branch.rollback {
            BranchRollback::ForcedMove => {
                let to =
                    format!("{name} at {} by a forced move; the old head is kept under {keep_under}", short(commit));
                let key = self.key(component, "branch");
                let step = planned(component, key, "move the branch", EffectClass::CompareAndSet, (from, to), &undo);
                let change =
                    Change::MoveBranch { branch: name, before, after: Some(commit.clone()), force: true, keep_under };
                self.steps.push(PlannedStep { destructive: true, change, ..step });
            }
            BranchRollback::RestoreCommit => {
                let to = format!("a new commit on {} with the files of {}", short(&before), short(commit));
                let key = self.key(component, "commit");
                let words = ("no such commit".to_owned(), to);
                let undo_commit = "a commit that no branch names is harmless";
                let step = planned(component, key, "make a restore commit", EffectClass::Keyed, words, undo_commit);
                let change = Change::CreateCommit {
                    files_of: commit.clone(),
                    parent: before.clone(),
                    message: self.commit_message(commit),
                    date: self.request_date(),
                };
                self.steps.push(PlannedStep { change, ..step });
                let to = format!("{name} at the restore commit; the old head is kept under {keep_under}");
                let key = self.key(component, "branch");
                let step = planned(component, key, "move the branch", EffectClass::CompareAndSet, (from, to), &undo);
                let change = Change::MoveBranch { branch: name, before, after: None, force: false, keep_under };
                self.steps.push(PlannedStep { change, ..step });
            }
        }
    }

    fn commit_message(&self, commit: &str) -> String {
        let request = self.facts.request.metadata.name.as_deref().unwrap_or_default();
        format!("Restore the files of {}\n\nRollbackRequest: {request}\n", short(commit))
    }

    /// The request's own creation time: fixed, so that the same call makes the same commit.
    fn request_date(&self) -> String {
        self.facts.request.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default()
    }
}

fn list(settings: &[SettingChange], pick: fn(&SettingChange) -> &String) -> String {
    settings.iter().map(|setting| format!("{} {}", setting.name, pick(setting))).collect::<Vec<_>>().join(", ")
}

/// A step with its words; the change itself is filled in by the caller.
fn planned(
    component: &ComponentFacts,
    key: String,
    action: &str,
    class: EffectClass,
    (from, to): (String, String),
    undo: &str,
) -> PlannedStep {
    PlannedStep {
        key,
        component: component.name.clone(),
        platform: component.platform,
        resource: component.observation.resource.clone(),
        action: action.into(),
        class,
        from,
        to,
        destructive: false,
        undo: undo.into(),
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 1,
        deadline_seconds: 600,
        may_fail: false,
        change: Change::SetSettings { settings: Vec::new() },
    }
}
