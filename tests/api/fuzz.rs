//! Bodies, queries and headers made up at random: every answer is one of ours, and never a 500.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::{Database, slot};

/// Every operation that takes a body, and the fields that it knows.
const OPERATIONS: &[(&str, &str)] = &[
    ("POST", "/auth/register"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("PATCH", "/auth/me"),
    ("POST", "/auth/password"),
    ("POST", "/authz/check"),
    ("POST", "/audit/events"),
    ("PATCH", "/admin/users/0197f1d0-0000-7000-8000-000000000000"),
];
const FIELDS: &[&str] = &[
    "username",
    "email",
    "password",
    "full_name",
    "refresh_token",
    "current_password",
    "new_password",
    "user_id",
    "checks",
    "permission",
    "role",
    "action",
    "resource_type",
    "resource_id",
    "metadata",
    "is_active",
    "is_superuser",
    "other",
];
const QUERIES: &[&str] = &[
    "/audit/logs?user_id=",
    "/audit/logs?action=",
    "/audit/logs?resource_id=",
    "/audit/logs?limit=",
    "/audit/logs?offset=",
    "/audit/logs?since=",
    "/audit/logs?until=",
    "/admin/users?q=",
    "/admin/users?role=",
    "/admin/users?is_active=",
    "/admin/users/",
    "/auth/sessions/",
    "/auth/verify?permission=",
    "/auth/verify?role=",
    "/auth/verify/",
    "/",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,12}(:[a-z*]{1,8})?",
        "[a-z]{3,8}@[a-z]{1,8}\\.[a-z]{2,3}",
        Just("\u{0}".to_owned()),
        Just("e\u{301}\u{202e}\u{feff}".to_owned()),
        Just("x".repeat(5_000)),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let name = prop_oneof![4 => proptest::sample::select(FIELDS).prop_map(str::to_owned), 1 => text()];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[test]
fn nothing_that_is_made_up_is_an_error_of_ours() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _slot = runtime.block_on(slot());
    let app = runtime.block_on(async { Database::sqlite().app().start().await });
    let john = runtime.block_on(app.user_with_roles("johndoe", &["admin"]));
    let body = proptest::collection::vec((proptest::sample::select(FIELDS), json_value()), 0..6)
        .prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()));
    let case = (
        proptest::sample::select(OPERATIONS),
        prop_oneof![5 => body, 1 => json_value()],
        proptest::sample::select(QUERIES),
        text(),
    );
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&case, |((method, path), body, query, text)| {
        runtime.block_on(async {
            // A logout ends its session, so it gets one of its own.
            let is_logout = path == "/auth/logout";
            let token = if is_logout { app.login("johndoe", &john.password).await.access } else { john.access.clone() };
            let body_answer = app.call(method, path).bearer(&token).json(&body).send().await;
            let target = format!("{query}{}", encoded(&text.chars().take(1_000).collect::<String>()));
            let query_answer = app.get(&target).bearer(&john.access).send().await;
            for (what, answer) in [(format!("{method} {path} {body}"), body_answer), (target, query_answer)] {
                prop_assert!(answer.status < 500, "{what}: {} {}", answer.status, answer.text());
                if answer.status >= 400 {
                    answer.problem_of(answer.status);
                }
            }
            Ok(())
        })
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
    // And all of it is in the log, which can be read still.
    let records = runtime.block_on(app.audit("limit=1000"));
    assert!(records.len() >= 290, "{}", records.len());
    let errors: Vec<&Value> = records.iter().filter(|record| record["outcome"] == json!("error")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
