//! What holds for every path: credentials first, then what is there, then how it may be asked.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Database, TestApp, on_both_databases, slot};

async fn app() -> TestApp {
    Database::sqlite().app().start().await
}

on_both_databases! {
    async fn an_unknown_path_is_401_to_strangers_and_404_to_users(app: TestApp) {
        let john = app.user("johndoe").await;
        for method in ["GET", "POST", "DELETE", "PROPFIND", "HEAD"] {
            for path in ["/nowhere", "/auth", "/auth/nowhere", "/admin", "/api/projects", "/auth/login/", "//auth/me"] {
                let stranger = app.call(method, path).send().await;
                assert_eq!(stranger.status, 401, "{method} {path}: {}", stranger.text());
                let user = app.call(method, path).bearer(&john.access).send().await;
                assert_eq!(user.status, 404, "{method} {path}: {}", user.text());
                if method != "HEAD" {
                    stranger.problem(401, "not_authenticated");
                    user.problem_of(404);
                }
            }
        }
        let record = app.record_of(&app.post("/api/projects").bearer(&john.access).send().await).await;
        assert_eq!(record["action"], "UNKNOWN_ROUTE");
        assert_eq!(record["user_id"], john.id.as_str());
    }
}

#[tokio::test]
async fn a_guarded_path_asks_for_credentials_before_anything_else() {
    let _slot = slot().await;
    let app = app().await;
    // Neither a wrong method nor a wrong body tells a stranger what is there.
    for method in ["PUT", "DELETE", "PROPFIND"] {
        app.call(method, "/auth/me").send().await.problem(401, "not_authenticated");
    }
    app.patch("/auth/me").body("text/plain", "x").send().await.problem(401, "not_authenticated");
    app.post("/auth/password").body("application/json", "{").send().await.problem(401, "not_authenticated");
    app.get("/admin/users?limit=x").send().await.problem(401, "not_authenticated");
    app.get("/admin/users/not-a-uuid").send().await.problem(401, "not_authenticated");
    let challenge = app.get("/auth/me").send().await;
    assert!(
        !challenge.header("www-authenticate").unwrap().contains("error="),
        "no token was sent (RFC 6750 section 3)"
    );
    assert_eq!(challenge.json()["detail"], "Not authenticated");
}

#[tokio::test]
async fn a_question_about_the_server_as_a_whole_asks_for_credentials_too() {
    let _slot = slot().await;
    let app = app().await;
    let answer = app.raw("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await;
    answer.problem(401, "not_authenticated");
    let record = app.record_of(&answer).await;
    assert_eq!((&record["action"], &record["outcome"]), (&"UNKNOWN_ROUTE".into(), &"denied".into()), "{record}");
}

#[tokio::test]
async fn a_request_that_is_no_http_gets_a_bare_400_or_nothing_and_no_record() {
    let _slot = slot().await;
    let app = app().await;
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET /auth me HTTP/1.1\r\n\r\n",
        b"\r\n\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        long_head.as_bytes(),
    ] {
        let answer = app.raw_bytes_within(bytes, Duration::from_secs(1)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let records = app.audit("").await;
    // The administrator's own login is all.
    assert_eq!(records.len(), 1, "{records:?}");
    app.get("/healthz").send().await.expect(200);
}

#[tokio::test]
async fn a_body_that_stalls_is_408() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("REQUEST_TIMEOUT_SECONDS", "1").start().await;
    let head = "POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\nX-Request-Id: stalled-1\r\n\r\n{\"username\":";
    let start = Instant::now();
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", app.port())).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    let stalled: Vec<_> =
        app.audit("").await.into_iter().filter(|record| record["request_id"] == "stalled-1").collect();
    assert_eq!(stalled.len(), 1);
    assert_eq!(stalled[0]["action"], "LOGIN");
    assert_eq!(stalled[0]["response_status"], 408);
    assert_eq!(stalled[0]["outcome"], "failure");
}

#[tokio::test]
async fn a_body_over_64_kib_is_413_and_read_no_further() {
    let _slot = slot().await;
    let app = app().await;
    let body = format!("{{\"username\": \"johndoe\", \"password\": \"{}\"}}", "x".repeat(70_000));
    let answer = app.raw_post("/auth/login", "Content-Type: application/json\r\n", body.as_bytes()).await;
    answer.problem_of(413);
    let record = app.record_of(&answer).await;
    assert_eq!(record["action"], "LOGIN");
    assert_eq!(record["response_status"], 413);
    // Announced: refused without waiting for the rest, which never comes.
    let announced = "POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
                     Content-Length: 10000000\r\n\r\n{\"username\": \"johndoe\"";
    app.raw(announced).await.problem_of(413);
    // Not announced: refused when it has grown too long.
    let mut chunked =
        b"POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
                        Transfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..5 {
        chunked.extend_from_slice(b"4000\r\n");
        chunked.extend_from_slice(&[b' '; 0x4000]);
        chunked.extend_from_slice(b"\r\n");
    }
    app.raw(&chunked).await.problem_of(413);
    // What is below is read to its end.
    let spaces = format!("{}{{\"username\": \"nobody\", \"password\": \"nothing at all\"}}", " ".repeat(64_000));
    app.raw_post("/auth/login", "Content-Type: application/json\r\n", spaces.as_bytes())
        .await
        .problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_body_without_or_with_a_wrong_content_type_is_415() {
    let _slot = slot().await;
    let app = app().await;
    let body = br#"{"username": "johndoe", "password": "securepassword123"}"#;
    app.register("johndoe").await;
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/xml\r\n",
        "Content-Type: nonsense\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
    ] {
        let answer = app.raw_post("/auth/login", headers, body).await;
        assert_eq!(answer.status, 415, "{headers:?}: {}", answer.text());
        answer.problem_of(415);
        assert_eq!(app.record_of(&answer).await["response_status"], 415);
    }
    for good in ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"] {
        app.post("/auth/login").body(good, body.to_vec()).send().await.expect(200);
    }
    // Only the login takes forms.
    let form = app.post("/auth/refresh").form(&[("refresh_token", "x")]);
    form.send().await.problem_of(415);
}
