use super::*;
use crate::decide::plan::build;
use crate::decide::plan::samples::*;

/// So many services that each need a freeze, variables, code and, when released, the end of the freeze.
fn of_many(count: usize) -> Result<Plan, PlanRefusal> {
    let mut backup = backup();
    let held = backup.components["backend"].clone();
    let mut service = |at: usize| {
        let mut service = ComponentFacts { name: format!("s{at}"), ..backend() };
        service.observation.resource = format!("srv-{at}");
        let held = BackupComponentFacts { resource: format!("srv-{at}"), ..held.clone() };
        backup.components.insert(service.name.clone(), held);
        service
    };
    let services = (0..count).map(&mut service).collect();
    build_for(&request(to_backup(), Strategy::Full), &target(), services, vec![backup])
}

#[test]
fn what_is_done_when_it_is_released_counts_among_the_steps() {
    let plan = of_many(64).unwrap();
    assert_eq!(plan.steps.len() + plan.release.len(), MAX_STEPS);
    let refusal = of_many(65).unwrap_err();
    let text = "the plan has 260 steps, and the request's status has room for 256: name fewer components in spec.components, in several \
                requests if need be";
    assert_eq!((refusal.reason, refusal.message.as_str()), (Reason::InvalidSpec, text));
}

#[test]
fn a_plan_may_fill_the_room_that_its_status_has_to_the_last_byte() {
    let mut backend = backend();
    backend.aspects.code = true;
    let (request, target) = (request(to_backup(), Strategy::Code), target());
    let facts = |left_alone: Vec<String>| PlanFacts {
        request: &request,
        target: &target,
        components: vec![backend.clone()],
        left_alone,
        backups: vec![backup()],
        digest_names: &digest_names,
    };
    let bytes = |plan: &Plan| {
        let plan = Plan { digest: String::new(), ..plan.clone() };
        serde_json::json!([plan, plan.undo]).to_string().len()
    };
    const WORDS: usize = 200;
    const QUOTED: usize = WORDS + 3;
    let room = 224 * 1024;
    let one = bytes(&build(&facts(vec!["x".repeat(WORDS)])).unwrap());
    let mut left = vec!["x".repeat(WORDS); 1 + (room - one) / QUOTED];
    // Words are cut at a length, so what is over is spread.
    left.iter_mut().take((room - one) % QUOTED).for_each(|words| words.push('x'));
    assert_eq!(bytes(&build(&facts(left.clone())).unwrap()), room);
    left.last_mut().unwrap().push('x');
    let refusal = build(&facts(left)).unwrap_err().message;
    assert!(refusal.starts_with("the plan takes 225 KiB, and the request's status has room for 224: "), "{refusal}");
}
