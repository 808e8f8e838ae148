//! The browser flow where somebody lies, refuses or is away: nobody is sent to a strange page, and the page is told.

use serde_json::json;

use crate::support::browser::{CHALLENGE, Flow, PROVIDERS, begin_with, bent};
use crate::support::provider::{Fault, KEYS, PAGE, Person, Provider, TENANT};
use crate::support::{Database, parameter, slot};

#[tokio::test]
async fn the_browsers_cookie_is_for_this_flow_alone() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let answer = begin_with(&app, "google", &[]).await.expect(302);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookie = answer.cookies().remove(0);
    assert!(cookie.http_only() == Some(true) && cookie.secure() == Some(true), "{cookie}");
    // A browser that comes from elsewhere brings a lax cookie along, and no strict one.
    assert_eq!(cookie.same_site(), Some(actix_web::cookie::SameSite::Lax), "{cookie}");
    // No subdomain can set one of this name (RFC 6265bis §4.1.3.2).
    assert!(cookie.name().starts_with("__Host-") && cookie.path() == Some("/"), "{cookie}");
    assert_eq!(cookie.domain(), None, "{cookie}");
    assert!(cookie.max_age().is_some_and(|age| (60..=900).contains(&age.whole_seconds())), "{cookie}");
    assert!(cookie.value().len() >= 22, "{cookie}");
}

#[tokio::test]
async fn a_browser_is_sent_on_only_to_pages_of_the_list() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.clone().start().await;
    for elsewhere in [
        "https://evil.example",
        "https://app.example",
        "https://app.example/",
        "https://app.example/signed-in/",
        "https://app.example/signed-in/more",
        "https://app.example/signed-in?x=y",
        "https://app.example/signed-in#x",
        "https://app.example/Signed-in",
        "https://app.example/x/../signed-in",
        "https://app.example:443/signed-in",
        "https://app.example:8443/signed-in",
        "http://app.example/signed-in",
        "https://user@app.example/signed-in",
        "https://app.example.evil.example/signed-in",
        "https://app.example@evil.example/signed-in",
        "//app.example/signed-in",
        "/signed-in",
        "javascript:alert(1)",
        "x",
        "https://app.example/signed-in\r\nx: y",
    ] {
        let answer = begin_with(&app, "google", &[("redirect_uri", elsewhere)]).await;
        assert_eq!(answer.header("location"), None, "{elsewhere}");
        answer.problem(422, "redirect_not_allowed");
    }
    begin_with(&app, "google", &[]).await.expect(302);
    drop(app);
    let app = launch.without("OAUTH_REDIRECT_ALLOWLIST").start().await;
    begin_with(&app, "google", &[]).await.problem(422, "redirect_not_allowed");
}

#[tokio::test]
async fn a_page_has_to_say_what_it_needs() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for name in ["redirect_uri", "code_challenge", "state"] {
        begin_with(&app, "google", &[(name, "")]).await.invalid(&[name]);
    }
    for challenge in ["short", &"x".repeat(200), &CHALLENGE.replace('-', "+"), &format!("{CHALLENGE}=")] {
        begin_with(&app, "google", &[("code_challenge", challenge)]).await.invalid(&["code_challenge"]);
    }
    begin_with(&app, "google", &[("code_challenge_method", "plain")]).await.problem_of(422);
    begin_with(&app, "google", &[("state", &"x".repeat(10_000))]).await.expect_one_of(&[414, 422]);
    begin_with(&app, "facebook", &[]).await.problem(422, "unknown_provider");
    begin_with(&app, "okta", &[("okta_domain", "evil.example")]).await.invalid(&["okta_domain"]);
    begin_with(&app, "okta", &[("okta_domain", "dev-123456.okta.com")]).await.expect(302);
    drop(app);
    let app = Database::sqlite().app().env("OAUTH_REDIRECT_ALLOWLIST", PAGE).start().await;
    begin_with(&app, "google", &[]).await.problem(422, "provider_not_configured");
}

#[tokio::test]
async fn what_the_provider_answers_is_its_own_and_nobody_elses() {
    let _slot = slot().await;
    let [provider, other] = [Provider::start(), Provider::start()];
    let app = provider.app().await;
    provider.signs_in(&Person::named("jane"));
    // Google names itself, and says so: without its name it is not Google.
    for issuer in [None, Some(other.google()), Some(format!("{}/", provider.google())), Some(String::new())] {
        let flow = Flow::begin(&app, "google").await;
        let callback = bent(&flow.at_provider(&provider).await, "iss", issuer.as_deref());
        let answer = flow.come_back(&app, &callback).await;
        flow.is_told(&answer, "invalid_provider_token");
        let record = app.record_of(&answer).await;
        assert_eq!(
            (&record["action"], &record["metadata"]["reason"]),
            (&json!("OAUTH_CALLBACK"), &json!("wrong_issuer"))
        );
        flow.come_back(&app, &callback).await.problem(400, "invalid_state");
    }
    // Okta need not, but what it says has to be so.
    let flow = Flow::begin(&app, "okta").await;
    let callback = bent(&flow.at_provider(&provider).await, "iss", Some(&other.google()));
    flow.is_told(&flow.come_back(&app, &callback).await, "invalid_provider_token");
    assert_eq!(
        provider.requests_to("/google/token")
            + provider.requests_to("/okta/dev-123456.okta.com/oauth2/default/v1/token"),
        0
    );
}

#[tokio::test]
async fn a_lie_in_the_browser_flow_ends_at_the_page_with_an_error() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    provider.signs_in(&Person::named("jane"));
    type Bend = fn(crate::support::Forge) -> crate::support::Forge;
    let lies: [(&str, Bend); 5] = [
        ("nonce_mismatch", |token| token.claim("nonce", "another")),
        ("nonce_missing", |token| token.without("nonce")),
        ("wrong_audience", |token| token.claim("aud", "another-app")),
        ("unknown_key", |token| token.key(&KEYS.forger)),
        ("bad_signature", |token| token.key(&KEYS.forger).kid(KEYS.first.kid)),
    ];
    for name in PROVIDERS {
        for (reason, bend) in lies {
            provider.bends(bend);
            let flow = Flow::begin(&app, name).await;
            let answer = flow.come_back(&app, &flow.at_provider(&provider).await).await;
            flow.is_told(&answer, "invalid_provider_token");
            assert_eq!(app.record_of(&answer).await["metadata"]["reason"], reason, "{name}");
        }
    }
    let users = app.database().scalar("SELECT count(*) FROM users").await;
    assert_eq!(users.as_deref(), Some("1"), "the administrator");
}

#[tokio::test]
async fn who_says_no_at_the_provider_is_sent_back_to_the_page() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for name in PROVIDERS {
        let flow = Flow::begin(&app, name).await;
        let callback = flow.at_provider(&provider).await;
        flow.is_told(&flow.come_back(&app, &callback).await, "access_denied");
        flow.come_back(&app, &callback).await.problem(400, "invalid_state");
    }
    // The provider's own trouble is told as that.
    let flow = Flow::begin(&app, "google").await;
    let callback = bent(&flow.at_provider(&provider).await, "error", Some("server_error"));
    flow.is_told(&flow.come_back(&app, &callback).await, "server_error");
    // What a stranger writes into a URL is not repeated to the page.
    let flow = Flow::begin(&app, "google").await;
    let callback = bent(&flow.at_provider(&provider).await, "error", Some("<script>"));
    let at_page = flow.come_back(&app, &callback).await.redirect();
    assert!(!at_page.as_str().contains("script"), "{at_page}");
}

#[tokio::test]
async fn who_only_looks_ahead_uses_nothing_up() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    provider.signs_in(&Person::named("jane"));
    let flow = Flow::begin(&app, "google").await;
    let callback = flow.at_provider(&provider).await;
    app.call("HEAD", &callback).header("cookie", &flow.cookie).send().await.expect(400);
    let at_page = flow.come_back(&app, &callback).await.redirect();
    flow.exchange(&app, &parameter(&at_page, "code").unwrap()).send().await.expect(200);
}

#[tokio::test]
async fn a_refused_account_is_told_at_the_page() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).env("OAUTH_AUTO_REGISTER", "false").start().await;
    provider.signs_in(&Person::named("jane"));
    let flow = Flow::begin(&app, "google").await;
    let at_page = flow.come_back(&app, &flow.at_provider(&provider).await).await.redirect();
    // At the callback, or when the code is changed.
    match parameter(&at_page, "code") {
        None => assert_eq!(parameter(&at_page, "error").as_deref(), Some("registration_disabled")),
        Some(code) => drop(flow.exchange(&app, &code).send().await.problem(403, "registration_disabled")),
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_before_and_after() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    provider.signs_in(&Person::named("jane"));
    provider.breaks("/google/", Fault::Status(500));
    begin_with(&app, "google", &[]).await.provider_away("google");
    provider.healed();
    let flow = Flow::begin(&app, "google").await;
    let callback = flow.at_provider(&provider).await;
    provider.breaks("/google/", Fault::Status(500));
    flow.is_told(&flow.come_back(&app, &callback).await, "provider_unavailable");
}

#[tokio::test]
async fn with_any_tenant_the_browser_goes_where_all_may_sign_in() {
    let _slot = slot().await;
    let provider = Provider::start();
    provider.signs_in(&Person::named("jane"));
    let two = format!("{TENANT}, 0b5a3c1e-6f0d-4c57-9d0a-3c1f4c0e7a12");
    for (tenants, place) in [("any", "common"), (two.as_str(), "organizations"), (TENANT, TENANT)] {
        let launch = Database::sqlite().app().signing_in_with(&provider);
        let app = launch.env("OAUTH_MICROSOFT_TENANTS", tenants).start().await;
        let flow = Flow::begin(&app, "microsoft").await;
        assert!(flow.to_provider.path().starts_with(&format!("/microsoft/{place}/")), "{}", flow.to_provider);
        let code = flow.code(&app, &provider).await;
        flow.exchange(&app, &code).send().await.expect(200);
    }
}
