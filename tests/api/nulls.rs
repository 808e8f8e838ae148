//! Null, absent and empty: three things that a client may send for none.

use serde_json::{Value, json};

use crate::support::{Account, TestApp, field_codes, on_both_databases};

/// A user as the administrator sees it.
async fn user(app: &TestApp, id: &str) -> Value {
    app.ask(app.admin().await, "GET", &format!("/admin/users/{id}")).await.expect(200).json()
}

/// Whose account it is, and where they change it: themselves, and the administrator.
async fn places<'a>(app: &'a TestApp, john: &'a Account) -> [(&'a Account, String); 2] {
    [(john, "/auth/me".to_owned()), (app.admin().await, format!("/admin/users/{}", john.id))]
}

on_both_databases! {
    async fn null_is_none_where_a_field_may_be_absent(app: TestApp) {
        let admin = app.admin().await;
        let body = json!({"name": "x", "description": null, "permissions": null});
        let role = app.tell(admin, "POST", "/admin/roles", &body).await.expect(201).json();
        assert_eq!((&role["description"], &role["permissions"]), (&json!(""), &json!([])), "{role}");
        let body = json!({"name": "things:read", "description": null});
        let permission = app.tell(admin, "POST", "/admin/permissions", &body).await.expect(201).json();
        assert_eq!(permission["description"], "", "{permission}");
        let mut body = TestApp::registration("johndoe");
        body["full_name"] = Value::Null;
        body["roles"] = Value::Null;
        let user = app.tell(admin, "POST", "/admin/users", &body).await.expect(201).json();
        assert_eq!((&user["full_name"], &user["roles"]), (&Value::Null, &json!(["viewer"])), "{user}");
        let check = json!({"user_id": null, "checks": [{"role": "admin", "permission": null}]});
        let answer = app.tell(admin, "POST", "/authz/check", &check).await.expect(200).json();
        assert_eq!(answer["results"], json!([true]));
        let event = json!({"action": "A", "resource_type": null, "resource_id": null, "metadata": null});
        app.tell(admin, "POST", "/audit/events", &event).await.expect(201);
    }

    /// Taken for absent, a client that means to take something away would hear that it was done.
    async fn null_is_refused_where_there_is_no_none(app: TestApp) {
        let john = app.user("johndoe").await;
        let path = format!("/admin/users/{}", john.id);
        let before = user(&app, &john.id).await;
        for field in ["email", "is_active", "password", "is_superuser", "email_verified"] {
            let change = json!({field: null, "full_name": "Changed"});
            let answer = app.tell(app.admin().await, "PATCH", &path, &change).await;
            assert_eq!(answer.status, 422, "{field}: {}", answer.text());
            let problem = answer.invalid(&[field]);
            assert_eq!(field_codes(&problem, field).len(), 1, "{field}: {problem}");
        }
        app.tell(&john, "PATCH", "/auth/me", &json!({"email": null, "full_name": "Changed"})).await.invalid(&["email"]);
        assert_eq!(user(&app, &john.id).await, before);
        app.login("johndoe", &john.password).await;
    }

    async fn a_full_name_is_taken_away_by_null(app: TestApp) {
        let john = app.user("johndoe").await;
        for (who, path) in places(&app, &john).await {
            let named = app.tell(who, "PATCH", &path, &json!({"full_name": "John Doe"})).await.expect(200).json();
            assert_eq!(named["full_name"], "John Doe", "{path}");
            let cleared = app.tell(who, "PATCH", &path, &json!({"full_name": null})).await.expect(200).json();
            assert_eq!(cleared["full_name"], Value::Null, "{path}");
            assert_eq!(user(&app, &john.id).await["full_name"], Value::Null, "{path}");
        }
    }

    async fn a_change_of_nothing_leaves_the_time_of_the_last_one(app: TestApp) {
        let john = app.user("johndoe").await;
        let before = user(&app, &john.id).await;
        for (who, path) in places(&app, &john).await {
            let answer = app.tell(who, "PATCH", &path, &json!({})).await.expect(200);
            assert_eq!(answer.json()["updated_at"], before["updated_at"], "{path}");
            assert_eq!(user(&app, &john.id).await, before, "{path}");
            // Recorded all the same, as a change of nothing.
            assert_eq!(app.record_of(&answer).await["metadata"]["changed"], json!({}), "{path}");
        }
    }
}
