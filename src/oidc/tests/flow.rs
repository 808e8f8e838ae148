//! The browser flow's two ends.

use serde_json::{Value, json};

use super::idp::*;
use crate::domain::{Provider, ProviderIdentity, Refusal};
use crate::oidc::*;

#[tokio::test]
async fn a_browser_is_sent_with_everything_and_comes_back() {
    let idp = Idp::start();
    let providers = providers(idp.google());
    let request = AuthorizationRequest {
        provider: Provider::Google,
        okta_domain: None,
        state: "s t".into(),
        nonce: "n".into(),
        pkce_challenge: "c".into(),
    };
    let url = reqwest::Url::parse(&providers.authorization_url(request).await.unwrap()).unwrap();
    let sent: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    for (name, value) in [
        ("x", "y"),
        ("response_type", "code"),
        ("client_id", "app"),
        ("state", "s t"),
        ("nonce", "n"),
        ("code_challenge", "c"),
        ("code_challenge_method", "S256"),
        ("scope", "openid email profile"),
        ("redirect_uri", "https://auth.example/auth/oauth/google/callback"),
    ] {
        assert_eq!(sent.get(name).map(String::as_str), Some(value), "{name}");
    }

    let issuer = idp.url("");
    let redeem = async |claims: Value, iss: Option<&str>| -> Result<ProviderIdentity, OidcError> {
        let token = json!({"access_token": "at", "token_type": "Bearer", "id_token": RSA.sign(&claims)});
        idp.at("/token", ok(&token));
        let response = AuthorizationResponse {
            provider: Provider::Google,
            okta_domain: None,
            code: "c".into(),
            pkce_verifier: "v".into(),
            nonce: "n".into(),
            iss: iss.map(str::to_owned),
        };
        providers.redeem(response).await
    };
    idp.at("/userinfo", ok(&json!({"sub": "1", "email": "a@example.com", "email_verified": true})));
    let thin = json!({"iss": issuer, "aud": "app", "sub": "1", "iat": NOW, "exp": NOW + 9, "nonce": "n"});
    let who = redeem(thin.clone(), Some(&issuer)).await.unwrap();
    assert_eq!(who.email.unwrap().as_str(), "a@example.com");
    let form = idp.seen("/token").pop().unwrap();
    assert!(form.contains("code_verifier=v") && form.contains("grant_type=authorization_code"), "{form}");
    let refused = |refusal| Err(OidcError::Refused(refusal));
    assert_eq!(redeem(with(&thin, json!({"nonce": "m"})), None).await, refused(Refusal::NonceMismatch));
    assert_eq!(redeem(with(&thin, json!({"nonce": null})), None).await, refused(Refusal::NonceMissing));
    let before = idp.seen("/token").len();
    assert_eq!(redeem(thin.clone(), Some("https://evil.example")).await, refused(Refusal::WrongIssuer));
    assert_eq!(idp.seen("/token").len(), before, "no code goes to a provider that did not answer");
    idp.at("/userinfo", ok(&json!({"sub": "2", "email": "b@example.com", "email_verified": true})));
    assert_eq!(redeem(thin, None).await, refused(Refusal::WrongSubject));
}
