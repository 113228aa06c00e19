//! CEL over the body of an answer, bounded: by depth, by the steps that it can take at most, by time, and apart from everything else.

use super::Finding;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, operators};
use cel::{Context, Program, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use tokio::sync::{Semaphore, oneshot};

/// Deepest nesting of brackets. The parser recurses once and more per bracket.
const MOST_BRACKETS: usize = 32;
/// Most steps of all loops of an expression together, by an estimate from above: some seconds on a slow machine.
const MOST_STEPS: u128 = 4_000_000;
/// Stack of the thread that evaluates. A chain of operators of the greatest length recurses once per operator.
const STACK: usize = 64 * 1024 * 1024;
/// Evaluations at once, over all policies.
static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(8)));

/// Holds an expression against the language and our bounds. It blocks shortly: an expression has at most 1024 characters.
///
/// # Errors
/// What is wrong with it, in words.
pub fn compile(source: &str) -> Result<(), String> {
    check_brackets(source)?;
    let source = source.to_owned();
    let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK);
    let compiled = thread.spawn(move || catch_unwind(AssertUnwindSafe(|| parse(&source).map(drop))));
    match compiled.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(result))) => result,
        Ok(Ok(Err(_panic)) | Err(_panic)) => Err("it cannot be compiled".into()),
        Err(_) => Err("no thread could be started to compile it".into()),
    }
}

/// Whether the expression is true of this body. The caller holds the deadline.
pub async fn evaluate(source: &str, body: serde_json::Value) -> Finding {
    if let Err(why) = check_brackets(source) {
        return Finding::error(format!("expectJson: {why}"));
    }
    let Ok(room) = ROOM.clone().acquire_owned().await else { return Finding::error("expectJson was not evaluated") };
    let (tell, told) = oneshot::channel();
    let source = source.to_owned();
    let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK);
    let spawned = thread.spawn(move || {
        let found = catch_unwind(AssertUnwindSafe(|| decide(&source, &body)));
        let _ = tell.send(found.unwrap_or_else(|_| Finding::error("expectJson could not be evaluated")));
        drop(room); // only now: an evaluation that nobody waits for any more still takes its room
    });
    match spawned {
        Ok(_) => told.await.unwrap_or_else(|_| Finding::error("expectJson could not be evaluated")),
        Err(_) => Finding::error("no thread could be started to evaluate expectJson"),
    }
}

fn decide(source: &str, body: &serde_json::Value) -> Finding {
    let program = match parse(source) {
        Ok(program) => program,
        Err(why) => return Finding::error(format!("expectJson: {why}")),
    };
    if steps(&program, nodes(body)) > MOST_STEPS {
        return Finding::error("expectJson would take too many steps over a body of this size");
    }
    let mut context = Context::default();
    if context.add_variable("body", body).is_err() {
        return Finding::error("the body could not be given to expectJson");
    }
    match program.execute(&context) {
        Ok(Value::Bool(true)) => Finding::pass("expectJson is true"),
        Ok(Value::Bool(false)) => Finding::breach("expectJson is not true"),
        Ok(_) => Finding::breach("expectJson gives neither true nor false"),
        // The error's text may hold parts of the body.
        Err(_) => Finding::breach("expectJson cannot be answered from this body"),
    }
}

fn parse(source: &str) -> Result<Program, String> {
    // The parser's text points into the expression, which is the user's own: but it is long and of many lines.
    let program = Program::compile(source).map_err(|_| "it is not valid CEL".to_owned())?;
    match program.references().variables().contains(&"body") {
        true => Ok(program),
        false => Err("it does not look at body".into()),
    }
}

fn check_brackets(source: &str) -> Result<(), String> {
    let mut depth = 0usize;
    for letter in source.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MOST_BRACKETS {
            return Err(format!("it nests more than {MOST_BRACKETS} brackets"));
        }
    }
    Ok(())
}

fn nodes(value: &serde_json::Value) -> u128 {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(nodes).sum::<u128>(),
        serde_json::Value::Object(fields) => 1 + fields.values().map(nodes).sum::<u128>(),
        _ => 1,
    }
}

/// Most steps that the expression can take over a body of so many nodes, by an estimate from above.
///
/// No list can be longer than the body and the expression itself, once per operator that joins lists; a loop inside a loop multiplies.
fn steps(program: &Program, nodes: u128) -> u128 {
    let (mut joins, mut literals) = (0u128, 0u128);
    let depth = loops(program.expression(), &mut joins, &mut literals);
    let longest = (nodes + literals).saturating_mul(1 + joins);
    longest.saturating_pow(depth.max(1)).saturating_mul(1 + joins)
}

/// Deepest nesting of loops at and below this node; counts joins and list elements on the way.
fn loops(node: &IdedExpr, joins: &mut u128, literals: &mut u128) -> u32 {
    let mut of =
        |nodes: &mut dyn Iterator<Item = &IdedExpr>| nodes.map(|node| loops(node, joins, literals)).max().unwrap_or(0);
    match &node.expr {
        Expr::Comprehension(inner) => {
            let range = of(&mut [&inner.iter_range, &inner.accu_init, &inner.result].into_iter());
            range.max(1 + of(&mut [&inner.loop_cond, &inner.loop_step].into_iter()))
        }
        Expr::Call(call) => {
            let depth = of(&mut call.target.as_deref().into_iter().chain(&call.args));
            *joins += u128::from(call.func_name == operators::ADD);
            depth
        }
        Expr::List(list) => {
            let depth = of(&mut list.elements.iter());
            *literals += list.elements.len() as u128;
            depth
        }
        Expr::Select(select) => of(&mut std::iter::once(&*select.operand)),
        Expr::Map(map) => of(&mut map.entries.iter().flat_map(|entry| parts(&entry.expr))),
        Expr::Struct(literal) => of(&mut literal.entries.iter().flat_map(|entry| parts(&entry.expr))),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
    }
}

fn parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
