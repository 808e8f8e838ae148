//! Pages of other origins: what a browser asks before, and what it lets a page read after.

use serde_json::json;

use crate::support::{Answer, Database, TestApp, slot};

const PAGE: &str = "https://app.example";

/// The preflight as Chromium sends it before a `fetch` with a JSON body.
async fn preflight(app: &TestApp, path: &str, origin: &str, method: &str, headers: &str) -> Answer {
    app.call("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-dest", "empty")
        .send()
        .await
}

/// The values of a list header, in lower case.
fn list(answer: &Answer, name: &str) -> Vec<String> {
    let values = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    values.flat_map(|value| value.split(',')).map(|value| value.trim().to_lowercase()).collect()
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_signs_in() {
    let _slot = slot().await;
    let allowed = "https://app.example, http://localhost:3000";
    let app = Database::sqlite().app().env("CORS_ALLOWED_ORIGINS", allowed).start().await;
    app.register("johndoe").await;
    for origin in [PAGE, "http://localhost:3000"] {
        let asked = preflight(&app, "/auth/login", origin, "POST", "content-type").await.expect_one_of(&[200, 204]);
        assert_eq!(asked.header("access-control-allow-origin"), Some(origin));
        assert!(list(&asked, "access-control-allow-methods").contains(&"post".to_owned()), "{:?}", asked.headers);
        assert!(
            list(&asked, "access-control-allow-headers").contains(&"content-type".to_owned()),
            "{:?}",
            asked.headers
        );
        assert!(list(&asked, "vary").contains(&"origin".to_owned()), "{:?}", asked.headers);
        let body = json!({"username": "johndoe", "password": "securepassword123"});
        let login = app.post("/auth/login").header("origin", origin).json(&body).send().await.expect(200);
        assert_eq!(login.header("access-control-allow-origin"), Some(origin));
        let exposed = list(&login, "access-control-expose-headers");
        for name in ["x-request-id", "retry-after"] {
            assert!(exposed.contains(&name.to_owned()), "{exposed:?}");
        }
    }
    // A guarded path is asked about without credentials.
    for (path, method) in
        [("/auth/me", "PATCH"), ("/auth/me", "GET"), ("/auth/sessions", "DELETE"), ("/admin/users", "GET")]
    {
        let asked = preflight(&app, path, PAGE, method, "authorization,content-type,x-request-id").await;
        let asked = asked.expect_one_of(&[200, 204]);
        assert_eq!(asked.header("access-control-allow-origin"), Some(PAGE), "{method} {path}");
        assert!(list(&asked, "access-control-allow-methods").contains(&method.to_lowercase()), "{:?}", asked.headers);
        assert!(
            list(&asked, "access-control-allow-headers").contains(&"authorization".to_owned()),
            "{:?}",
            asked.headers
        );
    }
    // A refusal can be read by the page too.
    let refused = app.get("/auth/me").header("origin", PAGE).send().await;
    refused.problem(401, "not_authenticated");
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    let refused = app.post("/auth/login").header("origin", PAGE).json(&json!({})).send().await;
    refused.problem_of(422);
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    // Preflights are nobody's actions.
    let records = app.audit("limit=1000").await;
    assert!(records.iter().all(|record| record["request_method"] != "OPTIONS"), "{records:?}");
}

#[tokio::test]
async fn a_page_of_another_origin_is_let_in_nowhere() {
    let _slot = slot().await;
    let database = Database::sqlite();
    let app = database.app().env("CORS_ALLOWED_ORIGINS", PAGE).start().await;
    app.register("johndoe").await;
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:8443",
        "null",
        "https://APP.example.org",
    ] {
        let asked = preflight(&app, "/auth/login", origin, "POST", "content-type").await;
        assert_eq!(asked.header("access-control-allow-origin"), None, "{origin}");
        let body = json!({"username": "johndoe", "password": "securepassword123"});
        let login = app.post("/auth/login").header("origin", origin).json(&body).send().await;
        assert_eq!(login.header("access-control-allow-origin"), None, "{origin}");
    }
    drop(app);
    let app = database.app().start().await;
    for path in ["/auth/login", "/auth/me", "/"] {
        let asked = preflight(&app, path, PAGE, "POST", "content-type").await;
        assert_eq!(asked.header("access-control-allow-origin"), None, "none is allowed by default");
        assert!(asked.status < 500, "{}", asked.text());
    }
}

/// Else whoever may see nothing would get a 200 from the gateway's question, and no record of it.
#[tokio::test]
async fn what_only_looks_like_a_preflight_is_decided_and_recorded() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("CORS_ALLOWED_ORIGINS", PAGE).start().await;
    let john = app.user("johndoe").await;
    for malformed in ["@ @", "", "(),"] {
        let verify = |check: &str| {
            let call = app.call("OPTIONS", &format!("/auth/verify?{check}")).header("origin", PAGE);
            call.header("access-control-request-method", malformed)
        };
        let passed = verify("permission=projects:read").bearer(&john.access).send().await.expect(200);
        let refused = verify("permission=projects:create").bearer(&john.access).send().await;
        refused.problem(403, "permission_required");
        let stranger = verify("permission=projects:read").send().await;
        stranger.problem(401, "not_authenticated");
        for (answer, who) in [(passed, "johndoe"), (refused, "johndoe"), (stranger, "")] {
            let record = app.record_of(&answer).await;
            let got = [&record["action"], &record["request_method"], &record["response_status"]];
            assert_eq!(got, [&json!("VERIFY"), &json!("OPTIONS"), &json!(answer.status)], "{malformed:?}: {record}");
            assert_eq!(record["username"].as_str().unwrap_or_default(), who, "{malformed:?}: {record}");
        }
        let login = app.call("OPTIONS", "/auth/login").header("origin", PAGE);
        let login = login.header("access-control-request-method", malformed).send().await;
        login.problem_of(405);
        assert_eq!(app.record_of(&login).await["action"], "LOGIN", "{malformed:?}");
    }
}

/// A gateway passes a client's preflight on as it is: an answer without a token would let it through.
#[tokio::test]
async fn a_gateways_question_is_never_a_preflight() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("CORS_ALLOWED_ORIGINS", PAGE).start().await;
    let john = app.user("johndoe").await;
    for path in ["/auth/verify", "/auth/verify?permission=projects:read", "/auth/verify/", "/auth/verify/anything"] {
        let stranger = preflight(&app, path, PAGE, "GET", "authorization").await;
        assert_eq!(stranger.status, 401, "{path}: {}", stranger.text());
        stranger.problem(401, "not_authenticated");
        let call = app.call("OPTIONS", path).bearer(&john.access).header("origin", PAGE);
        let user = call.header("access-control-request-method", "GET").send().await.expect(200);
        assert_eq!(user.header("x-username"), Some("johndoe"), "{path}");
    }
}

#[tokio::test]
async fn an_origin_that_is_none_stops_the_start() {
    let _slot = slot().await;
    for bad in ["app.example", "https://app.example/path", "nonsense"] {
        let exit = Database::sqlite().app().env("CORS_ALLOWED_ORIGINS", bad).serve_to_end();
        exit.refused("CORS_ALLOWED_ORIGINS");
    }
}
