//! What a provider that is away or wild does to a sign-in.

use serde_json::json;

use super::idp::*;
use crate::domain::{Provider, Refusal};
use crate::oidc::*;

async fn cause(providers: &Providers, credential: Credential) -> String {
    match providers.verify(credential).await.unwrap_err() {
        OidcError::Unavailable { provider: Provider::Google, cause } => cause,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_no_answer_is_unavailable() {
    let idp = Idp::start();
    let settings = idp.google();
    let token = RSA.sign(&json!({"iss": idp.url(""), "aud": "app", "sub": "1", "iat": NOW, "exp": NOW + 9}));
    let try_with = async |path: &str, answer: Answer, words: &str| {
        idp.issuer("");
        idp.at(path, answer);
        let cause = cause(&providers(settings.clone()), id(Provider::Google, &token)).await;
        assert!(cause.contains(words), "{cause}");
    };
    let json = "Content-Type: application/json";
    let place = "/.well-known/openid-configuration";
    try_with("/keys", (200, json, " ".repeat(2 << 20)), "more than").await;
    try_with("/keys", (302, "Location: http://127.0.0.1:1/", String::new()), "302").await;
    try_with("/keys", (500, json, "{}".into()), "500").await;
    try_with("/keys", (200, "Content-Type: text/html", "<html>".into()), "Content-Type").await;
    try_with("/keys", (200, json, "<html>".into()), "can't be read").await;
    try_with(place, (503, json, "{}".into()), "503").await;
    try_with(place, (200, "Content-Type: text/html", "<html>".into()), "Content-Type").await;
    let other = json!({
        "issuer": "https://evil.example", "authorization_endpoint": idp.url("/a"), "jwks_uri": idp.url("/keys"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    try_with(place, ok(&other), "issuer").await;
    let mut outside = other.clone();
    outside["issuer"] = idp.url("").into();
    outside["jwks_uri"] = "http://evil.example/keys".into();
    try_with(place, ok(&outside), "no https URL").await;

    idp.issuer("");
    idp.at("/tokeninfo", (200, "Content-Type: text/html", "<html>".into()));
    assert!(cause(&providers(settings.clone()), access(Provider::Google, "t")).await.contains("can't be read"));
}

#[tokio::test]
async fn a_new_key_is_fetched_once_and_an_unknown_one_seldom() {
    let idp = Idp::start();
    let providers = providers(idp.google());
    let claims = json!({"iss": idp.url(""), "aud": "app", "sub": "1", "iat": NOW, "exp": NOW + 9});
    assert!(providers.verify(id(Provider::Google, &RSA.sign(&claims))).await.is_ok());
    idp.keys(&[&RSA, &OTHER_RSA]);
    for key in [&OTHER_RSA, &RSA] {
        assert!(providers.verify(id(Provider::Google, &key.sign(&claims))).await.is_ok());
    }
    for attempt in 0..5 {
        let token = RSA.sign_as(&claims, &format!("unknown {attempt}"), "JWT");
        assert_eq!(refusal(&providers, id(Provider::Google, &token)).await, Refusal::UnknownKey);
    }
    assert_eq!(idp.seen("/keys").len(), 2);
    assert_eq!(idp.seen("/.well-known/openid-configuration").len(), 1);
}

#[tokio::test]
async fn many_at_once_fetch_the_documents_once() {
    let idp = Idp::start();
    let providers = providers(idp.google());
    let claims = json!({"iss": idp.url(""), "aud": "app", "sub": "1", "iat": NOW, "exp": NOW + 9});
    let token = RSA.sign(&claims);
    let all = futures_util::future::join_all((0..50).map(|_| providers.verify(id(Provider::Google, &token)))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(idp.seen("/keys").len(), 1);
}
