//! Input that nobody should send: each its own answer, its own record, and never a 500.

use serde_json::{Value, json};

use crate::support::{Answer, TestApp, field_codes, on_both_databases};

/// Asserts that the request is in the audit log as what it was.
async fn assert_recorded(app: &TestApp, answer: &Answer, action: &str) {
    let record = app.record_of(answer).await;
    assert_eq!(record["action"], action, "{record}");
    assert_eq!(record["response_status"], answer.status, "{record}");
    let outcome = if [401, 403, 429].contains(&answer.status) { "denied" } else { "failure" };
    assert_eq!(record["outcome"], outcome, "{record}");
}

async fn post(app: &TestApp, path: &str, body: &[u8]) -> Answer {
    app.post(path).body("application/json", body.to_vec()).send().await
}

on_both_databases! {
    async fn a_body_that_is_not_json_is_400_and_says_where(app: TestApp) {
        for body in [
            &b"username=johndoe"[..],
            b"",
            b"   ",
            b"{",
            b"{\"username\": \"johndoe\", \"passw",
            b"{\"username\": }",
            b"{'username': 'johndoe'}",
            b"{\"username\": \"john\xff\xfedoe\", \"password\": \"x\"}",
            b"\xff\xfe\x00",
            b"{\"username\": \"john\xc3\", \"password\": \"x\"}",
            b"{\"username\": \"\\ud800\", \"password\": \"x\"}",
            b"{\"username\": \"johndoe\", \"password\": \"x\"} trailing",
            b"nul",
        ] {
            let answer = post(&app, "/auth/login", body).await;
            assert_eq!(answer.status, 400, "{}: {}", String::from_utf8_lossy(body), answer.text());
            answer.problem(400, "malformed_json");
            assert_recorded(&app, &answer, "LOGIN").await;
        }
    }

    async fn a_deeply_nested_body_is_refused(app: TestApp) {
        let deep = [b"[".repeat(30_000), b"]".repeat(30_000)].concat();
        let answer = post(&app, "/auth/login", &deep).await.expect_one_of(&[400, 422]);
        answer.problem_of(answer.status);
        let deep = [b"{\"username\": ".to_vec(), b"[".repeat(30_000), b"]".repeat(30_000), b"}".to_vec()].concat();
        let answer = post(&app, "/auth/login", &deep).await.expect_one_of(&[400, 422]);
        answer.problem_of(answer.status);
    }

    async fn json_that_is_no_object_is_422(app: TestApp) {
        for body in ["[]", "[\"johndoe\", \"securepassword123\"]", "\"johndoe\"", "5", "null", "true", "[{}]"] {
            for (path, action) in
                [("/auth/login", "LOGIN"), ("/auth/register", "REGISTER"), ("/auth/refresh", "TOKEN_REFRESH")]
            {
                let answer = post(&app, path, body.as_bytes()).await;
                assert_eq!(answer.status, 422, "{path} {body}: {}", answer.text());
                answer.problem_of(422);
                assert_recorded(&app, &answer, action).await;
            }
        }
    }

    async fn a_wrong_type_names_its_field(app: TestApp) {
        let mut body = TestApp::registration("johndoe");
        for wrong in [json!(5), json!(null), json!(true), json!([]), json!({}), json!(1.5e300)] {
            body["username"] = wrong;
            let answer = app.post("/auth/register").json(&body).send().await;
            answer.invalid(&["username"]);
            assert_recorded(&app, &answer, "REGISTER").await;
        }
        // A field given twice: the one or the other, or refused, but never an error of ours.
        let twice = br#"{"username": "nobody", "username": "johndoe", "password": "nothing at all"}"#;
        post(&app, "/auth/login", twice).await.expect_one_of(&[400, 401, 422]);
    }

    async fn what_is_missing_is_named_all_at_once(app: TestApp) {
        let (admin, john) = (app.admin().await, app.user("johndoe").await);
        let account = ["username", "email", "password"];
        for (path, token, fields) in [
            ("/auth/register", "", &account[..]),
            ("/auth/login", "", &["username", "password"]),
            ("/auth/refresh", "", &["refresh_token"]),
            ("/auth/password", &john.access, &["current_password", "new_password"]),
            ("/admin/users", &admin.access, &account),
            ("/admin/roles", &admin.access, &["name"]),
            ("/authz/check", &john.access, &["checks"]),
            ("/audit/events", &john.access, &["action"]),
        ] {
            let call = app.post(path).json(&json!({}));
            let call = if token.is_empty() { call } else { call.bearer(token) };
            let problem = call.send().await.invalid(fields);
            assert_eq!(problem["errors"].as_array().unwrap().len(), fields.len(), "{path}: {problem}");
            for field in fields {
                assert_eq!(field_codes(&problem, field), ["required"], "{path} {field}: {problem}");
            }
        }
        let form = app.post("/auth/login").form(&[("scope", "")]).send().await;
        form.invalid(&["username", "password"]);
    }

    async fn nul_in_a_string_is_never_an_error_of_ours(app: TestApp) {
        let john = app.user("johndoe").await;
        let mut body = TestApp::registration("janedoe");
        body["full_name"] = json!("Jane\u{0}Doe");
        let answer = app.post("/auth/register").json(&body).send().await;
        answer.invalid(&["full_name"]);
        assert_recorded(&app, &answer, "REGISTER").await;
        app.try_login("john\u{0}doe", "securepassword123").await.expect_one_of(&[401, 422]);
        app.try_login("johndoe", "securepassword123\u{0}").await.expect_one_of(&[401, 422]);
        app.refresh("\u{0}").await.expect_one_of(&[401, 422]);
        app.patch("/auth/me")
            .bearer(&john.access)
            .json(&json!({"full_name": "\u{0}"}))
            .send()
            .await
            .invalid(&["full_name"]);
        let admin = &app.admin().await.access;
        for path in
            ["/admin/users?q=%00", "/admin/users?role=%00", "/audit/logs?action=%00", "/audit/logs?resource_id=a%00b"]
        {
            let answer = app.get(path).bearer(admin).send().await.expect_one_of(&[200, 422]);
            assert!(answer.status == 422 || answer.json()["items"] == json!([]), "{path}");
        }
        app.get("/admin/users/%00").bearer(admin).send().await.problem_of(404);
        app.get("/no%00where").bearer(admin).send().await.problem_of(404);
        app.get("/auth/verify?permission=%00").bearer(admin).send().await.problem_of(422);
        let event = json!({"action": "CUSTOM_ACTION", "metadata": {"a\u{0}b": "c\u{0}d"}});
        app.post("/audit/events").bearer(admin).json(&event).send().await.expect_one_of(&[201, 422]);
        // The log is read and written still.
        app.audit("limit=1000").await;
    }

    async fn names_that_differ_in_case_or_writing_only_are_one(app: TestApp) {
        app.register("johndoe").await;
        let answer = app.post("/auth/register").json(&TestApp::registration("JOHNDOE")).send().await;
        answer.problem_of(409);
        assert_recorded(&app, &answer, "REGISTER").await;
    }

    async fn a_page_has_a_limit_from_1_to_1000_and_an_offset_from_0(app: TestApp) {
        let admin = &app.admin().await.access;
        for path in ["/admin/users", "/admin/roles", "/admin/permissions", "/audit/logs"] {
            for bad in ["0", "1001", "-1", "x", "1.5", "1e2", "99999999999999999999", "%20", "+"] {
                let answer = app.get(&format!("{path}?limit={bad}")).bearer(admin).send().await;
                assert_eq!(answer.status, 422, "{path}?limit={bad}: {}", answer.text());
                answer.invalid(&["limit"]);
            }
            for bad in ["-1", "x", "99999999999999999999"] {
                let answer = app.get(&format!("{path}?offset={bad}")).bearer(admin).send().await;
                assert_eq!(answer.status, 422, "{path}?offset={bad}: {}", answer.text());
                answer.invalid(&["offset"]);
            }
            for good in ["limit=1", "limit=1000", "offset=0", "limit=1&offset=1"] {
                app.get(&format!("{path}?{good}")).bearer(admin).send().await.expect(200);
            }
        }
        let answer = app.get("/audit/logs?limit=0").bearer(admin).send().await;
        assert_recorded(&app, &answer, "LIST_AUDIT_LOGS").await;
    }

    async fn credentials_that_are_none_are_401(app: TestApp) {
        let john = app.user("johndoe").await;
        let good = format!("Bearer {}", john.access);
        let absent = app.get("/auth/me").send().await;
        absent.problem(401, "not_authenticated");
        assert_recorded(&app, &absent, "READ_PROFILE").await;
        let twice = app.get("/auth/me").header("authorization", &good).header("authorization", &good).send().await;
        twice.problem_of(401);
        assert_recorded(&app, &twice, "READ_PROFILE").await;
        let mixed = app.get("/auth/me").header("authorization", "Basic am9objpkb2U=").header("authorization", &good);
        mixed.send().await.problem_of(401);
        let huge = format!("Bearer {}", "x".repeat(8_000));
        for value in [
            "",
            "Basic am9obmRvZTpzZWN1cmVwYXNzd29yZDEyMw==",
            "Bearer",
            "Bearer ",
            "Bearer  ",
            &john.access,
            "Bearer x y",
            "Digest x",
            "bearer:x",
            &huge,
            &format!("{good},{good}"),
            &format!("{good} x"),
        ] {
            let answer = app.get("/auth/me").header("authorization", value).send().await;
            assert_eq!(answer.status, 401, "{value}: {}", answer.text());
            answer.problem_of(401);
            assert_recorded(&app, &answer, "READ_PROFILE").await;
        }
        // A scheme is known in any case (RFC 9110 section 11.1).
        for scheme in ["bearer", "BEARER"] {
            app.get("/auth/me").header("authorization", &format!("{scheme} {}", john.access)).send().await.expect(200);
        }
        // Not in the address, not in a cookie.
        app.get(&format!("/auth/me?access_token={}", john.access)).send().await.problem(401, "not_authenticated");
    }

    async fn a_bad_token_is_recorded_without_it(app: TestApp) {
        let john = app.user("johndoe").await;
        let token = john.forge().claim("aud", "elsewhere").token();
        let answer = app.me(&token).await;
        answer.problem(401, "token_invalid");
        assert_recorded(&app, &answer, "READ_PROFILE").await;
        let record = app.record_of(&answer).await;
        assert_eq!(record["user_id"], Value::Null, "nobody was identified");
        assert!(!record.to_string().contains("eyJ"), "{record}");
    }

    async fn a_path_or_query_of_odd_bytes_is_never_an_error_of_ours(app: TestApp) {
        let token = &app.admin().await.access;
        for target in [
            "/%ff%fe",
            "/auth/%6de",
            "/auth/me%2f",
            "/%",
            "/%zz",
            "/admin/users/%F0%9F%98%80",
            "/admin/users?q=%ff",
            "/admin/users?q=%zz",
            "/admin/users?role=%ff",
            "/audit/logs?action=%ff",
            "/admin/users?is_active=maybe",
            "/audit/logs?user_id=nobody",
            "/audit/logs?user_id=%ff",
            "/auth/verify?permission=%ff",
            "/../../etc/passwd",
            "/auth/../auth/me",
            "/;x",
            "/admin/users/{id}",
            "/a?b?c",
            "/auth/me?%00",
        ] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let answer = app.raw(request).await;
            assert!(answer.status < 500, "{target}: {} {}", answer.status, answer.text());
        }
        app.get("/admin/users?is_active=maybe").bearer(token).send().await.invalid(&["is_active"]);
    }
}
