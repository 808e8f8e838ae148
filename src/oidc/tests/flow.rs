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

#[tokio::test]
async fn any_tenant_signs_in_at_the_common_place_and_is_verified_by_its_own() {
    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let idp = Idp::start();
    let issuer = idp.issuer(&format!("/{TENANT}/v2.0"));
    let template = |issuer: String| {
        let document = json!({
            "issuer": issuer, "authorization_endpoint": idp.url("/common/authorize"),
            "token_endpoint": idp.url("/token"), "jwks_uri": idp.url("/keys"),
            "response_types_supported": ["code"], "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        idp.at("/common/v2.0/.well-known/openid-configuration", ok(&document));
        let microsoft = MicrosoftSettings {
            client_ids: vec!["app".into()],
            client_secret: Some("secret".into()),
            tenants: Tenants::Any,
            authority: idp.url(""),
            accepts_graph_tokens: false,
            graph_url: idp.url("/graph"),
        };
        providers(OidcSettings {
            microsoft: Some(microsoft),
            public_url: "http://localhost:8080".into(),
            ..OidcSettings::default()
        })
    };
    let request = || AuthorizationRequest {
        provider: Provider::Microsoft,
        okta_domain: None,
        state: "s".into(),
        nonce: "n".into(),
        pkce_challenge: "c".into(),
    };
    let lying = template("https://evil.example/{tenantid}/v2.0".into());
    assert!(matches!(lying.authorization_url(request()).await, Err(OidcError::Unavailable { .. })));
    let providers = template(idp.url("/{tenantid}/v2.0"));
    let url = providers.authorization_url(request()).await.unwrap();
    assert!(url.starts_with(&idp.url("/common/authorize?")), "{url}");

    let claims = json!({"iss": issuer, "aud": "app", "sub": "s", "oid": "o", "tid": TENANT, "ver": "2.0", "iat": NOW,
        "exp": NOW + 9, "nonce": "n"});
    let token = json!({"access_token": "at", "token_type": "Bearer", "id_token": EC.sign(&claims)});
    idp.at("/token", ok(&token));
    let redeem = async |iss: Option<String>| {
        let response = AuthorizationResponse {
            provider: Provider::Microsoft,
            okta_domain: None,
            code: "c".into(),
            pkce_verifier: "v".into(),
            nonce: "n".into(),
            iss,
        };
        providers.redeem(response).await
    };
    let who = redeem(None).await.unwrap();
    assert_eq!((&who.issuer, who.subject.as_str()), (&issuer, "o"));
    assert!(redeem(Some(issuer.clone())).await.is_ok());
    for lie in [idp.url("/11111111-2222-3333-4444-555555555555/v2.0"), idp.url("/common/v2.0"), idp.url("")] {
        assert_eq!(redeem(Some(lie)).await, Err(OidcError::Refused(Refusal::WrongIssuer)));
    }
}

#[tokio::test]
async fn a_provider_that_is_off_names_its_variable() {
    let idp = Idp::start();
    let mut settings = idp.google();
    settings.google.as_mut().unwrap().client_secret = None;
    let providers = providers(settings);
    assert!(providers.is_configured(Provider::Google) && !providers.is_configured(Provider::Okta));
    let request = |provider| AuthorizationRequest {
        provider,
        okta_domain: None,
        state: "s".into(),
        nonce: "n".into(),
        pkce_challenge: "c".into(),
    };
    for (provider, variable) in [
        (Provider::Google, "OAUTH_GOOGLE_CLIENT_SECRET"),
        (Provider::Microsoft, "OAUTH_MICROSOFT_CLIENT_ID"),
        (Provider::Okta, "OAUTH_OKTA_DOMAIN"),
    ] {
        let refused = providers.authorization_url(request(provider)).await;
        assert_eq!(refused, Err(OidcError::NotConfigured { provider, variable }));
    }
}
