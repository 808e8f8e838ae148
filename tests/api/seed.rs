//! Every request of the first description of this service, word for word, in the order a reader would try them.

use serde_json::json;

use crate::support::{TestApp, assert_millisecond_time, assert_uuid_v7, items, on_both_databases};

const REGISTER: &str = r#"{
"username": "johndoe",
"email": "john@example.com",
"password": "securepassword123",
"full_name": "John Doe"
}"#;
const LOGIN: &str = r#"{
"username": "johndoe",
"password": "securepassword123"
}"#;

on_both_databases! {
    async fn the_walk_of_the_description_works_word_for_word(app: TestApp) {
        let user = app.post("/auth/register").body("application/json", REGISTER).send().await.expect(201);
        let location = user.header("location").expect("a Location").to_owned();
        let user = user.json();
        assert_uuid_v7(&user["id"]);
        assert!(location.contains(user["id"].as_str().unwrap()) || location.ends_with("/auth/me"), "{location}");
        assert_millisecond_time(&user["created_at"]);
        assert_millisecond_time(&user["updated_at"]);
        let id = user["id"].as_str().unwrap().to_owned();
        let expected = json!({
            "id": id, "username": "johndoe", "email": "john@example.com", "email_verified": false,
            "full_name": "John Doe", "is_active": true, "is_superuser": false, "roles": ["viewer"],
            "created_at": user["created_at"], "updated_at": user["updated_at"], "last_login_at": null,
        });
        assert_eq!(user, expected);

        let answer = app.post("/auth/login").body("application/json", LOGIN).send().await.expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let tokens = answer.json();
        let mut fields: Vec<&String> = tokens.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["access_token", "expires_in", "refresh_token", "token_type"]);
        assert_eq!(tokens["token_type"], "bearer");
        assert_eq!(tokens["expires_in"], 1800);
        let access = tokens["access_token"].as_str().unwrap();
        for token in [&tokens["access_token"], &tokens["refresh_token"]] {
            assert!(token.as_str().unwrap().starts_with("eyJ"), "no JWT: {token}");
        }

        // A host app's route: who is let in is told here, what it holds is the host's.
        app.get("/api/projects").bearer(access).send().await.problem_of(404);

        let refresh = format!("{{\n\"refresh_token\": {}\n}}", tokens["refresh_token"]);
        let next = app.post("/auth/refresh").body("application/json", refresh.as_str()).send().await.expect(200).json();
        assert_eq!(next["token_type"], "bearer");
        assert_ne!(next["refresh_token"], tokens["refresh_token"]);
        let access = next["access_token"].as_str().unwrap();

        let logout = format!("{{\n\"refresh_token\": {}\n}}", next["refresh_token"]);
        let logout = app.post("/auth/logout").bearer(access).body("application/json", logout.as_str());
        assert!(logout.send().await.expect(204).body.is_empty());
        app.me(access).await.problem(401, "token_revoked");

        let query = format!("/audit/logs?user_id={id}&action=LOGIN&limit=100");
        let logs = app.get(&query).bearer(&app.admin().await.access).send().await.expect(200).json();
        assert_eq!(logs["limit"], 100);
        assert_eq!(logs["offset"], 0);
        assert_eq!(logs["has_more"], false);
        assert_eq!(items(&logs).len(), 1, "{logs}");
        assert_eq!(logs["items"][0]["action"], "LOGIN");
        assert_eq!(logs["items"][0]["user_id"], id.as_str());
        assert_eq!(logs["items"][0]["username"], "johndoe");
    }

    async fn the_public_endpoints_of_the_description_need_no_credentials(app: TestApp) {
        for path in ["/", "/openapi.json", "/metrics"] {
            app.get(path).send().await.expect(200);
        }
        let docs = app.get("/docs").send().await;
        assert!(docs.status == 200 || (docs.status / 100 == 3), "{}", docs.status);
        for path in ["/auth/login", "/auth/register", "/auth/refresh", "/auth/oauth/login"] {
            // Not asked who is there, but told what is missing.
            app.post(path).json(&json!({})).send().await.invalid(&[]);
        }
        app.get("/auth/me").send().await.problem(401, "not_authenticated");
    }

    async fn the_seven_tables_of_the_description_are_there(app: TestApp) {
        let database = app.database();
        for table in ["users", "roles", "permissions", "user_roles", "role_permissions", "refresh_tokens"] {
            let count = database.scalar(&format!("SELECT count(*) FROM {table}")).await.unwrap();
            assert!(count.parse::<u32>().is_ok(), "{table}: {count}");
        }
        let columns = "id, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
                       request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, \
                       source, writer_id, seq, hash";
        database.audit_scalar(&format!("SELECT count(*) FROM (SELECT {columns} FROM audit_logs) AS logs")).await;
        database.audit_scalar("SELECT count(\"timestamp\") FROM audit_logs").await;
    }
}
