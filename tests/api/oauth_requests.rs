//! What `POST /auth/oauth/login` may ask for: which providers, domains and clients there are, and which tokens.

use serde_json::{Value, json};

use crate::support::provider::{Grant, OKTA_DOMAIN, Person, Provider, TENANT};
use crate::support::{Database, now, slot};

#[tokio::test]
async fn a_token_that_is_nine_minutes_old_or_a_clock_ahead_is_accepted() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    for issued in [now() - 540, now() + 20] {
        let token = provider.google_id_token(&Person::without_email()).claim("iat", issued);
        app.with_id_token("google", &token.token()).await.expect(200);
    }
}

#[tokio::test]
async fn a_nonce_that_both_sides_name_is_accepted() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    let person = Person::without_email();
    let tokens =
        [provider.google_id_token(&person), provider.microsoft_id_token(&person), provider.okta_id_token(&person)];
    for (name, token) in ["google", "microsoft", "okta"].into_iter().zip(tokens) {
        let token = token.claim("nonce", "n-0S6_WzA2Mj").token();
        let body = json!({"provider": name, "id_token": token, "nonce": "n-0S6_WzA2Mj"});
        app.oauth_login(&body).await.expect(200);
    }
}

#[tokio::test]
async fn a_request_names_a_provider_and_one_token() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    let token = || provider.google_id_token(&Person::without_email()).token();
    app.oauth_login(&json!({"id_token": token()})).await.invalid(&["provider"]);
    app.oauth_login(&json!({"provider": 1, "id_token": token()})).await.invalid(&["provider"]);
    app.oauth_login(&json!({"provider": "google"})).await.invalid(&["access_token"]);
    app.oauth_login(&json!({"provider": "google", "access_token": 1})).await.invalid(&["access_token"]);
    app.oauth_login(&json!({"provider": "google", "access_token": "x", "id_token": token()})).await.problem_of(422);
    for unknown in ["facebook", "Google", "google ", "../google", ""] {
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

#[tokio::test]
async fn every_client_id_of_a_list_is_accepted() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_GOOGLE_CLIENT_ID", "first-client, second-client").start().await;
    for client in ["first-client", "second-client"] {
        let jane = Person::without_email();
        let id_token = provider.google_id_token(&jane).claim("aud", client).claim("azp", client);
        let id = app.with_id_token("google", &id_token.token()).await.account().id;
        let access = provider.grants(Grant::google(&jane).info("aud", client).info("azp", client));
        assert_eq!(app.with_access_token("google", &access).await.account().id, id);
    }
}

#[tokio::test]
async fn a_graph_token_signs_in_where_that_is_allowed() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", "true").start().await;
    let jane = Person::named("jane");
    let by_graph = app.with_access_token("microsoft", &provider.grants(Grant::graph(&jane))).await;
    let record = app.record_of(&by_graph).await;
    assert_eq!(record["metadata"]["issuer"], provider.microsoft(TENANT));
    // Graph calls no address verified.
    let by_graph = by_graph.account();
    assert_eq!(app.me(&by_graph.access).await.json()["email"], Value::Null);
    let by_id_token = app.with_id_token("microsoft", &provider.microsoft_id_token(&jane).token()).await;
    assert_eq!(by_id_token.account().id, by_graph.id);
}

#[tokio::test]
async fn an_org_server_is_asked_about_its_tokens() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_OKTA_AUTH_SERVER", "org").start().await;
    let jane = Person::named("jane");
    let issuer = provider.okta_org(OKTA_DOMAIN);
    let token = provider.grants(Grant::okta_org(&jane, &issuer));
    let answer = app.with_access_token("okta", &token).await;
    assert_eq!(app.record_of(&answer).await["metadata"]["issuer"], issuer);
    let by_access = answer.account();
    assert_eq!(app.me(&by_access.access).await.json()["email"], json!(jane.email));
    let id_token = provider.okta_id_token(&jane).claim("iss", issuer);
    assert_eq!(app.with_id_token("okta", &id_token.token()).await.account().id, by_access.id);
}

#[tokio::test]
async fn an_okta_domain_is_the_only_one_or_named() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.clone().start().await;
    let token = |domain: &str| {
        let token = provider.okta_id_token(&Person::without_email()).claim("iss", provider.okta(domain));
        token.token()
    };
    app.with_id_token("okta", &token(OKTA_DOMAIN)).await.expect(200);
    drop(app);
    let two = format!("{OKTA_DOMAIN}, login.corp.example");
    let app = launch.env("OAUTH_OKTA_DOMAIN", &two).start().await;
    app.with_id_token("okta", &token(OKTA_DOMAIN)).await.invalid(&["okta_domain"]);
    for domain in [OKTA_DOMAIN, "login.corp.example"] {
        let body = json!({"provider": "okta", "id_token": token(domain), "okta_domain": domain});
        app.oauth_login(&body).await.expect(200);
    }
    // Of one domain, sent as another's.
    let body = json!({"provider": "okta", "id_token": token(OKTA_DOMAIN), "okta_domain": "login.corp.example"});
    app.oauth_login(&body).await.refused_token("wrong_issuer");
}
