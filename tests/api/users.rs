//! `/admin/users`: looking after other accounts.

use serde_json::{Value, json};

use crate::support::{Answer, TestApp, items, names, on_both_databases};

const NOBODY: &str = "0197f1d0-0000-7000-8000-000000000000";

async fn list(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/admin/users{query}")).bearer(&app.admin().await.access).send().await.expect(200).json()
}

async fn found(app: &TestApp, query: &str) -> Vec<String> {
    let mut names = names(items(&list(app, query).await), "username");
    names.sort();
    names
}

async fn patch(app: &TestApp, user: &str, change: Value) -> Answer {
    app.patch(&format!("/admin/users/{user}")).bearer(&app.admin().await.access).json(&change).send().await
}

on_both_databases! {
    async fn users_are_found_by_prefix_role_and_status(app: TestApp) {
        for name in ["Alice", "alfred", "bob"] {
            app.register(name).await;
        }
        let body = json!({"username": "carl", "email": "alcarl@example.org", "password": "securepassword123"});
        app.post("/auth/register").json(&body).send().await.expect(201);
        let alfred = list(&app, "?q=alfred").await["items"][0]["id"].as_str().unwrap().to_owned();
        app.set_role("PUT", &alfred, "analyst").await;
        app.change_user(&alfred, json!({"is_active": false})).await;
        assert_eq!(found(&app, "").await, ["Alice", "alfred", "bob", "carl", "root_admin"]);
        assert_eq!(found(&app, "?q=al").await, ["Alice", "alfred", "carl"]);
        assert_eq!(found(&app, "?q=AL").await, ["Alice", "alfred", "carl"]);
        assert_eq!(found(&app, "?q=lice").await, Vec::<String>::new());
        assert_eq!(found(&app, "?role=analyst").await, ["alfred"]);
        assert_eq!(found(&app, "?role=admin").await, ["root_admin"]);
        assert_eq!(found(&app, "?is_active=false").await, ["alfred"]);
        assert_eq!(found(&app, "?is_active=true&q=al").await, ["Alice", "carl"]);
        // No wildcards of SQL in what is asked for.
        for query in ["?q=%25", "?q=a%25", "?q=_lice", "?q=%27"] {
            assert_eq!(found(&app, query).await, Vec::<String>::new(), "{query}");
        }
        // An underscore is a letter of names.
        assert_eq!(found(&app, "?q=root_").await, ["root_admin"]);
    }

    async fn a_list_of_users_has_pages(app: TestApp) {
        for n in 0..5 {
            app.register(&format!("user{n}")).await;
        }
        let first = list(&app, "?limit=4").await;
        assert_eq!(first["limit"], 4);
        assert_eq!(first["offset"], 0);
        assert_eq!(first["has_more"], true);
        assert_eq!(items(&first).len(), 4);
        let second = list(&app, "?limit=4&offset=4").await;
        assert_eq!(second["has_more"], false);
        let mut all = [names(items(&first), "username"), names(items(&second), "username")].concat();
        all.sort();
        assert_eq!(all, ["root_admin", "user0", "user1", "user2", "user3", "user4"]);
        assert_eq!(list(&app, "").await["limit"], 100);
        assert_eq!(items(&list(&app, "?offset=6").await).len(), 0);
    }

    async fn a_user_is_shown_without_secrets(app: TestApp) {
        let john = app.user("johndoe").await;
        let call = app.get(&format!("/admin/users/{}", john.id)).bearer(&app.admin().await.access);
        let user = call.send().await.expect(200).json();
        let mut fields: Vec<&String> = user.as_object().unwrap().keys().collect();
        fields.sort();
        let expected = [
            "created_at",
            "email",
            "email_verified",
            "full_name",
            "id",
            "is_active",
            "is_superuser",
            "last_login_at",
            "roles",
            "updated_at",
            "username",
        ];
        for field in expected {
            assert!(fields.iter().any(|name| *name == field), "no {field}: {user}");
        }
        assert_eq!(user["username"], "johndoe");
        for secret in ["password", "hash", "$2", "eyJ"] {
            assert!(!user.to_string().contains(secret), "{secret}: {user}");
            assert!(!list(&app, "").await.to_string().contains(secret), "{secret}");
        }
    }

    async fn an_unknown_user_is_404(app: TestApp) {
        let admin = &app.admin().await.access;
        for id in [NOBODY, "not-a-uuid", "5", "..%2f"] {
            app.get(&format!("/admin/users/{id}")).bearer(admin).send().await.problem_of(404);
        }
        patch(&app, NOBODY, json!({"full_name": "X"})).await.problem_of(404);
        patch(&app, "not-a-uuid", json!({"full_name": "X"})).await.problem_of(404);
    }

    async fn a_user_is_changed_field_by_field(app: TestApp) {
        let john = app.user("johndoe").await;
        let changed = app.change_user(&john.id, json!({"full_name": "John Doe", "email_verified": true})).await;
        assert_eq!(changed["full_name"], "John Doe");
        assert_eq!(changed["email_verified"], true);
        assert_eq!(changed["email"], "johndoe@example.com");
        let changed = app.change_user(&john.id, json!({"email": "new@example.com", "email_verified": true})).await;
        assert_eq!(changed["email"], "new@example.com");
        assert_eq!(changed["email_verified"], true, "said in the same breath");
        let changed = app.change_user(&john.id, json!({"email": "newer@example.com"})).await;
        assert_eq!(changed["email_verified"], false);
        assert_eq!(changed["full_name"], "John Doe");
        // Nothing of this ended its session.
        app.me(&john.access).await.expect(200);
    }

    async fn a_bad_change_changes_nothing(app: TestApp) {
        let john = app.user("johndoe").await;
        app.register("janedoe").await;
        patch(&app, &john.id, json!({"email": "JANEDOE@example.com"})).await.problem_of(409);
        patch(&app, &john.id, json!({"email": "no address", "full_name": "X"})).await.invalid(&["email"]);
        patch(&app, &john.id, json!({"password": "short", "full_name": "X"})).await.invalid(&["password"]);
        patch(&app, &john.id, json!({"is_active": "no", "full_name": "X"})).await.invalid(&["is_active"]);
        patch(&app, &john.id, json!({"is_superuser": 1})).await.invalid(&["is_superuser"]);
        patch(&app, &john.id, json!([])).await.problem_of(422);
        let me = app.me(&john.access).await.expect(200).json();
        assert_eq!(me["full_name"], Value::Null);
        assert_eq!(me["email"], "johndoe@example.com");
    }

    async fn a_deactivation_ends_all_sessions_and_every_right(app: TestApp) {
        let john = app.user_with_roles("johndoe", &["admin"]).await;
        let other = app.login("johndoe", &john.password).await;
        app.get("/admin/users").bearer(&john.access).send().await.expect(200);
        assert_eq!(app.change_user(&john.id, json!({"is_active": false})).await["is_active"], false);
        for session in [&john, &other] {
            app.me(&session.access).await.problem(401, "token_revoked");
            app.get("/admin/users").bearer(&session.access).send().await.problem(401, "token_revoked");
            app.refresh(&session.refresh).await.problem_of(401);
        }
        app.try_login("johndoe", &john.password).await.problem(401, "invalid_credentials");
        app.change_user(&john.id, json!({"is_active": true})).await;
        // The sessions stay ended; the account is back.
        app.me(&john.access).await.problem(401, "token_revoked");
        let again = app.login("johndoe", &john.password).await;
        app.get("/admin/users").bearer(&again.access).send().await.expect(200);
    }
}
