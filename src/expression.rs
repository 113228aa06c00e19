//! EFFECT. CEL over the body of an answer, bounded: by depth, by the steps that it can take at most, by time, and apart from everything else.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, operators};
use cel::{Context, Program, Value};
use std::collections::HashMap;
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

/// What an expression gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Nothing.
    Null,
    /// Anything else.
    Other,
}

/// Why an expression gives nothing. Nothing of the body is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The expression cannot be carried out, whatever the body.
    Expression(String),
    /// It has no answer for this body: a field is missing, or of another type.
    Body,
}

/// What the expression gives for this body. The caller holds the deadline.
///
/// # Errors
/// [`Fault`]: there is no answer.
pub async fn evaluate(source: &str, body: serde_json::Value) -> Result<Outcome, Fault> {
    check_brackets(source).map_err(Fault::Expression)?;
    let lost = |said: &str| Fault::Expression(said.to_owned());
    let Ok(room) = ROOM.clone().acquire_owned().await else { return Err(lost("it was not evaluated")) };
    let (tell, told) = oneshot::channel();
    let source = source.to_owned();
    let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK);
    let spawned = thread.spawn(move || {
        let found = catch_unwind(AssertUnwindSafe(|| decide(&source, &body)));
        let _ = tell.send(found.unwrap_or_else(|_| Err(Fault::Expression("it could not be evaluated".into()))));
        drop(room); // only now: an evaluation that nobody waits for any more still takes its room
    });
    match spawned {
        Ok(_) => told.await.unwrap_or_else(|_| Err(lost("it could not be evaluated"))),
        Err(_) => Err(lost("no thread could be started to evaluate it")),
    }
}

fn decide(source: &str, body: &serde_json::Value) -> Result<Outcome, Fault> {
    let program = parse(source).map_err(Fault::Expression)?;
    if steps(&program, nodes(body)) > MOST_STEPS {
        return Err(Fault::Expression("it would take too many steps over a body of this size".into()));
    }
    let mut context = Context::default();
    context.add_variable_from_value("body", as_cel(body));
    // The error's text may hold parts of the body.
    Ok(match program.execute(&context).map_err(|_| Fault::Body)? {
        Value::Bool(value) => Outcome::Bool(value),
        Value::Int(number) => Outcome::Int(number),
        Value::UInt(number) => i64::try_from(number).map_or(Outcome::Other, Outcome::Int),
        Value::Null => Outcome::Null,
        _ => Outcome::Other,
    })
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

/// Whole numbers as `int`, as everybody writes them in an expression.
fn as_cel(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => text.as_str().into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::Array(items) => items.iter().map(as_cel).collect::<Vec<Value>>().into(),
        Json::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), as_cel(value))).collect::<HashMap<_, _>>().into()
        }
    }
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
