use crate::api::Verdict;
use crate::check::expression::{compile, evaluate};
use serde_json::json;

#[tokio::test]
async fn only_true_passes() {
    let body =
        json!({"status": "ok", "canary": "c4n4ry", "parts": [{"up": true}, {"up": false}], "count": 3, "share": 0.5});
    for (source, verdict) in [
        ("body.status == 'ok'", Verdict::Pass),
        ("body.count >= 3 && size(body.parts) == 2", Verdict::Pass),
        ("body.count == 3 && body.count + 1 == 4 && body.share < 0.6", Verdict::Pass),
        ("has(body.status) && !has(body.missing)", Verdict::Pass),
        ("body.status.matches('^o.$')", Verdict::Pass),
        ("body.parts.exists(part, part.up)", Verdict::Pass),
        ("body.parts.all(part, part.up)", Verdict::Breach),
        ("body.status", Verdict::Breach),
        ("body.missing == 1", Verdict::Breach),
        ("body.canary > 1", Verdict::Breach),
        ("body.count / 0 == 1", Verdict::Breach),
    ] {
        let found = evaluate(source, body.clone()).await;
        assert_eq!(found.verdict, verdict, "{source}: {found:?}");
        assert!(!found.message.contains("c4n4ry"), "{found:?}");
    }
}

#[test]
fn refuses_what_is_no_cel_or_looks_elsewhere() {
    assert_eq!(compile("body.status == 'ok'"), Ok(()));
    for source in ["body.(", "body ==", "1 == 1", "status == 'ok'", "", "body.a; body.b"] {
        assert!(compile(source).is_err(), "{source:?}");
    }
}

#[tokio::test]
async fn expressions_of_the_greatest_length_break_nothing() {
    let fill = |unit: &str, tail: &str| format!("{}{tail}", unit.repeat((1024 - tail.len()) / unit.len()));
    for source in [
        fill("(", "body"),
        fill("[", "body"),
        fill("!", "body"),
        fill("-", "body"),
        fill("1+", "body"),
        fill("body?1:", "body"),
        format!("body{}", ".a".repeat(510)),
        format!("body{}", "[0]".repeat(340)),
        fill("body.map(x,", "body"),
        fill("body&&", "body"),
    ] {
        let _ = compile(&source);
        let found = evaluate(&source, json!({"a": 1})).await;
        assert_ne!(found.verdict, Verdict::Pass, "{source}");
    }
}

#[tokio::test]
async fn loops_over_a_large_body_are_refused_before_they_run() {
    let large = json!((0..20_000).collect::<Vec<i32>>());
    let nested = "body.all(a, body.all(b, body.all(c, a + b + c >= 0)))";
    let found = evaluate(nested, large.clone()).await;
    assert_eq!((found.verdict, found.message.contains("too many steps")), (Verdict::Error, true), "{found:?}");
    let joined = format!("size({}) > 0", ["body"; 150].join("+"));
    assert_eq!(evaluate(&joined, large.clone()).await.verdict, Verdict::Error);
    assert_eq!(evaluate("body.all(a, a >= 0)", large).await.verdict, Verdict::Pass);
    assert_eq!(evaluate(nested, json!([1, 2, 3])).await.verdict, Verdict::Pass);
}
