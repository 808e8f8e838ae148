//! The identity provider of the tests, on its own: were it wrong, every lie would be refused for the wrong reason.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use crate::support::provider::{Fault, Grant, Person, Provider};
use crate::support::provider::{GOOGLE_CLIENT, KEYS, MICROSOFT_CLIENT, OKTA_CLIENT, OKTA_DOMAIN, TENANT};
use crate::support::{Forge, parameter};

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
async fn its_codes_are_for_the_client_and_the_verifier_that_began() {
    let provider = Provider::start();
    let jane = Person::named("jane");
    let [verifier, state] = ["v", "s"].map(|letter| letter.repeat(43));
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let challenge = crate::support::base64url(challenge.as_ref());
    let begin = format!(
        "{}/authorize?client_id={GOOGLE_CLIENT}&response_type=code&scope=openid&state={state}&nonce={state}\
         &code_challenge_method=S256&code_challenge={challenge}&redirect_uri=https://auth.example.com/callback",
        provider.google()
    );
    let denied: reqwest::Url = provider.visit(&begin).await.parse().unwrap();
    assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
    provider.signs_in(&jane);
    for (sent, status) in [("another verifier", 400), (verifier.as_str(), 200)] {
        let back: reqwest::Url = provider.visit(&begin).await.parse().unwrap();
        assert_eq!(parameter(&back, "iss"), Some(provider.google()));
        let code = parameter(&back, "code").unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("code_verifier", sent),
            ("redirect_uri", "https://auth.example.com/callback"),
            ("client_id", GOOGLE_CLIENT),
            ("client_secret", crate::support::provider::CLIENT_SECRET),
        ];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = || client.post(format!("{}/token", provider.google())).form(&form).send();
        let answer = ask().await.unwrap();
        assert_eq!(answer.status(), status, "{sent}");
        assert_eq!(ask().await.unwrap().status(), 400, "a code works once");
        if status == 200 {
            let tokens: Value = answer.json().await.unwrap();
            let claims = crate::support::claims(tokens["id_token"].as_str().unwrap());
            assert_eq!(
                (&claims["nonce"], &claims["sub"]),
                (&Value::from(state.as_str()), &jane.subject.clone().into())
            );
        }
    }
}
