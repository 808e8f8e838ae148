//! What `POST /auth/oauth/login` may ask for: which providers, domains and clients there are, and which tokens.

use serde_json::json;

use crate::support::provider::{OKTA_DOMAIN, Person, Provider};
use crate::support::{Database, now, slot};

#[tokio::test]
async fn a_token_that_is_nine_minutes_old_or_a_clock_ahead_is_accepted() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for issued in [now() - 540, now() + 20] {
        let token = provider.google_id_token(&Person::without_email()).claim("iat", issued);
        app.with_id_token("google", &token.token()).await.expect(200);
    }
}

#[tokio::test]
async fn a_nonce_that_both_sides_name_is_accepted() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for (name, token) in provider.id_tokens(&Person::without_email()) {
        let token = token.claim("nonce", "n-0S6_WzA2Mj").token();
        let body = json!({"provider": name, "id_token": token, "nonce": "n-0S6_WzA2Mj"});
        app.oauth_login(&body).await.expect(200);
    }
}

#[tokio::test]
async fn a_request_names_a_provider_and_one_token() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let token = || provider.google_id_token(&Person::without_email()).token();
    app.oauth_login(&json!({"id_token": token()})).await.invalid(&["provider"]);
    app.oauth_login(&json!({"provider": 1, "id_token": token()})).await.invalid(&["provider"]);
    app.oauth_login(&json!({"provider": "google"})).await.invalid(&["access_token"]);
    app.oauth_login(&json!({"provider": "google", "access_token": 1})).await.invalid(&["access_token"]);
    app.oauth_login(&json!({"provider": "google", "access_token": "x", "id_token": token()})).await.problem_of(422);
    for unknown in ["facebook", "Google", "google ", "../google"] {
        let answer = app.oauth_login(&json!({"provider": unknown, "id_token": token()})).await;
        answer.problem(422, "unknown_provider");
    }
    assert!(provider.requests().is_empty(), "{:?}", provider.requests());
}

#[tokio::test]
async fn a_provider_that_is_not_set_is_named_with_its_variable() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("OAUTH_OKTA_DOMAIN", OKTA_DOMAIN).start().await;
    app.has_logged("OAUTH_OKTA_CLIENT_ID").await;
    for (name, variable) in [
        ("google", "OAUTH_GOOGLE_CLIENT_ID"),
        ("microsoft", "OAUTH_MICROSOFT_CLIENT_ID"),
        // Any app of that company would get in otherwise.
        ("okta", "OAUTH_OKTA_CLIENT_ID"),
    ] {
        let problem = app.with_access_token(name, "token").await.problem(422, "provider_not_configured");
        assert!(problem["detail"].as_str().unwrap().contains(variable), "{problem}");
    }
}
