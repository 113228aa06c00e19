//! What of a component a request concerns: its strategy, or the decision matrix row of its issue.

use crate::api::*;
use crate::decide::facts::Capabilities;

/// What of one component goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aspects {
    /// Its deploy, or its branch.
    pub code: bool,
    /// Its environment variables.
    pub environment: Want,
    /// Its feature flags.
    pub flags: Flags,
    /// Its data.
    pub data: bool,
    /// The variables of its failover.
    pub failover: Option<Failing>,
}

/// Whether something is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// It stays.
    #[default]
    No,
    /// Where a verified backup holds it.
    IfHeld,
    /// Without it there is no plan.
    Yes,
}

/// What happens to feature flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flags {
    /// They stay.
    #[default]
    Stay,
    /// Every listed one is switched off.
    Off,
    /// They go to what a backup recorded.
    Recorded,
    /// Their percentages fall step by step.
    Gradual,
}

/// Which way a failover goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// To the failover's variables.
    Over,
    /// Back to what was there before.
    Back,
}

impl Aspects {
    /// Whether the request concerns the component at all.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether something is written that only the store holds: values of variables, or a dump. A dump that is gone, or that nobody can
    /// open, is found out here, before an application is held off for it.
    pub fn needs_payload(&self) -> bool {
        self.environment != Want::No || self.failover == Some(Failing::Back) || self.data
    }

    /// Whether the component's variables must be read.
    pub fn reads_variables(&self) -> bool {
        self.environment != Want::No || self.failover.is_some()
    }
}

/// What of this component the request concerns.
pub fn aspects(
    request: &RollbackRequest,
    target: &DeploymentTarget,
    component: &Component,
    can: Capabilities,
) -> Aspects {
    let spec = &request.spec;
    let of = |code: bool, environment: Want, flags: Flags, data: bool| Aspects {
        code: code && (can.roll_back || can.move_branch),
        environment: if can.environment { environment } else { Want::No },
        flags: if can.flags { flags } else { Flags::Stay },
        data: data && can.data,
        failover: None,
    };
    let flags = if spec.to.is_some() { Flags::Recorded } else { Flags::Off };
    let failing = |way| Aspects { failover: can.environment.then_some(way), ..Aspects::default() };
    let declares = component.failover.is_some();
    match spec.strategy {
        Strategy::Code => of(true, Want::No, Flags::Stay, false),
        Strategy::Environment => of(false, Want::Yes, Flags::Stay, false),
        Strategy::Database => of(false, Want::No, Flags::Stay, true),
        Strategy::FeatureFlags => of(false, Want::No, flags, false),
        Strategy::Gradual => of(false, Want::No, Flags::Gradual, false),
        Strategy::Full => of(true, Want::Yes, Flags::Recorded, true),
        Strategy::Failover if declares => failing(Failing::Over),
        // What was not failed over is not taken back, unless the request says from where. What was is, whatever is declared by now.
        Strategy::Failback if is_failed_over(target, component) || (declares && spec.to.is_some()) => {
            failing(Failing::Back)
        }
        Strategy::Failover | Strategy::Failback => Aspects::default(),
        Strategy::Auto => {
            let row = row(target, spec.issue.unwrap_or(Issue::Outage));
            let named = spec.components.iter().flatten().any(|name| *name == component.name);
            let role = &component.role;
            let concerned = row.roles.contains(role) || (named && row.if_named.contains(role));
            let off = if row.flags_first { Flags::Off } else { Flags::Stay };
            match concerned {
                true => of(true, Want::IfHeld, off, true),
                false => of(false, Want::No, off, false),
            }
        }
    }
}

fn is_failed_over(target: &DeploymentTarget, component: &Component) -> bool {
    let mut failovers = target.status.iter().flat_map(|status| &status.failovers);
    failovers.any(|one| one.component == component.name)
}

/// The row of the decision matrix for an issue: the target's own, else the default one.
pub fn row(target: &DeploymentTarget, issue: Issue) -> MatrixRow {
    let own = target.spec.rollback.matrix.iter().flatten().find(|row| row.issue == issue);
    own.cloned().unwrap_or_else(|| default_row(issue))
}

/// The default decision matrix, as the field's own runbooks have it.
fn default_row(issue: Issue) -> MatrixRow {
    use Role::{Backend, Database, Frontend};
    let row = |roles: &[Role], flags_first: bool, urgency: Urgency| MatrixRow {
        issue,
        roles: roles.to_vec(),
        if_named: Vec::new(),
        flags_first,
        urgency,
    };
    match issue {
        Issue::UiBug => row(&[Frontend], true, Urgency::Medium),
        Issue::ApiError => row(&[Backend], false, Urgency::High),
        Issue::AuthIssue => row(&[Frontend, Backend], false, Urgency::High),
        Issue::DataCorruption => row(&[Database], false, Urgency::Critical),
        Issue::PerformanceDegradation => row(&[Frontend, Backend], true, Urgency::Medium),
        Issue::SecurityVulnerability => {
            MatrixRow { if_named: vec![Database], ..row(&[Frontend, Backend], true, Urgency::Critical) }
        }
        Issue::Outage => row(&[Frontend, Backend], true, Urgency::Critical),
    }
}

/// What is said of a component of flags that cannot be read, where that must not keep the others from going back: flags that `Auto`
/// switches off first. `None`: without it there is no plan. The words stay the same however the service fails, or every look would give
/// another plan.
pub fn unread_flags(request: &RollbackRequest, component: &str, aspects: Aspects) -> Option<String> {
    let spec = &request.spec;
    let named = spec.components.iter().flatten().any(|name| name == component);
    let goes_first = spec.strategy == Strategy::Auto && aspects == Aspects { flags: Flags::Off, ..Aspects::default() };
    (goes_first && !named)
        .then(|| format!("{component}: its flags cannot all be read now, so none is switched off first"))
}

/// Why a request does not concern a component that it names, in words that say what to change.
pub fn unconcerned(request: &RollbackRequest, target: &DeploymentTarget, component: &Component) -> String {
    let (name, spec) = (&component.name, &request.spec);
    let by_role = spec.issue.filter(|_| spec.strategy == Strategy::Auto).map(|issue| row(target, issue));
    let why = match (spec.strategy, by_role) {
        (_, Some(row)) if !row.roles.contains(&component.role) && !row.if_named.contains(&component.role) => format!(
            "its role is {:?}, and issue {:?} concerns {}: take another issue or strategy, or set spec.rollback.matrix of the target",
            component.role,
            row.issue,
            roles(&row.roles)
        ),
        (Strategy::Failover, _) if component.failover.is_none() => "it declares no failover: add one to it".into(),
        (Strategy::Failback, _) if !is_failed_over(target, component) => {
            "no failover of it is in force: leave it out of spec.components".into()
        }
        (strategy, _) => format!(
            "its platform has nothing that strategy {strategy:?} restores: leave it out of spec.components, or take another strategy"
        ),
    };
    format!("component {name}: {why}")
}

/// Why a request that names no components concerns none, in words that say what to change.
pub fn nothing_concerned(request: &RollbackRequest, target: &DeploymentTarget) -> String {
    let (spec, components) = (&request.spec, &target.spec.components);
    let by_role = spec.issue.filter(|_| spec.strategy == Strategy::Auto).map(|issue| row(target, issue));
    match (spec.strategy, by_role) {
        (_, Some(row)) if !components.iter().any(|component| row.roles.contains(&component.role)) => format!(
            "issue {:?} concerns {}, and no component of the target has that role: take another issue or strategy, or set \
             spec.rollback.matrix of the target",
            row.issue,
            roles(&row.roles)
        ),
        (Strategy::Failover, _) if components.iter().all(|component| component.failover.is_none()) => {
            "no component of the target declares a failover: add one to each component that shall fail over".into()
        }
        (strategy, _) => {
            format!(
                "no component of the target has anything that strategy {strategy:?} restores: take another strategy"
            )
        }
    }
}

fn roles(roles: &[Role]) -> String {
    let names: Vec<String> = roles.iter().map(|role| format!("{role:?}")).collect();
    format!("role{} {}", if names.len() == 1 { "" } else { "s" }, names.join(" and "))
}

/// What `Auto` made of the issue, in words.
pub(super) fn because(request: &RollbackRequest, target: &DeploymentTarget) -> Option<String> {
    let issue = request.spec.issue.filter(|_| request.spec.strategy == Strategy::Auto)?;
    let MatrixRow { roles, if_named, flags_first, urgency, .. } = row(target, issue);
    let list = |roles: &[Role]| roles.iter().map(|role| format!("{role:?}")).collect::<Vec<_>>().join(" and ");
    let mut words = format!("{issue:?}, urgency {urgency:?}: roles {}", list(&roles));
    if flags_first {
        words.push_str(", feature flags off first");
    }
    if !if_named.is_empty() {
        words.push_str(&format!(", {} only if named", list(&if_named)));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CAN: Capabilities = Capabilities {
        environment: true,
        roll_back: true,
        redeploy: true,
        freeze: true,
        move_branch: false,
        flags: true,
        data: true,
    };

    fn of(issue: &str, role: &str, named: bool, matrix: serde_json::Value) -> Aspects {
        let mut spec = json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": "Auto", "issue": issue, "to": {"previous": {}}});
        if named {
            spec["components"] = json!(["c"]);
        }
        let request = RollbackRequest::new("r", serde_json::from_value(spec).unwrap());
        let component = json!({"name": "c", "role": role, "render": {"serviceId": "s"}});
        let target = json!({"components": [component], "rollback": {"matrix": matrix}});
        let target = DeploymentTarget::new("t", serde_json::from_value(target).unwrap());
        aspects(&request, &target, &target.spec.components[0], CAN)
    }

    /// The table of the documentation, cell by cell: frontend, backend, database, flags first.
    #[test]
    fn the_default_matrix_is_the_documented_one() {
        let table = [
            ("UiBug", [true, false, false, true]),
            ("ApiError", [false, true, false, false]),
            ("AuthIssue", [true, true, false, false]),
            ("DataCorruption", [false, false, true, false]),
            ("PerformanceDegradation", [true, true, false, true]),
            ("SecurityVulnerability", [true, true, false, true]),
            ("Outage", [true, true, false, true]),
        ];
        for (issue, [frontend, backend, database, flags]) in table {
            for (role, goes) in [("Frontend", frontend), ("Backend", backend), ("Database", database)] {
                let found = of(issue, role, false, json!([]));
                assert_eq!((found.code, found.data), (goes, goes), "{issue} {role}");
                assert_eq!(found.flags == Flags::Off, flags, "{issue} {role}");
            }
        }
        assert!(of("SecurityVulnerability", "Database", true, json!([])).data, "a named database goes back");
        assert!(!of("Outage", "Database", true, json!([])).data, "naming it is not enough for an outage");
    }

    #[test]
    fn what_only_the_store_holds_is_opened_before_anything_is_done() {
        let data = Aspects { data: true, ..Aspects::default() };
        let values = Aspects { environment: Want::IfHeld, ..Aspects::default() };
        let code = Aspects { code: true, flags: Flags::Recorded, ..Aspects::default() };
        assert_eq!([data, values, code].map(|one| one.needs_payload()), [true, true, false]);
    }

    #[test]
    fn what_a_request_does_not_concern_is_told_with_what_to_change() {
        let target = target("Backend", false, &[]);
        let says = |more: serde_json::Value, word: &str| {
            let request = request(more);
            let (one, all) =
                (unconcerned(&request, &target, &target.spec.components[0]), nothing_concerned(&request, &target));
            assert!(one.contains(word) && all.contains(word), "{one}; {all}");
            assert!(one.starts_with("component c: ") && !one.contains("its platform has nothing"), "{one}");
        };
        says(
            json!({"strategy": "Auto", "issue": "UiBug", "to": {"previous": {}}}),
            "issue UiBug concerns role Frontend",
        );
        says(json!({"strategy": "Failover"}), "failover: add one");
        let flags = request(json!({"strategy": "FeatureFlags"}));
        assert!(nothing_concerned(&flags, &target).contains("anything that strategy FeatureFlags restores"));
    }

    #[test]
    fn flags_that_only_go_first_may_be_unread() {
        let said = |strategy: &str, named: bool, aspects: Aspects| {
            let mut spec =
                json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": strategy, "to": {"previous": {}}});
            if named {
                spec["components"] = json!(["flags"]);
            }
            unread_flags(&RollbackRequest::new("r", serde_json::from_value(spec).unwrap()), "flags", aspects).is_some()
        };
        let off = Aspects { flags: Flags::Off, ..Aspects::default() };
        assert!(said("Auto", false, off));
        assert!(!said("Auto", true, off), "it was named");
        assert!(!said("FeatureFlags", false, off));
        assert!(!said("Auto", false, Aspects { code: true, ..off }));
    }

    #[test]
    fn a_row_of_the_target_replaces_the_default_one() {
        let matrix = json!([{"issue": "UiBug", "roles": ["Backend"], "flagsFirst": false}]);
        assert!(of("UiBug", "Backend", false, matrix.clone()).code);
        assert!(!of("UiBug", "Frontend", false, matrix.clone()).any());
        assert!(of("Outage", "Frontend", false, matrix).code, "other rows stay");
        let named = json!([{"issue": "ApiError", "roles": ["Backend"], "ifNamed": ["Cache"], "flagsFirst": true}]);
        assert!(
            !of("ApiError", "Cache", false, named.clone()).code && of("ApiError", "Cache", true, named.clone()).code
        );
        assert_eq!(of("ApiError", "Backend", false, named).flags, Flags::Off);
    }

    fn request(more: serde_json::Value) -> RollbackRequest {
        let mut spec = json!({"targetRef": {"name": "t"}, "reason": "r"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        RollbackRequest::new("r", serde_json::from_value(spec).unwrap())
    }

    /// A target of one component `c`, with failovers of those components in force.
    fn target(role: &str, declares_failover: bool, failed_over: &[&str]) -> DeploymentTarget {
        let mut component = json!({"name": "c", "role": role, "render": {"serviceId": "s"}});
        if declares_failover {
            component["failover"] = json!({"environment": {"A": "1"}});
        }
        let mut target =
            DeploymentTarget::new("t", serde_json::from_value(json!({"components": [component]})).unwrap());
        let pinned = json!({"name": "n", "uid": "u"});
        let failover = |name: &&str| json!({"component": name, "since": "2026-11-20T14:00:00Z", "request": pinned, "backup": pinned});
        let failovers: Vec<serde_json::Value> = failed_over.iter().map(failover).collect();
        let failovers = serde_json::from_value(json!(failovers)).unwrap();
        target.status = Some(DeploymentTargetStatus { failovers, ..DeploymentTargetStatus::default() });
        target
    }

    #[test]
    fn what_declares_a_failover_fails_over_and_what_failed_over_comes_back() {
        let failing = |more: serde_json::Value, declares: bool, failed_over: &[&str]| {
            let target = target("Backend", declares, failed_over);
            aspects(&request(more), &target, &target.spec.components[0], CAN)
        };
        let of = |way| Aspects { failover: Some(way), ..Aspects::default() };
        let stays = Aspects::default();
        let over = || json!({"strategy": "Failover"});
        assert_eq!(failing(over(), true, &[]), of(Failing::Over));
        assert_eq!(failing(over(), false, &["c"]), stays);
        let back = || json!({"strategy": "Failback"});
        assert_eq!(failing(back(), true, &["c"]), of(Failing::Back));
        assert_eq!(failing(back(), false, &["c"]), of(Failing::Back), "it is declared no more");
        assert_eq!(failing(back(), true, &["another"]), stays);
        let named = || json!({"strategy": "Failback", "to": {"backupRef": {"name": "good"}}});
        assert_eq!(failing(named(), true, &[]), of(Failing::Back), "the request says from where");
        assert_eq!(failing(named(), false, &[]), stays);
    }

    #[test]
    fn what_has_the_role_or_the_failover_is_told_that_its_platform_lacks_the_rest() {
        let says = |more: serde_json::Value, target: DeploymentTarget| {
            let request = request(more);
            (unconcerned(&request, &target, &target.spec.components[0]), nothing_concerned(&request, &target))
        };
        let platform = |strategy: &str| {
            format!(
                "component c: its platform has nothing that strategy {strategy} restores: leave it out of spec.components, or take \
                 another strategy"
            )
        };
        let nothing = |strategy: &str| {
            format!("no component of the target has anything that strategy {strategy} restores: take another strategy")
        };
        let both = |strategy: &str| (platform(strategy), nothing(strategy));
        assert_eq!(says(json!({"strategy": "Failover"}), target("Backend", true, &[])), both("Failover"));
        assert_eq!(says(json!({"strategy": "Failback"}), target("Backend", true, &["c"])), both("Failback"));
        let (one, all) = says(json!({"strategy": "Failback"}), target("Backend", true, &["another"]));
        assert_eq!(one, "component c: no failover of it is in force: leave it out of spec.components");
        assert_eq!(all, nothing("Failback"));
        let auto = |issue: &str| json!({"strategy": "Auto", "issue": issue, "to": {"previous": {}}});
        assert_eq!(says(auto("ApiError"), target("Backend", false, &[])), both("Auto"));
        let (one, all) = says(auto("SecurityVulnerability"), target("Database", false, &[]));
        assert_eq!(one, platform("Auto"), "a database that is named has the role");
        assert!(all.contains("issue SecurityVulnerability concerns roles Frontend and Backend"), "{all}");
        let code = json!({"strategy": "Code", "issue": "UiBug", "to": {"previous": {}}});
        assert_eq!(says(code, target("Backend", true, &[])), both("Code"), "an issue is a matter of Auto alone");
    }
}
