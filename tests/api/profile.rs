//! `/auth/me`: one's own account.

use serde_json::{Value, json};

use crate::support::{Answer, TestApp, assert_millisecond_time, on_both_databases};

async fn patch(app: &TestApp, access: &str, change: Value) -> Answer {
    app.patch("/auth/me").bearer(access).json(&change).send().await
}

on_both_databases! {
    async fn the_profile_shows_roles_and_the_sorted_permissions(app: TestApp) {
        let john = app.user("johndoe").await;
        let me = app.me(&john.access).await.expect(200).json();
        assert_eq!(me["id"], john.id.as_str());
        assert_eq!(me["username"], "johndoe");
        assert_eq!(me["email"], "johndoe@example.com");
        assert_eq!(me["roles"], json!(["viewer"]));
        assert_eq!(me["permissions"], json!(["projects:read", "reports:read"]));
        assert_eq!(me["is_active"], true);
        assert_millisecond_time(&me["created_at"]);
        let text = me.to_string();
        assert!(!text.contains("$2") && !text.contains("hash") && !text.contains("eyJ"), "{text}");
    }

    async fn the_administrators_profile_shows_every_permission(app: TestApp) {
        let me = app.me(&app.admin().await.access).await.expect(200).json();
        assert_eq!(me["is_superuser"], true);
        assert!(me["roles"].as_array().unwrap().contains(&json!("admin")), "{me}");
        let permissions = me["permissions"].as_array().unwrap();
        assert_eq!(permissions.len(), 15, "{me}");
        assert!(permissions.is_sorted_by_key(|permission| permission.as_str().map(str::to_owned)), "{me}");
    }

    async fn name_and_email_can_be_changed_and_the_rest_is_ignored(app: TestApp) {
        let john = app.user("johndoe").await;
        let change = json!({"full_name": "John Doe", "email": "New@Example.com", "is_superuser": true,
            "roles": ["admin"], "is_active": false, "username": "root"});
        let changed = patch(&app, &john.access, change).await.expect(200).json();
        assert_eq!(changed["full_name"], "John Doe");
        assert_eq!(changed["email"].as_str().unwrap().to_lowercase(), "new@example.com");
        assert_eq!(changed["email_verified"], false);
        assert_eq!(changed["is_superuser"], false);
        assert_eq!(changed["username"], "johndoe");
        let me = app.me(&john.access).await.expect(200).json();
        assert_eq!(me["full_name"], "John Doe");
        assert_eq!(me["roles"], json!(["viewer"]));
        app.login("new@example.com", &john.password).await;
        app.try_login("johndoe@example.com", &john.password).await.problem(401, "invalid_credentials");
    }

    async fn what_is_not_named_stays(app: TestApp) {
        let john = app.user("johndoe").await;
        patch(&app, &john.access, json!({"full_name": "John Doe"})).await.expect(200);
        let same = patch(&app, &john.access, json!({})).await.expect(200).json();
        assert_eq!(same["full_name"], "John Doe");
        assert_eq!(same["email"], "johndoe@example.com");
        let none = patch(&app, &john.access, json!({"full_name": null})).await.expect(200).json();
        assert_eq!(none["email"], "johndoe@example.com");
    }

    async fn a_changed_email_is_no_longer_verified(app: TestApp) {
        let john = app.user("johndoe").await;
        let verified = app.change_user(&john.id, json!({"email_verified": true})).await;
        assert_eq!(verified["email_verified"], true);
        assert_eq!(app.me(&john.access).await.json()["email_verified"], true);
        let changed = patch(&app, &john.access, json!({"email": "new@example.com"})).await.expect(200).json();
        assert_eq!(changed["email_verified"], false);
    }

    async fn an_email_of_another_user_is_refused(app: TestApp) {
        let john = app.user("johndoe").await;
        app.register("janedoe").await;
        let answer = patch(&app, &john.access, json!({"email": "JaneDoe@example.com"})).await;
        assert_eq!(answer.problem_of(409)["detail"], "Email already registered");
        // One's own is one's own, in any case.
        patch(&app, &john.access, json!({"email": "JohnDoe@example.com"})).await.expect(200);
        patch(&app, &john.access, json!({"email": "no address"})).await.invalid(&["email"]);
        patch(&app, &john.access, json!({"email": 5})).await.invalid(&["email"]);
        patch(&app, &john.access, json!({"full_name": "x".repeat(201)})).await.invalid(&["full_name"]);
        patch(&app, &john.access, json!([])).await.problem_of(422);
    }

    async fn a_profile_change_is_audited(app: TestApp) {
        let john = app.user("johndoe").await;
        let answer = patch(&app, &john.access, json!({"full_name": "John Doe"})).await.expect(200);
        let record = app.record_of(&answer).await;
        assert_eq!(record["action"], "UPDATE_PROFILE");
        assert_eq!(record["user_id"], john.id.as_str());
        let answer = app.me(&john.access).await;
        assert_eq!(app.record_of(&answer).await["action"], "READ_PROFILE");
    }
}
