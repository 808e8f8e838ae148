//! The identity provider of the tests, on its own: were it wrong, every lie would be refused for the wrong reason.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::support::provider::{
    CLIENT_SECRET, GOOGLE_CLIENT, KEYS, MICROSOFT_CLIENT, OKTA_CLIENT, OKTA_DOMAIN, TENANT,
};
use crate::support::provider::{Fault, Grant, Person, Provider};
use crate::support::{Forge, base64url, claims, parameter};

async fn get(url: &str) -> reqwest::Response {
    reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap()
}

async fn json(url: &str) -> Value {
    serde_json::from_str(&get(url).await.text().await.unwrap()).unwrap()
}

/// Verifies as a client that knows the issuer and nothing else.
async fn verified(issuer: &str, audience: &str, token: &Forge) -> Option<Value> {
    let document = json(&format!("{issuer}/.well-known/openid-configuration")).await;
    assert_eq!(document["issuer"], issuer);
    let keys: JwkSet = serde_json::from_value(json(document["jwks_uri"].as_str().unwrap()).await).unwrap();
    let token = token.token();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    let key = DecodingKey::from_jwk(keys.find(&kid)?).unwrap();
    jsonwebtoken::decode::<Value>(&token, &key, &validation).ok().map(|verified| verified.claims)
}

#[tokio::test]
async fn its_tokens_verify_by_its_discovery_and_its_keys() {
    let provider = Provider::start();
    let jane = Person::named("jane");
    for _ in 0..2 {
        for (issuer, audience, token) in [
            (provider.google(), GOOGLE_CLIENT, provider.google_id_token(&jane)),
            (provider.microsoft(TENANT), MICROSOFT_CLIENT, provider.microsoft_id_token(&jane)),
            (provider.microsoft(TENANT), MICROSOFT_CLIENT, provider.microsoft_access_token(&jane)),
            (provider.okta(OKTA_DOMAIN), OKTA_CLIENT, provider.okta_id_token(&jane)),
            (provider.okta(OKTA_DOMAIN), "api://default", provider.okta_access_token(&jane)),
        ] {
            assert!(verified(&issuer, audience, &token).await.is_some(), "{issuer} {audience}");
            for lie in [
                token.clone().claim("aud", "other"),
                token.clone().claim("iss", "https://other.example"),
                token.clone().claim("exp", 1),
                token.clone().key(&KEYS.forger),
                token.clone().key(&KEYS.forger).kid(KEYS.first.kid),
            ] {
                assert_eq!(verified(&issuer, audience, &lie).await, None, "{issuer} {audience}");
            }
        }
        // The second time by the second generation.
        provider.rotates();
    }
    let common = json(&format!("{}/.well-known/openid-configuration", provider.microsoft("common"))).await;
    assert_eq!(common["issuer"], provider.microsoft("{tenantid}"));
}

#[tokio::test]
async fn it_tells_of_an_access_token_what_the_grant_says() {
    let provider = Provider::start();
    let jane = Person::named("jane");
    let token = provider.grants(Grant::google(&jane).info("aud", "other"));
    let info = json(&format!("{}/tokeninfo?access_token={token}", provider.google())).await;
    assert_eq!((&info["aud"], &info["sub"]), (&Value::from("other"), &Value::from(jane.subject.as_str())));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let okta = provider.okta_access_token(&jane).token();
    for (issuer, token) in [(provider.google(), &token), (format!("{}/v1", provider.okta(OKTA_DOMAIN)), &okta)] {
        let answer = client.get(format!("{issuer}/userinfo")).bearer_auth(token).send().await.unwrap();
        let userinfo: Value = answer.json().await.unwrap();
        assert_eq!(userinfo["sub"], jane.subject.as_str());
    }
    assert_eq!(get(&format!("{}/userinfo", provider.google())).await.status(), 401);
    assert_eq!(provider.requests_to("/google/userinfo"), 2);
}

#[tokio::test]
async fn it_breaks_where_it_is_told_to_and_nowhere_else() {
    let provider = Provider::start();
    let keys = format!("{}/keys", provider.google());
    for (fault, length) in [(Fault::Huge, 10_000_000..10_100_000), (Fault::Html, 1..1_000)] {
        provider.breaks("/google/keys", fault);
        assert!(length.contains(&get(&keys).await.text().await.unwrap().len()), "{length:?}");
        provider.healed();
    }
    for fault in [Fault::Hangs, Fault::Trickles, Fault::NeverEnds] {
        provider.breaks("/google/keys", fault.clone());
        let reading = async { get(&keys).await.text().await.unwrap() };
        let read = tokio::time::timeout(std::time::Duration::from_millis(500), reading).await;
        assert!(read.is_err(), "{fault:?}");
        json(&format!("{}/.well-known/openid-configuration", provider.google())).await;
        provider.healed();
    }
    provider.breaks("/google/keys", Fault::Status(500));
    assert_eq!(get(&keys).await.status(), 500);
    provider.healed();
    assert_eq!(json(&keys).await["keys"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn each_dialect_has_questions_of_its_own() {
    let provider = Provider::start();
    let jane = Person::named("jane");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let graph = provider.grants(Grant::graph(&jane));
    let graph_url = provider.google().replace("/google", "/graph/v1.0");
    for (what, pointer, value) in [("me", "/id", jane.subject.as_str()), ("organization", "/value/0/id", TENANT)] {
        let url = format!("{graph_url}/{what}");
        assert_eq!(get(&url).await.status(), 401);
        let answer: Value = client.get(url).bearer_auth(&graph).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer.pointer(pointer), Some(&Value::from(value)), "{answer}");
    }
    let issuer = provider.okta_org(OKTA_DOMAIN);
    let org = provider.grants(Grant::okta_org(&jane, &issuer));
    let document = json(&format!("{issuer}/.well-known/openid-configuration")).await;
    assert_eq!(document["issuer"], issuer);
    let introspect = document["introspection_endpoint"].as_str().unwrap();
    for (token, is_active) in [(org.as_str(), true), ("nobodys", false)] {
        let call = client.post(introspect).form(&[("token", token)]);
        assert_eq!(call.try_clone().unwrap().send().await.unwrap().status(), 401, "who asks?");
        let answer = call.basic_auth(OKTA_CLIENT, Some(CLIENT_SECRET)).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["active"], is_active);
    }
}

/// Where the browser goes, and the form that changes its code.
async fn flow(issuer: &str, client: &str, secret: &str) -> (String, String, Vec<(&'static str, String)>) {
    let document = json(&format!("{issuer}/.well-known/openid-configuration")).await;
    let endpoint = |name: &str| document[name].as_str().unwrap().to_owned();
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let challenge = base64url(challenge.as_ref());
    let begin = format!(
        "{}?client_id={client}&response_type=code&scope=openid&state={secret}&nonce={secret}&code_challenge_method=S256\
         &code_challenge={challenge}&redirect_uri=https://auth.example.com/callback",
        endpoint("authorization_endpoint")
    );
    let form = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", "https://auth.example.com/callback"),
        ("client_id", client),
        ("client_secret", CLIENT_SECRET),
    ];
    (begin, endpoint("token_endpoint"), form.map(|(name, value)| (name, value.to_owned())).to_vec())
}

#[tokio::test]
async fn its_codes_are_for_the_client_and_the_verifier_that_began() {
    let secret = "s".repeat(43);
    let jane = Person::named("jane");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let provider = Provider::start();
    for (issuer, at) in [
        (provider.google(), GOOGLE_CLIENT),
        (provider.microsoft(TENANT), MICROSOFT_CLIENT),
        (provider.microsoft("common"), MICROSOFT_CLIENT),
        (provider.okta(OKTA_DOMAIN), OKTA_CLIENT),
        (provider.okta_org(OKTA_DOMAIN), OKTA_CLIENT),
    ] {
        let (begin, token_url, form) = flow(&issuer, at, &secret).await;
        provider.signs_out();
        let denied: reqwest::Url = provider.visit(&begin).await.parse().unwrap();
        assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
        provider.signs_in(&jane);
        for (sent, status) in [("another verifier", 400), (secret.as_str(), 200)] {
            let back: reqwest::Url = provider.visit(&begin).await.parse().unwrap();
            let named = parameter(&back, "iss");
            assert_eq!(named, (at == GOOGLE_CLIENT).then(|| issuer.clone()), "{back}");
            let mut form = form.clone();
            form.extend([("code", parameter(&back, "code").unwrap()), ("code_verifier", sent.to_owned())]);
            let ask = || client.post(&token_url).form(&form).send();
            let answer = ask().await.unwrap();
            assert_eq!(answer.status(), status, "{issuer}: {sent}");
            assert_eq!(ask().await.unwrap().status(), 400, "a code works once");
            if status == 200 {
                let tokens: Value = answer.json().await.unwrap();
                let claims = claims(tokens["id_token"].as_str().unwrap());
                let expected = issuer.replace("/common/", &format!("/{TENANT}/"));
                assert_eq!((&claims["iss"], &claims["nonce"]), (&expected.into(), &secret.clone().into()));
            }
        }
    }
}
