//! What the audit log says of administration: who did what to whom, and from what to what.

use serde_json::{Value, json};

use crate::support::{Account, Answer, NOBODY, TestApp, on_both_databases};

/// Asserts what the one record of this answer says.
async fn assert_recorded(app: &TestApp, answer: &Answer, who: &Account, action: &str, resource: (&str, &str)) -> Value {
    let record = app.record_of(answer).await;
    let outcome = match answer.status {
        200..=399 => "success",
        401 | 403 | 429 => "denied",
        _ => "failure",
    };
    let expected = json!({"action": action, "user_id": who.id, "username": who.username, "resource_type": resource.0,
        "resource_id": resource.1, "response_status": answer.status, "outcome": outcome, "source": "request"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(record[field], *value, "{field}: {record}");
    }
    record["metadata"].clone()
}

/// Asserts that the metadata has at least these fields with these values.
#[track_caller]
fn assert_tells(metadata: &Value, expected: &Value) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(metadata[field], *value, "{field}: {metadata}");
    }
}

on_both_databases! {
    async fn a_role_is_recorded_from_its_making_to_its_end(app: TestApp) {
        let root = app.admin().await;
        let role = "/admin/roles/runner";
        let about = ("role", "runner");
        let body = json!({"name": "runner", "description": "Runs", "permissions": ["runs:read", "projects:*"]});
        let answer = app.tell(root, "POST", "/admin/roles", &body).await.expect(201);
        let told = assert_recorded(&app, &answer, root, "CREATE_ROLE", about).await;
        assert!(told.to_string().contains("runs:read") && told.to_string().contains("projects:*"), "{told}");
        let answer = app.ask(root, "GET", role).await.expect(200);
        assert_recorded(&app, &answer, root, "READ_ROLE", about).await;
        let answer = app.tell(root, "PATCH", role, &json!({"description": "Walks"})).await.expect(200);
        let told = assert_recorded(&app, &answer, root, "UPDATE_ROLE", about).await;
        assert_tells(&told, &json!({"changed": {"description": {"from": "Runs", "to": "Walks"}}}));
        for (method, action, grant, changed) in [
            ("PUT", "GRANT_PERMISSION", "runs:delete", true),
            ("PUT", "GRANT_PERMISSION", "runs:delete", false),
            ("PUT", "GRANT_PERMISSION", "*", true),
            ("DELETE", "REVOKE_PERMISSION", "*", true),
            ("DELETE", "REVOKE_PERMISSION", "audit:read", false),
        ] {
            let answer = app.ask(root, method, &format!("{role}/permissions/{grant}")).await.expect(204);
            let told = assert_recorded(&app, &answer, root, action, about).await;
            assert_tells(&told, &json!({"permission": grant, "changed": changed}));
        }
        for (method, action, changed) in [
            ("PUT", "INCLUDE_ROLE", true),
            ("PUT", "INCLUDE_ROLE", false),
            ("DELETE", "EXCLUDE_ROLE", true),
            ("DELETE", "EXCLUDE_ROLE", false),
        ] {
            let answer = app.ask(root, method, &format!("{role}/includes/viewer")).await.expect(204);
            let told = assert_recorded(&app, &answer, root, action, about).await;
            assert_tells(&told, &json!({"included": "viewer", "changed": changed}));
        }
        let answer = app.ask(root, "DELETE", role).await.expect(204);
        assert_recorded(&app, &answer, root, "DELETE_ROLE", about).await;
    }

    async fn a_deleted_roles_record_names_all_that_went_with_it(app: TestApp) {
        app.make_role("runner", &["runs:*", "projects:read"]).await;
        for role in ["outer", "other"] {
            app.make_role(role, &[]).await;
            app.include(role, "runner").await;
        }
        app.include("runner", "viewer").await;
        let [john, jane] = [app.make_user("johndoe", &["runner"]).await, app.make_user("janedoe", &["runner"]).await];
        app.change_user(&jane, json!({"is_active": false})).await;
        let by_include = app.make_user("jack", &["outer"]).await;
        let answer = app.administer("DELETE", "/admin/roles/runner").await;
        let told = assert_recorded(&app, &answer, app.admin().await, "DELETE_ROLE", ("role", "runner")).await;
        assert_tells(&told, &json!({"included_by": ["other", "outer"], "permissions": ["projects:read", "runs:*"]}));
        let users = told["users"].as_array().unwrap_or_else(|| panic!("no users: {told}"));
        assert_eq!(users.len(), 2, "{told}");
        for id in [&john, &jane] {
            assert!(told["users"].to_string().contains(id.as_str()), "{id}: {told}");
        }
        assert!(!told.to_string().contains(by_include.as_str()), "has it no more, but was not assigned it: {told}");
        assert!(told["includes"].to_string().contains("viewer"), "{told}");
    }

    async fn a_permission_is_recorded_from_its_making_to_its_end(app: TestApp) {
        let root = app.admin().await;
        let about = ("permission", "runs:fly");
        let answer = app.tell(root, "POST", "/admin/permissions", &json!({"name": "runs:fly"})).await.expect(201);
        assert_recorded(&app, &answer, root, "CREATE_PERMISSION", about).await;
        app.make_role("flyer", &["runs:fly"]).await;
        let refused = app.ask(root, "DELETE", "/admin/permissions/runs:fly").await.expect(409);
        assert_recorded(&app, &refused, root, "DELETE_PERMISSION", about).await;
        app.administer("DELETE", "/admin/roles/flyer").await;
        let answer = app.administer("DELETE", "/admin/permissions/runs:fly").await;
        assert_recorded(&app, &answer, root, "DELETE_PERMISSION", about).await;
        let refused = app.ask(root, "DELETE", "/admin/permissions/runs:fly").await.expect(404);
        assert_recorded(&app, &refused, root, "DELETE_PERMISSION", about).await;
    }

    async fn a_user_is_recorded_from_its_making_to_its_end(app: TestApp) {
        let root = app.admin().await;
        let mut body = TestApp::registration("johndoe");
        body["password"] = json!("a-first-kq7-Vw2.zR9");
        body["roles"] = json!(["analyst"]);
        let answer = app.tell(root, "POST", "/admin/users", &body).await.expect(201);
        let john = answer.json()["id"].as_str().unwrap().to_owned();
        let about = ("user", john.as_str());
        let told = assert_recorded(&app, &answer, root, "CREATE_USER", about).await;
        assert!(told.to_string().contains("analyst"), "{told}");
        let path = format!("/admin/users/{john}");
        for (method, below, action, status) in [
            ("GET", "", "READ_USER", 200),
            ("GET", "/permissions", "READ_USER_PERMISSIONS", 200),
            ("GET", "/sessions", "LIST_SESSIONS", 200),
            ("DELETE", "/sessions", "END_SESSION", 204),
            ("POST", "/unlock", "UNLOCK_USER", 204),
        ] {
            let answer = app.ask(root, method, &format!("{path}{below}")).await.expect(status);
            assert_recorded(&app, &answer, root, action, about).await;
        }
        let change = json!({"full_name": "John Doe", "is_active": false, "password": "a-second-kq7-Vw2.zR9"});
        let answer = app.tell(root, "PATCH", &path, &change).await.expect(200);
        let told = assert_recorded(&app, &answer, root, "UPDATE_USER", about).await;
        let changed = json!({"full_name": {"from": null, "to": "John Doe"}, "is_active": {"from": true, "to": false}});
        assert_tells(&told, &json!({"changed": changed}));
        for (method, action, changed) in [
            ("PUT", "ASSIGN_ROLE", true), ("PUT", "ASSIGN_ROLE", false),
            ("DELETE", "REVOKE_ROLE", true), ("DELETE", "REVOKE_ROLE", false),
        ] {
            let answer = app.set_role_as(root, method, &john, "viewer").await.expect(204);
            let told = assert_recorded(&app, &answer, root, action, about).await;
            assert_tells(&told, &json!({"role": "viewer", "changed": changed}));
        }
        let answer = app.ask(root, "DELETE", &path).await.expect(204);
        let told = assert_recorded(&app, &answer, root, "DELETE_USER", about).await;
        // Nobody can look the id up any more.
        assert!(told.to_string().contains("johndoe"), "{told}");
        let log = json!(app.audit("limit=1000").await).to_string();
        assert!(!log.contains("kq7-Vw2.zR9"), "a password: {log}");
        // And what was done to it is found by its id.
        let done = app.audit(&format!("resource_type=user&resource_id={john}&limit=1000")).await;
        assert_eq!(done.len(), 12, "{done:?}");
    }

    async fn what_was_refused_is_recorded_as_what_it_would_have_been(app: TestApp) {
        app.make_role("support", &["users:read", "users:manage"]).await;
        let sam = app.holder("sam", &["support", "viewer"]).await;
        let john = app.user("johndoe").await;
        let root = &app.admin().await.id;
        let user = format!("/admin/users/{root}");
        // By one who may not at all, and by one who may not this.
        for (method, path, action, about, johns, sams) in [
            ("GET", "/admin/roles/viewer", "READ_ROLE", ("role", "viewer"), 403, 200),
            ("PATCH", "/admin/roles/nothing", "UPDATE_ROLE", ("role", "nothing"), 403, 404),
            ("PATCH", "/admin/roles/viewer", "UPDATE_ROLE", ("role", "viewer"), 403, 422),
            ("DELETE", "/admin/roles/nothing", "DELETE_ROLE", ("role", "nothing"), 403, 404),
            ("PUT", "/admin/roles/support/permissions/*", "GRANT_PERMISSION", ("role", "support"), 403, 403),
            ("PUT", "/admin/roles/support/permissions/a:b", "GRANT_PERMISSION", ("role", "support"), 403, 404),
            ("DELETE", "/admin/roles/nothing/permissions/*", "REVOKE_PERMISSION", ("role", "nothing"), 403, 404),
            ("PUT", "/admin/roles/support/includes/admin", "INCLUDE_ROLE", ("role", "support"), 403, 403),
            ("PUT", "/admin/roles/viewer/includes/viewer", "INCLUDE_ROLE", ("role", "viewer"), 403, 409),
            ("DELETE", "/admin/roles/nothing/includes/viewer", "EXCLUDE_ROLE", ("role", "nothing"), 403, 404),
            ("DELETE", "/admin/permissions/audit:read", "DELETE_PERMISSION", ("permission", "audit:read"), 403, 409),
            ("DELETE", "/admin/permissions/a:b", "DELETE_PERMISSION", ("permission", "a:b"), 403, 404),
            ("GET", &format!("{user}/permissions"), "READ_USER_PERMISSIONS", ("user", root), 403, 200),
            ("GET", &format!("{user}/sessions"), "LIST_SESSIONS", ("user", root), 403, 200),
            ("DELETE", &format!("{user}/sessions"), "END_SESSION", ("user", root), 403, 403),
            ("DELETE", &format!("/admin/users/{NOBODY}/sessions"), "END_SESSION", ("user", NOBODY), 403, 404),
            ("POST", &format!("/admin/users/{NOBODY}/unlock"), "UNLOCK_USER", ("user", NOBODY), 403, 404),
            ("DELETE", &user, "DELETE_USER", ("user", root), 403, 403),
        ] {
            for (who, status) in [(&john, johns), (&sam, sams)] {
                let call = app.call(method, path).bearer(&who.access);
                let call = if method == "PATCH" {
                    let description = if status == 422 { json!(5) } else { json!("X") };
                    call.json(&json!({"description": description}))
                } else {
                    call
                };
                let answer = call.send().await;
                assert_eq!(answer.status, status, "{}: {method} {path}: {}", who.username, answer.text());
                let told = assert_recorded(&app, &answer, who, action, about).await;
                assert_ne!(told["changed"], true, "{method} {path}: {told}");
            }
        }
    }

    async fn what_was_not_made_is_recorded_too(app: TestApp) {
        let root = app.admin().await;
        let john = app.user("johndoe").await;
        for (path, action, kind, taken, invalid) in [
            ("/admin/roles", "CREATE_ROLE", "role", json!({"name": "viewer"}), json!({"name": "Not A Role"})),
            ("/admin/permissions", "CREATE_PERMISSION", "permission", json!({"name": "runs:read"}),
                json!({"name": "*"})),
            ("/admin/users", "CREATE_USER", "user", TestApp::registration("johndoe"), json!({"username": "x"})),
        ] {
            for (who, body, status, outcome) in [
                (root, &taken, 409, "failure"),
                (root, &invalid, 422, "failure"),
                (root, &json!([]), 422, "failure"),
                (&john, &taken, 403, "denied"),
            ] {
                let answer = app.tell(who, "POST", path, body).await.expect(status);
                let record = app.record_of(&answer).await;
                let got = [&record["action"], &record["resource_type"], &record["outcome"], &record["username"]];
                let expected = [action, kind, outcome, who.username.as_str()];
                assert_eq!(got, expected, "{record}");
            }
            let answer = app.post(path).json(&taken).send().await.expect(401);
            let record = app.record_of(&answer).await;
            assert_eq!((&record["action"], &record["outcome"]), (&json!(action), &json!("denied")), "{record}");
            assert!(!record.to_string().contains("securepassword123"), "{record}");
        }
    }
}
