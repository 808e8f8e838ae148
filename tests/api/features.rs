//! The two feature flags: no authentication, no audit.

use serde_json::json;

use crate::support::{Database, NOBODY, TestApp, on_both_databases, slot};

on_both_databases! {
    async fn without_authentication_every_request_is_anonymous_the_superuser(database: Database) {
        let app = database.app().env("ENABLE_AUTHENTICATION", "false").start().await;
        let me = app.get("/auth/me").send().await.expect(200).json();
        assert_eq!(me["username"], "anonymous");
        assert_eq!(me["is_superuser"], true);
        let admin_lists = app.get("/admin/users").send().await.expect(200).json();
        assert!(admin_lists["items"].is_array());
        let verified = app.get("/auth/verify?permission=users:manage&role=admin").send().await.expect(200);
        assert_eq!(verified.header("x-username"), Some("anonymous"));
        // A superuser who has no account: what it changes, it changes for the system.
        app.post("/admin/roles").json(&json!({"name": "editor", "permissions": ["projects:*"]})).send().await.expect(201);
        let john = app.register("johndoe").await;
        app.call("PUT", &format!("/admin/users/{john}/roles/editor")).send().await.expect(204);
        app.delete(&format!("/admin/users/{john}")).send().await.expect(204);
        app.get("/nowhere").send().await.problem_of(404);
        app.get("/auth/verify?permission=nonsense").send().await.problem_of(422);
        let logs = app.get("/audit/logs?action=VERIFY").send().await.expect(200).json();
        assert_eq!(logs["items"][0]["username"], "anonymous");
        app.has_logged("ENABLE_AUTHENTICATION").await;
        let log = app.log();
        assert!(
            log.lines().any(|line| line.contains("WARN") && line.contains("ENABLE_AUTHENTICATION")),
            "no warning:\n{log}"
        );
    }

    async fn without_audit_nothing_is_recorded(database: Database) {
        let app = database.app().env("ENABLE_AUDIT_LOGGING", "false").start().await;
        let john = app.user("johndoe").await;
        app.me(&john.access).await.expect(200);
        app.me("nonsense").await.problem(401, "token_invalid");
        let event = json!({"action": "CUSTOM_ACTION"});
        let answer = app.post("/audit/events").bearer(&john.access).json(&event).send().await;
        assert!(answer.status < 500, "{}", answer.text());
        let answer = app.get("/audit/logs").bearer(&app.admin().await.access).send().await;
        assert!(answer.status < 500, "{}", answer.text());
        let mut app = app;
        app.terminate().await;
        assert_eq!(database.audit_scalar("SELECT count(*) FROM audit_logs").await.as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn without_authentication_only_a_loopback_name_is_answered() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("ENABLE_AUTHENTICATION", "false").start().await;
    let request = |host: String| {
        let app = &app;
        async move { app.raw(format!("GET /auth/me HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await }
    };
    for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.0.7"]
    {
        request(host.to_owned()).await.problem_of(403);
    }
    for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"] {
        request(host.to_owned()).await.expect(200);
        request(format!("{host}:{}", app.port())).await.expect(200);
    }
}

/// A page that rebinds its own name to this machine would else read what is here for everybody.
#[tokio::test]
async fn without_authentication_another_name_is_refused_on_every_path() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("ENABLE_AUTHENTICATION", "false").start().await;
    for target in [
        "GET /",
        "GET /metrics",
        "GET /docs",
        "GET /openapi.json",
        "GET /auth/me",
        "GET /auth/register",
        "GET /auth/verify",
        "GET /admin/users",
        "GET /nowhere",
        "DELETE /",
    ] {
        for host in ["evil.example", "evil.example:8080", "192.168.0.7"] {
            let request = format!("{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = app.raw(request).await;
            assert_eq!(answer.status, 403, "{target} of {host}: {}", answer.text());
            answer.problem(403, "host_not_allowed");
        }
    }
    let body = TestApp::registration("johndoe").to_string();
    let request = format!(
        "POST /auth/register HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    app.raw(request).await.problem(403, "host_not_allowed");
    assert_eq!(app.get("/admin/users?q=johndoe").send().await.expect(200).json()["items"], json!([]));
    app.get("/").send().await.expect(200);
}

/// A form of any page may send a `POST` here: it needs no answer to do harm.
#[tokio::test]
async fn without_authentication_a_page_of_another_origin_changes_nothing() {
    let _slot = slot().await;
    let launch = Database::sqlite().app().env("ENABLE_AUTHENTICATION", "false");
    let app = launch.env("CORS_ALLOWED_ORIGINS", "https://app.example").start().await;
    let john = app.register("johndoe").await;
    let unlock = format!("/admin/users/{john}/unlock");
    let send = |method: &str, path: &str, origin: &str| app.call(method, path).header("origin", origin).send();
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example:3000",
        "https://app.example.evil.example",
        "http://app.example",
        "http://192.168.0.7",
    ] {
        for (method, path) in [
            ("POST", unlock.as_str()),
            ("DELETE", &format!("/admin/users/{john}")),
            ("PUT", &format!("/admin/users/{john}/roles/admin")),
            ("POST", "/auth/register"),
            ("POST", "/nowhere"),
        ] {
            let answer = send(method, path, origin).await;
            assert_eq!(answer.status, 403, "{method} {path} from {origin}: {}", answer.text());
            answer.problem(403, "origin_not_allowed");
        }
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:3000", "https://app.example"] {
        send("POST", &unlock, origin).await.expect(204);
        send("POST", &format!("/admin/users/{NOBODY}/unlock"), origin).await.problem_of(404);
    }
    // No page sends a request without an origin.
    app.post(&unlock).send().await.expect(204);
    let user = app.get(&format!("/admin/users/{john}")).send().await.expect(200).json();
    assert_eq!(user["roles"], json!(["viewer"]));
}

#[tokio::test]
async fn without_authentication_the_world_is_not_listened_to() {
    let _slot = slot().await;
    let launch = Database::sqlite().app().env("ENABLE_AUTHENTICATION", "false").env("HOST", "0.0.0.0");
    launch.serve_to_end().refused("ENABLE_AUTHENTICATION");
    let exit = launch.command_line(&["config", "check"], "");
    assert_eq!(exit.code, Some(78), "{exit:?}");
    let exit = launch.env("ALLOW_INSECURE", "true").command_line(&["config", "check"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
}
