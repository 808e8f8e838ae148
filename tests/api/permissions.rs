//! The default roles and permissions, and that each role may exactly what it says.

use serde_json::{Value, json};

use crate::support::{Account, TestApp, items, names, on_both_databases};

/// The fifteen, sorted.
const ALL: [&str; 15] = [
    "audit:read",
    "models:manage",
    "models:read",
    "projects:create",
    "projects:delete",
    "projects:read",
    "projects:update",
    "reports:export",
    "reports:read",
    "runs:create",
    "runs:delete",
    "runs:read",
    "runs:update",
    "users:manage",
    "users:read",
];
const ANALYST: [&str; 9] = [
    "models:read",
    "projects:create",
    "projects:read",
    "projects:update",
    "reports:export",
    "reports:read",
    "runs:create",
    "runs:read",
    "runs:update",
];
const VIEWER: [&str; 2] = ["projects:read", "reports:read"];

async fn list(app: &TestApp, path: &str) -> Value {
    app.get(path).bearer(&app.admin().await.access).send().await.expect(200).json()
}

async fn assert_may_exactly(app: &TestApp, who: &Account, allowed: &[&str]) {
    let checks: Vec<Value> = ALL.iter().map(|permission| json!({"permission": permission})).collect();
    let call = app.post("/authz/check").bearer(&who.access).json(&json!({"checks": checks}));
    let results = call.send().await.expect(200).json()["results"].clone();
    for (n, permission) in ALL.iter().enumerate() {
        assert_eq!(results[n], json!(allowed.contains(permission)), "{} {permission}", who.username);
        let answer = app.get(&format!("/auth/verify?permission={permission}")).bearer(&who.access).send().await;
        assert_eq!(answer.status == 200, allowed.contains(permission), "{} {permission}", who.username);
    }
    let me = app.me(&who.access).await.json();
    assert_eq!(me["permissions"], json!(allowed), "{}", who.username);
}

on_both_databases! {
    async fn there_are_fifteen_permissions_and_no_more(app: TestApp) {
        let permissions = list(&app, "/admin/permissions").await;
        let mut found = names(items(&permissions), "name");
        found.sort();
        assert_eq!(found, ALL);
        for permission in items(&permissions) {
            assert_eq!(permission["is_built_in"], true, "{permission}");
            assert!(permission["description"].is_string(), "{permission}");
        }
    }

    async fn there_are_three_roles_with_their_grants(app: TestApp) {
        let roles = list(&app, "/admin/roles").await;
        let mut found = names(items(&roles), "name");
        found.sort();
        assert_eq!(found, ["admin", "analyst", "viewer"]);
        for role in items(&roles) {
            assert_eq!(role["is_built_in"], true, "{role}");
            assert_eq!(role["includes"], json!([]), "{role}");
            assert!(role["description"].is_string(), "{role}");
            let mut grants: Vec<&str> =
                role["permissions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            grants.sort_unstable();
            match role["name"].as_str().unwrap() {
                "admin" => assert_eq!(grants, ["*"]),
                "analyst" => assert_eq!(grants, ANALYST),
                _ => assert_eq!(grants, VIEWER),
            }
        }
    }

    async fn each_role_may_exactly_what_it_says(app: TestApp) {
        let viewer = app.user("viewer1").await;
        assert_may_exactly(&app, &viewer, &VIEWER).await;
        let analyst = app.user_with_roles("analyst1", &["analyst"]).await;
        assert_may_exactly(&app, &analyst, &ANALYST).await;
        let admin = app.user_with_roles("admin1", &["admin"]).await;
        assert_may_exactly(&app, &admin, &ALL).await;
        app.set_role("DELETE", &viewer.id, "viewer").await;
        assert_may_exactly(&app, &viewer, &[]).await;
    }

    async fn the_administrations_endpoints_name_the_permission_that_is_missing(app: TestApp) {
        let analyst = app.user_with_roles("analyst1", &["analyst"]).await;
        let (id, read, manage) = (&analyst.id, "users:read", "users:manage");
        for (method, path, needs) in [
            ("GET", "/admin/users".to_owned(), read),
            ("GET", format!("/admin/users/{id}"), read),
            ("GET", "/admin/roles".to_owned(), read),
            ("GET", "/admin/permissions".to_owned(), read),
            ("PATCH", format!("/admin/users/{id}"), manage),
            ("PUT", format!("/admin/users/{id}/roles/admin"), manage),
            ("DELETE", format!("/admin/users/{id}/roles/viewer"), manage),
            // Who may not is told so before what is there.
            ("GET", "/admin/users/0197f1d0-0000-7000-8000-000000000000".to_owned(), read),
            ("PUT", format!("/admin/users/{id}/roles/no-such-role"), manage),
            ("GET", "/audit/logs".to_owned(), "audit:read"),
        ] {
            let mut call = app.call(method, &path).bearer(&analyst.access);
            if method == "PATCH" {
                call = call.json(&json!({"is_superuser": true}));
            }
            let problem = call.send().await.problem(403, "permission_required");
            assert_eq!(problem["detail"], format!("Permission required: {needs}"), "{method} {path}");
        }
        assert_eq!(app.me(&analyst.access).await.json()["roles"], json!(["analyst", "viewer"]));
    }
}
