//! The endpoints that anyone may ask: health, probes, documentation, metrics, keys.

use serde_json::Value;

use crate::support::{Database, TestApp, on_both_databases, slot};

on_both_databases! {
    async fn the_health_check_names_the_database_and_the_version(app: TestApp) {
        let answer = app.get("/").send().await.expect(200);
        assert!(answer.header("content-type").unwrap().starts_with("application/json"));
        let health = answer.json();
        assert_eq!(health["status"], "ok");
        assert_eq!(health["database"], "ok");
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    }

    async fn the_probes_answer_200(app: TestApp) {
        app.get("/healthz").send().await.expect(200);
        app.get("/readyz").send().await.expect(200);
    }
}

async fn app() -> TestApp {
    Database::sqlite().app().start().await
}

#[tokio::test]
async fn the_key_set_is_empty_for_a_shared_secret() {
    let _slot = slot().await;
    let keys = app().await.get("/.well-known/jwks.json").send().await.expect(200).json();
    assert_eq!(keys["keys"], Value::Array(Vec::new()), "a shared secret is nobody else's");
}

#[tokio::test]
async fn the_documentation_page_is_html_that_works_offline() {
    let _slot = slot().await;
    let app = app().await;
    let mut page = app.get("/docs").send().await;
    if page.status / 100 == 3 {
        let location = page.header("location").unwrap().to_owned();
        assert!(location.starts_with("/docs"), "{location}");
        page = app.get(&location).send().await;
    }
    let page = page.expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let html = page.text();
    for attribute in ["src=\"http", "href=\"http", "src=\"//", "href=\"//"] {
        assert!(!html.contains(attribute), "fetches from elsewhere: {html}");
    }
    // What the page fetches is there, and the description it shows is ours.
    let mut scripts = 0;
    for part in html.split("src=\"").skip(1) {
        let path = part.split('"').next().unwrap();
        let path =
            if path.starts_with('/') { path.to_owned() } else { format!("/docs/{}", path.trim_start_matches("./")) };
        app.get(&path).send().await.expect(200);
        scripts += 1;
    }
    assert!(scripts > 0, "no script: {html}");
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_names_every_error_shape() {
    let _slot = slot().await;
    let answer = app().await.get("/openapi.json").send().await.expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    let api = answer.json();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
    assert!(answer.text().contains("application/problem+json"));
    assert!(answer.text().contains("securepassword123"), "the examples are not the description's");
    let schemes = api["components"]["securitySchemes"].as_object().expect("security schemes");
    assert!(schemes.values().any(|scheme| scheme["type"] == "http" && scheme["scheme"] == "bearer"), "{schemes:?}");
    for (path, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if !["get", "put", "post", "delete", "patch"].contains(&method.as_str()) {
                continue;
            }
            let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{method} {path}"));
            assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{method} {path}: {responses:?}");
            let is_open = operation.get("security").is_some_and(|security| security == &Value::Array(Vec::new()));
            let is_guarded = path.starts_with("/admin") || path.starts_with("/audit") || path.starts_with("/authz");
            if is_guarded {
                assert!(responses.contains_key("401"), "{method} {path} does not say 401");
                assert!(!is_open, "{method} {path} is described as open");
            }
        }
    }
    assert_no_dangling_references(&api, &api);
}

fn assert_no_dangling_references(api: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("outside: {reference}"));
                assert!(api.pointer(pointer).is_some(), "points nowhere: {reference}");
            }
            fields.values().for_each(|field| assert_no_dangling_references(api, field));
        }
        Value::Array(values) => values.iter().for_each(|value| assert_no_dangling_references(api, value)),
        _ => {}
    }
}

/// A counter that appears only with its first event has no rate that an alarm could be made of.
#[tokio::test]
async fn counters_are_there_before_what_they_count() {
    let _slot = slot().await;
    let metrics = app().await.get("/metrics").send().await.expect(200).text();
    for (name, label, values) in [
        ("logins_total", "result", &["success", "denied", "error"][..]),
        ("tokens_issued_total", "use", &["access", "refresh"]),
        ("tokens_refused_total", "reason", &["expired", "revoked", "invalid", "reused", "missing"]),
    ] {
        for value in values {
            let line = format!("portcullis_{name}{{{label}=\"{value}\"}} 0");
            assert!(metrics.lines().any(|found| found == line), "no {line}:\n{metrics}");
        }
    }
}

#[tokio::test]
async fn metrics_count_by_route_pattern_and_never_by_what_a_caller_makes_up() {
    let _slot = slot().await;
    let app = app().await;
    let john = app.user("johndoe").await;
    app.get(&format!("/admin/users/{}", john.id)).bearer(&app.admin().await.access).send().await.expect(200);
    app.get("/made-up-by-a-caller").bearer(&john.access).send().await.expect(404);
    app.call("BREW", "/auth/me").bearer(&john.access).send().await;
    app.try_login("johndoe", "not the password").await.expect(401);
    let answer = app.get("/metrics").send().await.expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    let metrics = answer.text();
    for made_up in [john.id.as_str(), "made-up-by-a-caller", "BREW", "johndoe"] {
        assert!(!metrics.contains(made_up), "a label holds {made_up}");
    }
    assert!(metrics.contains("/admin/users/{"), "no route pattern:\n{metrics}");
    for named in ["login", "token", "rbac", "audit", "lost", "pool", "process_"] {
        assert!(metrics.contains(named), "nothing about {named}:\n{metrics}");
    }
    let lost = metrics.lines().filter(|line| !line.starts_with('#') && line.contains("lost"));
    let lost: Vec<&str> = lost.collect();
    assert!(!lost.is_empty() && lost.iter().all(|line| line.ends_with(" 0")), "{lost:?}");
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "no sample: {line}");
    }
}
