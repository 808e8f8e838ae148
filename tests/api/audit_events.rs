//! `POST /audit/events`: records of what happened elsewhere.

use serde_json::{Value, json};

use crate::support::{Account, Answer, TestApp, on_both_databases};

async fn event(app: &TestApp, who: &Account, body: Value) -> Answer {
    app.post("/audit/events").bearer(&who.access).json(&body).send().await
}

on_both_databases! {
    async fn an_event_is_one_record_stamped_with_its_caller(app: TestApp) {
        let john = app.user("johndoe").await;
        let body = json!({"action": "CUSTOM_ACTION", "resource_type": "project", "resource_id": "42",
            "metadata": {"custom_field": "value", "nested": {"n": [1, 2.5, null, true, "é"]}},
            // Not for the caller to say.
            "user_id": "0197f1d0-0000-7000-8000-000000000000", "username": "root_admin", "ip_address": "203.0.113.9"});
        let answer = event(&app, &john, body).await.expect(201);
        // One, and not the request beside it.
        let record = app.record_of(&answer).await;
        for (field, value) in [
            ("action", "CUSTOM_ACTION"),
            ("resource_type", "project"),
            ("resource_id", "42"),
            ("source", "event"),
            ("username", "johndoe"),
            ("user_id", &john.id),
            ("ip_address", "127.0.0.1"),
            ("request_method", "POST"),
            ("request_path", "/audit/events"),
            ("outcome", "success"),
        ] {
            assert_eq!(record[field], value, "{field}: {record}");
        }
        assert_eq!(record["response_status"], 201);
        assert_eq!(record["metadata"]["custom_field"], "value");
        assert_eq!(record["metadata"]["nested"], json!({"n": [1, 2.5, null, true, "é"]}));
        assert_eq!(app.audit("action=CUSTOM_ACTION").await.len(), 1);
    }

    async fn an_action_alone_is_enough(app: TestApp) {
        let john = app.user("johndoe").await;
        let record = app.record_of(&event(&app, &john, json!({"action": "CUSTOM_ACTION"})).await.expect(201)).await;
        assert_eq!(record["resource_type"], Value::Null);
        assert_eq!(record["resource_id"], Value::Null);
        assert!(record["metadata"].is_object(), "{record}");
    }

    async fn our_own_actions_can_not_be_made_up(app: TestApp) {
        let john = app.user("johndoe").await;
        for own in [
            "LOGIN",
            "login",
            "Login",
            "REGISTER",
            "LOGOUT",
            "TOKEN_REFRESH",
            "REFRESH_TOKEN_REUSE",
            "PASSWORD_CHANGE",
            "READ_PROFILE",
            "UPDATE_PROFILE",
            "LIST_SESSIONS",
            "END_SESSION",
            "VERIFY",
            "CHECK",
            "OAUTH_LOGIN",
            "CREATE_AUDIT_EVENT",
            "READ_USER",
            "CREATE_USER",
            "UPDATE_USER",
            "DELETE_USER",
            "LIST_USERS",
            "CREATE_ROLE",
            "LIST_ROLES",
            "DELETE_PERMISSION",
            "LIST_PERMISSIONS",
            "READ_USER_PERMISSIONS",
            "ASSIGN_ROLE",
            "revoke_role",
            "GRANT_PERMISSION",
            "REVOKE_PERMISSION",
            "INCLUDE_ROLE",
            "EXCLUDE_ROLE",
            "LIST_AUDIT_LOGS",
            "READ_AUDIT_LOG",
            "EXPORT_AUDIT_LOGS",
            "READ_AUDIT_STATS",
            "READ_AUDIT_CHECKPOINT",
            "UNKNOWN_ROUTE",
            "UNLOCK_USER",
            "LINK_IDENTITY",
            "OAUTH_CALLBACK",
        ] {
            let answer = event(&app, &john, json!({"action": own})).await;
            assert_eq!(answer.status, 422, "{own}: {}", answer.text());
            answer.invalid(&["action"]);
        }
        let refused = event(&app, &john, json!({"action": "ASSIGN_ROLE", "resource_id": "x"})).await;
        let record = app.record_of(&refused).await;
        assert_eq!(record["action"], "CREATE_AUDIT_EVENT");
        assert_eq!(record["source"], "request");
        assert_eq!(record["outcome"], "failure");
    }

    async fn a_host_apps_actions_are_not_ours(app: TestApp) {
        let john = app.user("johndoe").await;
        for theirs in ["CREATE_PROJECT", "LIST_PROJECTS", "DELETE_PROJECT", "LOGIN_PAGE_SEEN"] {
            event(&app, &john, json!({"action": theirs})).await.expect(201);
        }
    }

    async fn an_event_needs_an_action_and_well_typed_fields(app: TestApp) {
        let john = app.user("johndoe").await;
        for (body, field) in [
            (json!({}), "action"),
            (json!({"action": ""}), "action"),
            (json!({"action": 5}), "action"),
            (json!({"action": "A", "resource_type": 5}), "resource_type"),
            (json!({"action": "A", "resource_id": {}}), "resource_id"),
            (json!({"action": "A", "metadata": "text"}), "metadata"),
            (json!({"action": "A", "metadata": [1]}), "metadata"),
        ] {
            event(&app, &john, body).await.invalid(&[field]);
        }
        event(&app, &john, json!(["A"])).await.problem_of(422);
        app.post("/audit/events").json(&json!({"action": "A"})).send().await.problem(401, "not_authenticated");
    }

    async fn metadata_has_at_most_8_kib(app: TestApp) {
        let john = app.user("johndoe").await;
        let body = |bytes: usize| json!({"action": "CUSTOM_ACTION", "metadata": {"note": "n".repeat(bytes)}});
        event(&app, &john, body(8_300)).await.invalid(&["metadata"]);
        let kept = app.record_of(&event(&app, &john, body(8_000)).await.expect(201)).await;
        assert_eq!(kept["metadata"]["note"], "n".repeat(8_000));
    }
}
