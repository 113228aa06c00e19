//! The steps themselves: what each one does to one component, in words and exactly.

use super::ComponentFacts;
use super::aspects::Flags;
use super::environment::{Difference, digest_of};
use super::layout::{Layout, Work};
use super::resolve::{Goal, short};
use super::{PlanRefusal, refuse};
use crate::api::*;
use crate::decide::freeze;

/// Longest time of a step that waits for a deploy, in seconds.
const DEPLOY_DEADLINE: i64 = 1800;
/// Longest time of any other step that is answered at once, in seconds.
const QUICK_DEADLINE: i64 = 600;

/// What of a step is said in words.
pub(super) struct Words<'a> {
    pub action: &'a str,
    pub from: String,
    pub to: String,
    pub undo: String,
}

impl Layout<'_> {
    fn key(&self, component: &ComponentFacts, what: &str) -> String {
        format!("{:02}-{}-{what}", self.steps.len() + 1, component.name)
    }

    /// Adds a step that waits for `after`. Gives its key.
    fn add(
        &mut self,
        component: &ComponentFacts,
        what: &str,
        class: EffectClass,
        words: Words<'_>,
        change: Change,
        after: &[String],
    ) -> &mut PlannedStep {
        let mut step = planned(component, self.key(component, what), class, words, change);
        step.after = after.to_vec();
        self.steps.push(step);
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    pub(super) fn freeze(&mut self, component: &ComponentFacts) {
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
        let back = freeze::thaw(self.facts.target, &component.name, &settings);
        self.add_release(component, back);
        let (from, to) = (list(&settings, |setting| &setting.from), list(&settings, |setting| &setting.to));
        let words = Words { action: "stop automatic deploys", undo: format!("set back: {from}"), from, to };
        self.add(component, "freeze", EffectClass::SetToValue, words, Change::SetSettings { settings }, &[]);
    }

    fn add_release(&mut self, component: &ComponentFacts, back: Vec<SettingChange>) {
        if back.is_empty() {
            return;
        }
        let (from, to) = (list(&back, |s| &s.from), list(&back, |s| &s.to));
        let key = format!("release-{:02}-{}", self.release.len() + 1, component.name);
        let words = Words { action: "end the hold", from, to, undo: "hold again".into() };
        let change = Change::SetSettings { settings: back };
        self.release.push(planned(component, key, EffectClass::SetToValue, words, change));
    }

    /// After the component's own code step, where there is one.
    pub(super) fn pin(&mut self, component: &ComponentFacts) {
        let held = self.facts.target.spec.rollback.freeze != Freeze::None;
        if !held || !component.aspects.code || !component.capabilities.roll_back {
            return;
        }
        let settings = freeze::pin(component.platform, &component.observation.settings);
        if settings.is_empty() {
            return;
        }
        let mut back = freeze::thaw(self.facts.target, &component.name, &settings);
        for setting in &mut back {
            // A pin is written whatever was read before; released it goes back to what was really read.
            if let Some(read) = component.observation.settings.get(&setting.name) {
                setting.to.clone_from(read);
            }
        }
        back.retain(|setting| setting.from != setting.to);
        self.add_release(component, back);
        let own = self.steps.iter().rev().find(|step| step.component == component.name);
        let after: Vec<String> = own.map(|step| step.key.clone()).into_iter().collect();
        let words = Words {
            action: "lock the published deploy",
            from: "it can be replaced by the next build".into(),
            to: "it stays published until it is released".into(),
            undo: "unlock it".into(),
        };
        self.add(component, "pin", EffectClass::SetToValue, words, Change::SetSettings { settings }, &after);
    }

    pub(super) fn hooks(&mut self, component: &ComponentFacts, when: HookTime, after: &[String]) {
        for hook in component.hooks.iter().filter(|hook| hook.when == when) {
            let method = hook.http.method.clone().unwrap_or_else(|| "POST".into());
            let seconds = hook
                .timeout
                .as_ref()
                .and_then(|text| text.parse().ok())
                .map_or(10, |time: std::time::Duration| time.as_secs());
            let words = Words {
                action: "call a hook",
                from: "not called".into(),
                to: format!("{method} {}", hook.http.url.split('?').next().unwrap_or_default()),
                undo: "irreversible".into(),
            };
            let change = Change::RunHook {
                hook: hook.name.clone(),
                url: hook.http.url.clone(),
                method,
                headers_from: hook.http.headers_from.clone(),
                timeout_seconds: i64::try_from(seconds).unwrap_or(10),
            };
            let may_fail = hook.on_error == HookError::Continue;
            let class = if hook.repeatable { EffectClass::SetToValue } else { EffectClass::Keyless };
            let step = self.add(component, &format!("hook-{}", hook.name), class, words, change, after);
            step.may_fail = may_fail;
        }
    }

    /// Whether any flag of the component changes.
    pub(super) fn flags_move(&self, work: &Work<'_>) -> bool {
        !self.flag_stages(work).iter().all(|(_, flags)| flags.is_empty())
    }

    /// The changes of flags, one list per stage, with the pause before it in seconds.
    fn flag_stages(&self, work: &Work<'_>) -> Vec<(i64, Vec<FlagChange>)> {
        let component = work.component;
        let now = &component.observation.flags;
        let recorded = work.goal.flags.as_ref();
        match component.aspects.flags {
            Flags::Stay => Vec::new(),
            Flags::Off => vec![(0, changes(now, |_, flag| Some(FlagState { enabled: false, ..*flag })))],
            Flags::Recorded => vec![(0, changes(now, |name, _| recorded.and_then(|held| held.get(name)).copied()))],
            Flags::Gradual => {
                let spec = self.facts.request.spec.gradual.as_ref();
                let pause = spec
                    .and_then(|spec| spec.interval.parse().ok())
                    .map_or(0, |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(0));
                let (mut stages, mut was) = (Vec::new(), now.clone());
                for (index, percentage) in spec.iter().flat_map(|spec| &spec.steps).enumerate() {
                    let fall = changes(&was, |_, flag| fallen(flag, *percentage));
                    for change in &fall {
                        was.insert(change.name.clone(), change.to);
                    }
                    stages.push((if index == 0 { 0 } else { pause }, fall));
                }
                // At the end a flag is off where the state returned to had it off.
                let off = |name: &str, flag: &FlagState| {
                    let held = recorded.and_then(|held| held.get(name))?;
                    (!held.enabled && flag.enabled).then_some(FlagState { enabled: false, ..*flag })
                };
                stages.push((0, changes(&was, off)));
                stages
            }
        }
    }

    pub(super) fn flags(&mut self, work: &Work<'_>, gate: &[String]) {
        let component = work.component;
        let mut after = gate.to_vec();
        for (pause, flags) in self.flag_stages(work) {
            if flags.is_empty() {
                continue;
            }
            let words = |pick: fn(&FlagChange) -> FlagState| {
                flags.iter().map(|flag| format!("{} {}", flag.name, pick(flag))).collect::<Vec<_>>().join(", ")
            };
            let (from, to) = (words(|flag| flag.from), words(|flag| flag.to));
            let words = Words { action: "set feature flags", undo: format!("set back: {from}"), from, to };
            let step = self.add(component, "flags", EffectClass::SetToValue, words, Change::SetFlags { flags }, &after);
            // A pause is one between two stages: the first stage that changes anything begins at once.
            step.pause_seconds = if step.after == gate { 0 } else { pause };
            after = vec![step.key.clone()];
        }
    }

    /// Pause of writes and restore. The resume comes after the code: old data must not meet the broken code again.
    pub(super) fn data(&mut self, work: &Work<'_>, gate: &[String]) {
        let (component, Some(data), Some(backup)) = (work.component, &work.goal.data, self.backup()) else { return };
        let words = Words {
            action: "hold the application's connections off",
            from: "the application writes".into(),
            to: "no writes until the data is back".into(),
            undo: "let them in again".into(),
        };
        let pause = self.add(component, "pause", EffectClass::SetToValue, words, Change::PauseWrites {}, gate);
        let after = [pause.key.clone()];
        let size = data.size_bytes;
        let words = Words {
            action: "replace the data by a dump",
            from: format!("the data as it is{}", self.migration(component)),
            to: format!(
                "the dump in backup {} ({} bytes, PostgreSQL {}{})",
                backup.name,
                size,
                data.server_version,
                data.schema_version.as_ref().map(|at| format!(", migration {at}")).unwrap_or_default()
            ),
            undo: match self.facts.request.spec.safety_backup {
                SafetyBackup::Required => "restore the data of the safety backup".into(),
                SafetyBackup::SkipData | SafetyBackup::Skip => "irreversible".into(),
            },
        };
        let change = Change::RestoreData { backup, data: data.clone() };
        let step = self.add(component, "data", EffectClass::Destructive, words, change, &after);
        step.destructive = true;
        step.expected_seconds = 10 + size / 10_000_000;
        step.deadline_seconds = (10 * step.expected_seconds).max(3600);
    }

    fn migration(&self, component: &ComponentFacts) -> String {
        let at = component.observation.database.as_ref().and_then(|database| database.schema_version.clone());
        at.map(|at| format!(" (migration {at})")).unwrap_or_default()
    }

    /// The backup that `to` resolved to, if the caller opened one with data.
    fn backup(&self) -> Option<PinnedRef> {
        self.values_backup.clone()
    }

    /// Lets the application in again, for every pause from `from` on.
    pub(super) fn resume(&mut self, from: usize, gate: &[String]) {
        let paused: Vec<String> = self.steps[from..]
            .iter()
            .filter(|step| matches!(step.change, Change::PauseWrites {}))
            .map(|step| step.component.clone())
            .collect();
        for name in paused {
            let Some(component) = self.facts.components.iter().find(|component| component.name == name) else {
                continue;
            };
            let words = Words {
                action: "let the application's connections in again",
                from: "no writes".into(),
                to: "the application writes".into(),
                undo: "hold them off again".into(),
            };
            self.add(component, "resume", EffectClass::SetToValue, words, Change::ResumeWrites {}, gate);
        }
    }

    pub(super) fn environment(&mut self, work: &Work<'_>, after: &[String]) {
        let component = work.component;
        let Some(difference) = work.difference.as_ref().filter(|difference| !difference.is_empty()) else { return };
        let Difference { added, changed, removed, values, .. } = difference.clone();
        let mut words = Vec::new();
        for (verb, names) in [("add", &added), ("change", &changed), ("delete", &removed)] {
            if !names.is_empty() {
                words.push(format!("{verb} {}", names.join(", ")));
            }
        }
        let touched = |name: &str| [&added, &changed, &removed].iter().any(|names| names.iter().any(|n| n == name));
        let digest_names = self.facts.digest_names;
        let destructive = !removed.is_empty();
        let words = Words {
            action: "restore variables",
            from: format!("{} variables", component.variables.len()),
            to: crate::decide::conditions::clip(&words.join("; ")),
            undo: match self.facts.request.spec.safety_backup {
                SafetyBackup::Skip => "irreversible".into(),
                _ => "set again from the safety backup".into(),
            },
        };
        let change = Change::SetEnvironment {
            values_digest: digest_names(&values),
            baseline_digest: digest_of(&component.variables, &|_| false, digest_names),
            untouched_digest: digest_of(&component.variables, &touched, digest_names),
            added,
            changed,
            removed,
            values_from: Self::values_from(component),
        };
        let step = self.add(component, "environment", EffectClass::SetToValue, words, change, after);
        step.destructive = destructive;
    }

    pub(super) fn code(&mut self, work: &Work<'_>, after: &[String]) -> Result<(), PlanRefusal> {
        let component = work.component;
        if Self::deploy_moves(component, &work.goal) {
            return self.roll_back(component, &work.goal, after);
        }
        let written = work.difference.as_ref().is_some_and(|difference| !difference.is_empty());
        if written && Self::redeploys(component) {
            self.redeploy(component, after);
        } else if written {
            self.not_restored.push(format!(
                "{}: the variables take effect with the next build, which Savepoint does not start",
                component.name
            ));
        }
        Ok(())
    }

    fn roll_back(&mut self, component: &ComponentFacts, goal: &Goal, after: &[String]) -> Result<(), PlanRefusal> {
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
        let class = deploy_class(component.platform);
        let words = Words {
            action: "put an earlier deploy back into production",
            from: current(component),
            to: commit.as_deref().map_or(wanted.clone(), |commit| format!("{wanted} (commit {})", short(commit))),
            undo: live.as_deref().map_or("nothing was live before".into(), |live| format!("roll back to {live}")),
        };
        let newest = component.observation.newest.clone();
        let change = Change::RollBackDeploy { deploy: wanted.clone(), commit, live, newest };
        let step = self.add(component, "code", class, words, change, after);
        takes_a_deploy(step);
        Ok(())
    }

    fn redeploy(&mut self, component: &ComponentFacts, after: &[String]) {
        let live = component.observation.current.as_ref();
        let change = Change::Redeploy {
            commit: live.and_then(|deploy| deploy.commit.clone()),
            live: live.map(|deploy| deploy.id.clone()),
            newest: component.observation.newest.clone(),
        };
        let words = Words {
            action: "deploy what is live once more",
            from: current(component),
            to: "the same code with the restored variables".into(),
            undo: "restore the variables from the safety backup and deploy again".into(),
        };
        takes_a_deploy(self.add(component, "redeploy", EffectClass::Keyless, words, change, after));
    }

    pub(super) fn branch(&mut self, work: &Work<'_>, after: &[String]) {
        let component = work.component;
        let (Some(branch), Some(commit), Some(head)) =
            (&component.branch, &work.goal.commit, &component.observation.current)
        else {
            return;
        };
        if !Self::branch_moves(component, &work.goal) {
            return;
        }
        let uid = self.facts.request.metadata.uid.clone().unwrap_or_default();
        let keep_under = format!("{}/replaced/{uid}", branch.ref_prefix);
        let (before, name) = (head.id.clone(), branch.branch.clone());
        let mut words = Words {
            action: "move the branch",
            from: format!("{name} at {}", short(&before)),
            to: format!("{name} at {} by a forced move; the old head is kept under {keep_under}", short(commit)),
            undo: format!("move {name} to {}, which stays under {keep_under}", short(&before)),
        };
        let force = branch.rollback == BranchRollback::ForcedMove;
        let (mut after, mut moved_to) = (after.to_vec(), Some(commit.clone()));
        if !force {
            after = vec![self.restore_commit(component, commit, &before, &after)];
            moved_to = None;
            words.to = format!("{name} at the restore commit; the old head is kept under {keep_under}");
        }
        let change = Change::MoveBranch { branch: name, before, after: moved_to, force, keep_under };
        let step = self.add(component, "branch", EffectClass::CompareAndSet, words, change, &after);
        step.destructive = force;
    }

    /// A commit on top of the head with the files of an earlier one. Gives the key of its step.
    fn restore_commit(&mut self, component: &ComponentFacts, commit: &str, parent: &str, after: &[String]) -> String {
        let words = Words {
            action: "make a restore commit",
            from: "no such commit".into(),
            to: format!("a new commit on {} with the files of {}", short(parent), short(commit)),
            undo: "a commit that no branch names is harmless".into(),
        };
        let request = &self.facts.request.metadata;
        let name = request.name.as_deref().unwrap_or_default();
        let change = Change::CreateCommit {
            files_of: commit.to_owned(),
            parent: parent.to_owned(),
            message: format!("Restore the files of {}\n\nRollbackRequest: {name}\n", short(commit)),
            // The request's own creation time: fixed, so that the same call makes the same commit.
            date: request.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        };
        self.add(component, "commit", EffectClass::Keyed, words, change, after).key.clone()
    }
}

/// What happens if the call that puts a deploy back is sent twice.
pub(super) const fn deploy_class(platform: PlatformName) -> EffectClass {
    match platform {
        PlatformName::Render => EffectClass::Keyless,
        _ => EffectClass::SetToValue,
    }
}

fn takes_a_deploy(step: &mut PlannedStep) {
    step.deadline_seconds = DEPLOY_DEADLINE;
    step.expected_seconds = if step.class == EffectClass::Keyless { 60 } else { 5 };
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

/// The flag at this percentage, if that is lower than it is now.
fn fallen(flag: &FlagState, percentage: i32) -> Option<FlagState> {
    let now = if flag.enabled { flag.percentage.unwrap_or(100) } else { 0 };
    (now > percentage).then_some(FlagState { enabled: percentage > 0, percentage: Some(percentage) })
}

fn changes(
    now: &std::collections::BTreeMap<String, FlagState>,
    wanted: impl Fn(&str, &FlagState) -> Option<FlagState>,
) -> Vec<FlagChange> {
    let change = |(name, flag): (&String, &FlagState)| {
        let to = wanted(name, flag).filter(|to| to != flag)?;
        Some(FlagChange { name: name.clone(), from: *flag, to })
    };
    now.iter().filter_map(change).collect()
}

fn list(settings: &[SettingChange], pick: fn(&SettingChange) -> &String) -> String {
    settings.iter().map(|setting| format!("{} {}", setting.name, pick(setting))).collect::<Vec<_>>().join(", ")
}

/// A step with its words and no conditions.
pub(super) fn planned(
    component: &ComponentFacts,
    key: String,
    class: EffectClass,
    words: Words<'_>,
    change: Change,
) -> PlannedStep {
    PlannedStep {
        key,
        component: component.name.clone(),
        platform: component.platform,
        resource: component.observation.resource.clone(),
        action: words.action.into(),
        class,
        from: words.from,
        to: words.to,
        destructive: false,
        undo: words.undo,
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 2,
        deadline_seconds: QUICK_DEADLINE,
        may_fail: false,
        change,
    }
}
