//! Every endpoint with what it needs: one that is added without a guard fails here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Database, TestApp, slot};

/// Method and path with what a caller needs: a line for each, in the order of paths.
const REQUIREMENTS: &[(&str, &str)] = &[
    ("GET /", "public"),
    ("GET /.well-known/jwks.json", "public"),
    ("GET /admin/permissions", "Permission required: users:read"),
    ("GET /admin/roles", "Permission required: users:read"),
    ("GET /admin/users", "Permission required: users:read"),
    ("GET /admin/users/{id}", "Permission required: users:read"),
    ("PATCH /admin/users/{id}", "Permission required: users:manage"),
    ("DELETE /admin/users/{id}/roles/{role}", "Permission required: users:manage"),
    ("PUT /admin/users/{id}/roles/{role}", "Permission required: users:manage"),
    ("POST /admin/permissions", "Permission required: users:manage"),
    ("DELETE /admin/permissions/{permission}", "Permission required: users:manage"),
    ("POST /admin/roles", "Permission required: users:manage"),
    ("GET /admin/roles/{role}", "Permission required: users:read"),
    ("PATCH /admin/roles/{role}", "Permission required: users:manage"),
    ("DELETE /admin/roles/{role}", "Permission required: users:manage"),
    ("PUT /admin/roles/{role}/includes/{other}", "Permission required: users:manage"),
    ("DELETE /admin/roles/{role}/includes/{other}", "Permission required: users:manage"),
    ("PUT /admin/roles/{role}/permissions/{permission}", "Permission required: users:manage"),
    ("DELETE /admin/roles/{role}/permissions/{permission}", "Permission required: users:manage"),
    ("POST /admin/users", "Permission required: users:manage"),
    ("DELETE /admin/users/{id}", "Role required: admin"),
    ("GET /admin/users/{id}/permissions", "Permission required: users:read"),
    ("GET /admin/users/{id}/sessions", "Permission required: users:read"),
    ("DELETE /admin/users/{id}/sessions", "Permission required: users:manage"),
    ("POST /admin/users/{id}/unlock", "Permission required: users:manage"),
    ("POST /audit/events", "any user"),
    ("GET /audit/export", "Permission required: audit:read"),
    ("GET /audit/logs", "Permission required: audit:read"),
    ("GET /audit/logs/{id}", "Permission required: audit:read"),
    ("GET /audit/checkpoint", "Permission required: audit:read"),
    ("GET /audit/stats", "Permission required: audit:read"),
    ("DELETE /auth/identities/{id}", "any user"),
    ("GET /auth/identities", "any user"),
    ("POST /auth/identities", "any user"),
    ("POST /auth/login", "public"),
    ("POST /auth/logout", "any user"),
    ("GET /auth/me", "any user"),
    ("PATCH /auth/me", "any user"),
    ("POST /auth/oauth/exchange", "public"),
    ("POST /auth/oauth/login", "public"),
    ("GET /auth/oauth/{provider}/authorize", "public"),
    ("GET /auth/oauth/{provider}/callback", "public"),
    ("POST /auth/password", "any user"),
    ("POST /auth/refresh", "public"),
    ("POST /auth/register", "public"),
    ("DELETE /auth/sessions", "any user"),
    ("GET /auth/sessions", "any user"),
    ("DELETE /auth/sessions/{id}", "any user"),
    ("GET /auth/verify", "any user"),
    ("POST /authz/check", "any user"),
    ("GET /healthz", "public"),
    ("GET /readyz", "public"),
];

/// Described or not, these are there beside the ones above.
const UNDESCRIBED: &[&str] = &["GET /docs", "GET /openapi.json", "GET /metrics"];

/// The described operations, as `METHOD /path`; `/auth/verify`, which takes every method, once.
async fn described(app: &TestApp) -> Vec<(String, String)> {
    let api = app.get("/openapi.json").send().await.expect(200).json();
    let mut operations = Vec::new();
    for (path, methods) in api["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("operations").keys() {
            let method = method.to_uppercase();
            let is_method = ["GET", "PUT", "POST", "DELETE", "PATCH"].contains(&method.as_str());
            if is_method && (!path.starts_with("/auth/verify") || (path == "/auth/verify" && method == "GET")) {
                operations.push((method, path.clone()));
            }
        }
    }
    operations
}

/// A path that the pattern matches; what it names is not there.
fn filled(pattern: &str) -> String {
    pattern
        .split('/')
        .map(|part| match part {
            "{role}" => "viewer",
            part if part.starts_with('{') => "0197f1d0-0000-7000-8000-000000000000",
            part => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_endpoint_needs_what_the_list_says() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    let id = app.register("nothing").await;
    app.set_role("DELETE", &id, "viewer").await;
    let mut found = BTreeMap::new();
    for (method, pattern) in described(&app).await {
        let name = format!("{method} {pattern}");
        let call = || match method.as_str() {
            "GET" | "DELETE" => app.call(&method, &filled(&pattern)),
            _ => app.call(&method, &filled(&pattern)).json(&json!({})),
        };
        let without = call().send().await;
        let needs = if without.status == 401 {
            without.problem(401, "not_authenticated");
            // A session of its own: some of these end it.
            let nobody = app.login("nothing", "securepassword123").await;
            let with = call().bearer(&nobody.access).send().await;
            assert_ne!(with.status, 401, "{name}: {}", with.text());
            if with.status == 403 {
                with.problem_of(403)["detail"].as_str().expect("a detail").to_owned()
            } else {
                "any user".to_owned()
            }
        } else {
            "public".to_owned()
        };
        found.insert(name, needs);
    }
    for name in UNDESCRIBED {
        if let Some(needs) = found.remove(*name) {
            assert_eq!(needs, "public", "{name}");
        }
    }
    let expected: BTreeMap<String, String> =
        REQUIREMENTS.iter().map(|(name, needs)| ((*name).to_owned(), (*needs).to_owned())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_described_path_knows_its_other_methods_as_405_and_head_as_get() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    let mut by_path: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (method, path) in described(&app).await {
        by_path.entry(path).or_default().push(method);
    }
    by_path.remove("/auth/verify");
    for path in ["/docs", "/openapi.json", "/metrics"] {
        by_path.entry(path.to_owned()).or_insert_with(|| vec!["GET".to_owned()]);
    }
    let token = &app.admin().await.access;
    for (pattern, methods) in by_path {
        let path = filled(&pattern);
        for wrong in ["GET", "PUT", "POST", "DELETE", "PATCH", "PROPFIND"] {
            if methods.iter().any(|method| method == wrong) {
                continue;
            }
            let answer = app.call(wrong, &path).bearer(token).send().await;
            assert_eq!(answer.status, 405, "{wrong} {path}: {}", answer.text());
            answer.problem_of(405);
            let allow: Vec<&str> = answer.header("allow").expect("Allow").split(',').map(str::trim).collect();
            for method in &methods {
                assert!(allow.contains(&method.as_str()), "{wrong} {path}: Allow: {allow:?}");
            }
            let is_public =
                REQUIREMENTS.iter().any(|(name, needs)| *needs == "public" && name.ends_with(&format!(" {pattern}")))
                    || UNDESCRIBED.iter().any(|name| name.ends_with(&format!(" {pattern}")));
            let without = app.call(wrong, &path).send().await;
            assert_eq!(without.status, if is_public { 405 } else { 401 }, "{wrong} {path}: {}", without.text());
        }
        if methods.iter().any(|method| method == "GET") {
            let get = app.get(&path).bearer(token).send().await;
            let head = app.call("HEAD", &path).bearer(token).send().await;
            assert_eq!(head.status, get.status, "HEAD {path}");
            assert!(head.body.is_empty(), "HEAD {path}: {}", head.text());
            assert_eq!(head.header("content-type"), get.header("content-type"), "HEAD {path}");
        }
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    for path in ["/", "/healthz", "/metrics", "/docs", "/auth/me", "/nowhere", "/.well-known/jwks.json"] {
        let fresh = app.get(path).send().await;
        crate::support::assert_uuid_v7(&Value::from(fresh.header("x-request-id").expect("an id")));
        for good in ["mine-1", "x", "!~{}\"", &"i".repeat(128)] {
            let answer = app.get(path).header("x-request-id", good).send().await;
            assert_eq!(answer.header("x-request-id"), Some(good), "{path}");
        }
        for bad in [&"i".repeat(129), "two words", "", "tab\there"] {
            let answer = app.get(path).header("x-request-id", bad).send().await;
            crate::support::assert_uuid_v7(&Value::from(answer.header("x-request-id").expect("an id")));
        }
    }
}
