//! What the audit log says of each request, and what it must never say.

use serde_json::{Value, json};

use crate::support::{TestApp, assert_millisecond_time, assert_uuid_v7, names, on_both_databases};

/// Method, path, access token or none, body, status, and the action that is recorded.
type Step<'a> = (&'a str, &'a str, &'a str, Option<Value>, u16, &'a str);

const NOBODY: &str = "0197f1d0-0000-7000-8000-000000000000";

on_both_databases! {
    async fn a_record_has_every_field(app: TestApp) {
        let john = app.user("johndoe").await;
        let call = app.get("/auth/me?x=secret-query").bearer(&john.access).header("user-agent", "Browser/1.0 (test)");
        let answer = call.header("x-request-id", "mine-1").send().await.expect(200);
        let record = app.record_of(&answer).await;
        assert_uuid_v7(&record["id"]);
        assert_millisecond_time(&record["timestamp"]);
        assert!(record["duration_ms"].is_number(), "{record}");
        assert!(record["metadata"].is_object(), "{record}");
        let expected = json!({
            "user_id": john.id, "username": "johndoe", "action": "READ_PROFILE", "ip_address": "127.0.0.1",
            "user_agent": "Browser/1.0 (test)", "request_method": "GET", "request_path": "/auth/me",
            "response_status": 200, "outcome": "success", "request_id": "mine-1", "source": "request",
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(record[field], *value, "{field}: {record}");
        }
        for field in ["resource_type", "resource_id"] {
            assert!(record.get(field).is_some(), "no {field}: {record}");
        }
        // The id's own time is the record's.
        let id: uuid::Uuid = record["id"].as_str().unwrap().parse().unwrap();
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let time = chrono::DateTime::from_timestamp(seconds.try_into().unwrap(), nanos).unwrap();
        assert_eq!(record["timestamp"], time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    }

    async fn every_request_is_one_record_with_its_action(app: TestApp) {
        let admin = app.admin().await;
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        let (user, role) = (format!("/admin/users/{}", john.id), format!("/admin/users/{}/roles/analyst", john.id));
        let session = format!("/auth/sessions/{}", other.session());
        let login = json!({"username": "johndoe", "password": john.password});
        let wrong = json!({"username": "johndoe", "password": "wrong password"});
        let change = json!({"current_password": john.password, "new_password": "new-kq7-Vw2.zR9"});
        let checks = json!({"checks": [{"role": "viewer"}]});
        let requests: Vec<Step<'_>> = vec![
            ("POST", "/auth/register", "", Some(TestApp::registration("janedoe")), 201, "REGISTER"),
            ("POST", "/auth/register", "", Some(TestApp::registration("janedoe")), 409, "REGISTER"),
            ("POST", "/auth/login", "", Some(login), 200, "LOGIN"),
            ("POST", "/auth/login", "", Some(wrong), 401, "LOGIN"),
            ("POST", "/auth/login", "", Some(json!([])), 422, "LOGIN"),
            ("GET", "/auth/login", "", None, 405, "LOGIN"),
            ("POST", "/auth/refresh", "", Some(json!({"refresh_token": john.refresh})), 200, "TOKEN_REFRESH"),
            ("POST", "/auth/refresh", "", Some(json!({"refresh_token": "x"})), 401, "TOKEN_REFRESH"),
            ("GET", "/auth/me", &john.access, None, 200, "READ_PROFILE"),
            ("GET", "/auth/me", "", None, 401, "READ_PROFILE"),
            ("PATCH", "/auth/me", &john.access, Some(json!({"full_name": "John"})), 200, "UPDATE_PROFILE"),
            ("GET", "/auth/sessions", &john.access, None, 200, "LIST_SESSIONS"),
            ("DELETE", &session, &john.access, None, 204, "END_SESSION"),
            ("DELETE", "/auth/sessions", &john.access, None, 204, "END_SESSION"),
            ("GET", "/auth/verify?role=viewer", &john.access, None, 200, "VERIFY"),
            ("GET", "/auth/verify?role=admin", &john.access, None, 403, "VERIFY"),
            ("DELETE", "/auth/verify/api/projects", "", None, 401, "VERIFY"),
            ("POST", "/authz/check", &john.access, Some(checks), 200, "CHECK"),
            ("GET", "/admin/users", &john.access, None, 403, "LIST_USERS"),
            ("GET", "/admin/users", &admin.access, None, 200, "LIST_USERS"),
            ("GET", &user, &admin.access, None, 200, "READ_USER"),
            ("PATCH", &user, &admin.access, Some(json!({"full_name": "J"})), 200, "UPDATE_USER"),
            ("PATCH", &user, &admin.access, Some(json!([])), 422, "UPDATE_USER"),
            ("PUT", &role, &john.access, None, 403, "ASSIGN_ROLE"),
            ("PUT", &role, &admin.access, None, 204, "ASSIGN_ROLE"),
            ("DELETE", &role, &admin.access, None, 204, "REVOKE_ROLE"),
            ("GET", "/admin/roles", &admin.access, None, 200, "LIST_ROLES"),
            ("GET", "/admin/permissions", &admin.access, None, 200, "LIST_PERMISSIONS"),
            ("GET", "/audit/logs", &john.access, None, 403, "LIST_AUDIT_LOGS"),
            ("GET", "/audit/logs", &admin.access, None, 200, "LIST_AUDIT_LOGS"),
            ("POST", "/auth/password", &john.access, Some(change), 204, "PASSWORD_CHANGE"),
            ("GET", "/nowhere", &john.access, None, 404, "UNKNOWN_ROUTE"),
            ("GET", "/nowhere", "", None, 401, "UNKNOWN_ROUTE"),
            ("POST", "/auth/logout", &john.access, None, 204, "LOGOUT"),
            ("POST", "/auth/logout", "", None, 401, "LOGOUT"),
        ];
        let before = app.audit("limit=1000").await.len();
        for (n, (method, path, token, body, status, _)) in requests.iter().enumerate() {
            let mut call = app.call(method, path).header("x-request-id", &format!("walk-{n}"));
            if !token.is_empty() {
                call = call.bearer(token);
            }
            if let Some(body) = body {
                call = call.json(body);
            }
            let answer = call.send().await;
            assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
        }
        let records = app.audit("limit=1000").await;
        // The question before is recorded too.
        assert_eq!(records.len(), before + 1 + requests.len());
        for (n, (method, path, token, _, status, action)) in requests.iter().enumerate() {
            let mine: Vec<&Value> =
                records.iter().filter(|record| record["request_id"] == format!("walk-{n}")).collect();
            assert_eq!(mine.len(), 1, "{method} {path}: {mine:?}");
            let record = mine[0];
            let outcome = match status {
                200..=399 => "success",
                401 | 403 | 429 => "denied",
                _ => "failure",
            };
            let got = [&record["action"], &record["response_status"], &record["outcome"], &record["request_method"]];
            assert_eq!(
                got,
                [&json!(action), &json!(status), &json!(outcome), &json!(method)],
                "{method} {path}: {record}"
            );
            assert_eq!(record["request_path"], path.split('?').next().unwrap(), "{record}");
            if !token.is_empty() {
                let who = if *token == admin.access { &admin.id } else { &john.id };
                assert_eq!(record["user_id"], who.as_str(), "{method} {path}: {record}");
            }
        }
    }

    async fn what_nobody_did_is_not_recorded(app: TestApp) {
        for path in ["/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/.well-known/jwks.json"] {
            app.get(path).send().await;
            app.call("HEAD", path).send().await;
        }
        let records = app.audit("").await;
        assert_eq!(names(&records, "action"), ["LOGIN"], "the administrator's own");
    }

    async fn a_failed_login_names_who_was_tried_if_that_can_be_a_name(app: TestApp) {
        for name in ["johndoe", "john@example.com"] {
            let answer = app.try_login(name, "wrong password").await.expect(401);
            let record = app.record_of(&answer).await;
            assert_eq!(record["action"], "LOGIN");
            assert_eq!(record["outcome"], "denied");
            assert!(record["metadata"].to_string().contains(&format!("\"{name}\"")), "{record}");
        }
        for name in ["my secret pass phrase", "p@ss w0rd!", "hunter2$ecret!", "x"] {
            let answer = app.try_login(name, "wrong password").await.expect(401);
            let record = app.record_of(&answer).await;
            assert!(!record["metadata"].to_string().contains(name), "{record}");
        }
    }

    async fn what_looks_like_a_token_is_redacted_from_every_field(app: TestApp) {
        let john = app.user("johndoe").await;
        let short = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqb2huIn0.c2lnbmF0dXJlLW9mLWpvaG4";
        app.get("/auth/me").bearer(&john.access).header("x-request-id", short).send().await.expect(200);
        app.get("/auth/me").bearer(&john.access).header("user-agent", &format!("curl/8 {}", john.refresh)).send().await;
        app.get(&format!("/auth/{short}")).bearer(&john.access).send().await.expect(404);
        app.try_login(short, "wrong password").await;
        let metadata = json!({"note": format!("Bearer {short}"), "list": [{"deep": john.access}], short: "key"});
        let event =
            json!({"action": "CUSTOM_ACTION", "resource_type": "project", "resource_id": short, "metadata": metadata});
        app.post("/audit/events").bearer(&john.access).json(&event).send().await.expect_one_of(&[201, 422]);
        let log = json!(app.audit("limit=1000").await).to_string();
        let signatures = [short, &john.access, &john.refresh].map(|token| token.rsplit('.').next().unwrap().to_owned());
        for signature in signatures {
            assert!(!log.contains(&signature), "{log}");
        }
        assert!(log.contains("CUSTOM_ACTION"), "{log}");
    }

    async fn no_password_and_no_token_is_anywhere_on_the_disk_or_in_the_log(app: TestApp) {
        let john = app.user("johndoe").await;
        app.try_login("johndoe", "a-wrong-password-zR9").await.expect(401);
        let change = json!({"current_password": john.password, "new_password": "new-kq7-Vw2.zR9"});
        app.post("/auth/password").bearer(&john.access).json(&change).send().await.expect(204);
        let next = app.refresh(&john.refresh).await.expect(200).json();
        let next = next["refresh_token"].as_str().unwrap();
        app.post("/auth/logout").bearer(&john.access).json(&json!({"refresh_token": next})).send().await.expect(204);
        let records = json!(app.audit("limit=1000").await).to_string();
        let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
        let secrets = [
            "securepassword123".to_owned(),
            "a-wrong-password-zR9".to_owned(),
            "new-kq7-Vw2.zR9".to_owned(),
            "correct-horse-battery".to_owned(),
            signature(&john.access),
            signature(&john.refresh),
            signature(next),
        ];
        let mut places = vec![
            ("the audit log".to_owned(), records.into_bytes()),
            ("standard error".to_owned(), app.log().into_bytes()),
        ];
        let mut folders = vec![app.launch.data_dir()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    places.push((path.display().to_string(), bytes));
                }
            }
        }
        assert!(places.len() > 2, "no files");
        for (place, bytes) in &places {
            for secret in &secrets {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {place}");
            }
        }
    }

    async fn long_fields_are_cut_and_the_record_is_kept(app: TestApp) {
        let john = app.user("johndoe").await;
        let call = app.get("/auth/me").bearer(&john.access).header("user-agent", &"u".repeat(2_000));
        let record = app.record_of(&call.send().await.expect(200)).await;
        assert_eq!(record["user_agent"], "u".repeat(512));
        let call = app.get(&format!("/{}", "p".repeat(3_000))).bearer(&john.access);
        let record = app.record_of(&call.send().await.expect(404)).await;
        assert_eq!(record["request_path"], format!("/{}", "p".repeat(2_047)));
    }

    async fn a_long_header_of_many_tokens_is_redacted_and_holds_nobody_up(app: TestApp) {
        let john = app.user("johndoe").await;
        // 60 KB that a search in every suffix would take minutes for.
        let hostile = "eyJaaaaaaaaaaaaa,".repeat(3_600);
        let stranger = app.get("/auth/me").header("user-agent", &hostile).send().await;
        stranger.problem(401, "not_authenticated");
        let user = app.get("/nowhere").bearer(&john.access).header("user-agent", &hostile).send().await;
        user.problem_of(404);
        for answer in [stranger, user] {
            let record = app.record_of(&answer).await;
            let agent = record["user_agent"].as_str().unwrap();
            assert!(agent.chars().count() <= 512 && !agent.contains("eyJ"), "{agent}");
        }
    }

    async fn a_path_that_is_written_otherwise_is_the_same_action(app: TestApp) {
        for (method, path, action) in [
            ("GET", "/%61dmin/users", "LIST_USERS"),
            ("GET", "/auth/m%65", "READ_PROFILE"),
            ("DELETE", "/%61uth/sessions", "END_SESSION"),
        ] {
            let answer = app.call(method, path).send().await;
            answer.problem(401, "not_authenticated");
            let record = app.record_of(&answer).await;
            assert_eq!((&record["action"], &record["request_path"]), (&json!(action), &json!(path)), "{record}");
        }
    }

    async fn a_refused_change_names_its_resource(app: TestApp) {
        let john = app.user("johndoe").await;
        let refused = app.patch(&format!("/admin/users/{NOBODY}")).bearer(&john.access).json(&json!({})).send().await;
        refused.problem(403, "permission_required");
        let record = app.record_of(&refused).await;
        assert_eq!(record["action"], "UPDATE_USER");
        assert_eq!(record["resource_type"], "user");
        assert_eq!(record["resource_id"], NOBODY);
    }
}
