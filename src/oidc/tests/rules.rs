//! Each provider's rules, a lie at a time.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::idp::*;
use crate::domain::{Provider, Refusal};
use crate::oidc::*;

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn google_claims(issuer: &str) -> Value {
    json!({
        "iss": issuer, "aud": "app", "azp": "app2", "sub": "1", "iat": NOW - 5, "exp": NOW + 3600,
        "email": "a@example.com", "email_verified": "true", "name": "A B",
    })
}

#[tokio::test]
async fn google_id_tokens() {
    let idp = Idp::start();
    let mut settings = idp.google();
    let issuer = idp.url("");
    let good = google_claims(&issuer);
    let providers = providers(settings.clone());
    let verified = providers.verify(id(Provider::Google, &RSA.sign(&good))).await.unwrap();
    assert_eq!(verified.identity.email.as_ref().unwrap().as_str(), "a@example.com");
    assert_eq!((verified.identity.issuer.as_str(), verified.identity.subject.as_str()), (issuer.as_str(), "1"));
    assert_eq!(verified.identity.username_hint.as_deref(), Some("a"));
    assert!(verified.once.is_some());
    assert_eq!(identity(&providers, id(Provider::Google, &EC.sign(&good))).await, verified.identity);
    let respelled = with(&good, json!({ "iss": issuer.strip_prefix("http://") }));
    assert_eq!(identity(&providers, id(Provider::Google, &RSA.sign(&respelled))).await, verified.identity);
    let unverified =
        identity(&providers, id(Provider::Google, &RSA.sign(&with(&good, json!({"email_verified": false}))))).await;
    assert_eq!(unverified.email, None);

    for (change, reason) in [
        (json!({"aud": "other"}), Refusal::WrongAudience),
        (json!({"aud": ["app", "other"]}), Refusal::WrongAudience),
        (json!({"aud": null}), Refusal::WrongAudience),
        (json!({"azp": "other"}), Refusal::WrongAuthorizedParty),
        (json!({"iss": "https://evil.example"}), Refusal::WrongIssuer),
        (json!({"iss": "evil.example"}), Refusal::WrongIssuer),
        (json!({"iss": null}), Refusal::WrongIssuer),
        (json!({"exp": NOW}), Refusal::Expired),
        (json!({"iat": NOW - 601}), Refusal::TooOld),
        (json!({"iat": NOW + 61}), Refusal::NotYetValid),
        (json!({"nbf": NOW + 61}), Refusal::NotYetValid),
        (json!({"nonce": "n"}), Refusal::NonceMissing),
        (json!({"sub": 5}), Refusal::Malformed),
        (json!({"scp": ["openid"]}), Refusal::WrongTokenType),
    ] {
        let token = RSA.sign(&with(&good, change.clone()));
        assert_eq!(refusal(&providers, id(Provider::Google, &token)).await, reason, "{change}");
    }
    let nonce = |claims: &Value, nonce: &str| Credential {
        token: ProviderToken::Id { token: RSA.sign(claims).into(), nonce: Some(nonce.into()) },
        ..id(Provider::Google, "")
    };
    let named = with(&good, json!({"nonce": "n"}));
    assert!(providers.verify(nonce(&named, "n")).await.is_ok());
    assert_eq!(refusal(&providers, nonce(&named, "m")).await, Refusal::NonceMismatch);
    assert_eq!(refusal(&providers, nonce(&good, "n")).await, Refusal::NonceMissing);

    settings.google.as_mut().unwrap().hosted_domain = Some("example.com".into());
    let hosted = super::idp::providers(settings);
    assert_eq!(refusal(&hosted, id(Provider::Google, &RSA.sign(&good))).await, Refusal::WrongHostedDomain);
    let in_domain = RSA.sign(&with(&good, json!({"hd": "example.com"})));
    assert!(hosted.verify(id(Provider::Google, &in_domain)).await.is_ok());
}

#[tokio::test]
async fn signatures() {
    let idp = Idp::start();
    let providers = providers(idp.google());
    let good = google_claims(&idp.url(""));
    let token = RSA.sign(&good);
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, claims) = signed.split_once('.').unwrap();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let by_public_key = {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(RSA.public()["n"].as_str().unwrap().as_bytes());
        jsonwebtoken::encode(&header, &good, &key).unwrap()
    };
    let other_signature = OTHER_RSA.sign_as(&good, "rsa", "JWT");
    let alias = with(&good, json!({ "iss": idp.url("").strip_prefix("http://") }));
    for (token, reason) in [
        (String::new(), Refusal::Malformed),
        ("a.b.c".into(), Refusal::Malformed),
        (format!("{token}.x"), Refusal::Malformed),
        (format!("{token}\n"), Refusal::Malformed),
        (format!("{}.{claims}.", part(json!({"alg": "none"}))), Refusal::UnsupportedAlgorithm),
        (format!("{}.{claims}.", part(json!(["none"]))), Refusal::Malformed),
        (by_public_key, Refusal::UnsupportedAlgorithm),
        (format!("{signed}."), Refusal::BadSignature),
        (other_signature, Refusal::BadSignature),
        (format!("{}.AAAA", EC.sign(&good).rsplit_once('.').unwrap().0), Refusal::BadSignature),
        (OTHER_RSA.sign(&good), Refusal::UnknownKey),
        (RSA.sign_as(&good, "ec", "JWT"), Refusal::WrongKeyType),
        (EC.sign_as(&good, "rsa", "JWT"), Refusal::WrongKeyType),
        (RSA.sign_as(&good, "rsa", "at+jwt"), Refusal::WrongTokenType),
        (OTHER_RSA.sign_as(&alias, "rsa", "JWT"), Refusal::BadSignature),
        (EC.sign_as(&alias, "rsa", "JWT"), Refusal::WrongKeyType),
        (RSA.sign(&with(&alias, json!({"aud": "other"}))), Refusal::WrongAudience),
    ] {
        assert_eq!(refusal(&providers, id(Provider::Google, &token)).await, reason, "{token}");
    }
}

#[tokio::test]
async fn google_access_tokens() {
    let idp = Idp::start();
    let providers = providers(idp.google());
    let info = json!({"aud": "app", "azp": "app", "sub": "1", "exp": (NOW + 9).to_string(), "expires_in": "9"});
    let account = json!({"sub": "1", "email": "a@example.com", "email_verified": true});
    idp.at("/userinfo", ok(&account));
    idp.at("/tokeninfo", ok(&info));
    let token = || access(Provider::Google, "ya29.secret");
    assert!(identity(&providers, token()).await.email.is_some());
    assert_eq!(idp.seen("/tokeninfo"), ["access_token=ya29.secret"]);
    for (change, reason) in [
        (json!({"aud": "other"}), Refusal::WrongAudience),
        (json!({"aud": null}), Refusal::WrongAudience),
        (json!({"azp": "other"}), Refusal::WrongAuthorizedParty),
        (json!({"exp": NOW.to_string()}), Refusal::Expired),
        (json!({"sub": null}), Refusal::WrongSubject),
        (json!({"sub": "2"}), Refusal::WrongSubject),
    ] {
        idp.at("/tokeninfo", ok(&with(&info, change.clone())));
        assert_eq!(refusal(&providers, token()).await, reason, "{change}");
    }
    idp.at("/tokeninfo", (400, "Content-Type: application/json", "{}".into()));
    assert_eq!(refusal(&providers, token()).await, Refusal::RejectedByProvider);
}

#[tokio::test]
async fn microsoft() {
    let idp = Idp::start();
    let issuer = idp.issuer(&format!("/{TENANT}/v2.0"));
    let microsoft = |tenants: Tenants, accepts_graph_tokens| OidcSettings {
        microsoft: Some(MicrosoftSettings {
            client_ids: vec!["app".into()],
            client_secret: None,
            tenants,
            authority: idp.url(""),
            accepts_graph_tokens,
            graph_url: idp.url("/graph"),
        }),
        ..OidcSettings::default()
    };
    let listed = || Tenants::Listed(vec![TENANT.parse().unwrap()]);
    let ours = providers(microsoft(listed(), false));
    let good = json!({
        "iss": issuer, "aud": "app", "sub": "pairwise", "oid": "o", "tid": TENANT, "ver": "2.0", "iat": NOW,
        "nbf": NOW, "exp": NOW + 3600, "email": "a@example.com",
    });
    let who = identity(&ours, id(Provider::Microsoft, &RSA.sign(&good))).await;
    assert_eq!((who.issuer.as_str(), who.subject.as_str(), who.email.is_some()), (issuer.as_str(), "o", false));
    let owned = RSA.sign(&with(&good, json!({"xms_edov": 1})));
    assert!(identity(&ours, id(Provider::Microsoft, &owned)).await.email.is_some());
    let api = with(&good, json!({"aud": "api://app", "azp": "app", "scp": "access"}));
    assert_eq!(identity(&ours, access(Provider::Microsoft, &RSA.sign(&api))).await.subject, "o");

    let other = "11111111-2222-3333-4444-555555555555";
    for (change, reason) in [
        (json!({"tid": other}), Refusal::WrongTenant),
        (json!({"tid": null}), Refusal::WrongTenant),
        (json!({"iss": idp.url(&format!("/{other}/v2.0"))}), Refusal::WrongIssuer),
        (json!({"aud": "api://app"}), Refusal::WrongAudience),
        (json!({"ver": "1.0"}), Refusal::WrongTokenVersion),
        (json!({"oid": null}), Refusal::WrongSubject),
        (json!({"scp": "access"}), Refusal::WrongTokenType),
    ] {
        let token = RSA.sign(&with(&good, change.clone()));
        assert_eq!(refusal(&ours, id(Provider::Microsoft, &token)).await, reason, "{change}");
    }
    for (token, reason) in [
        ("EwB4opaque".to_owned(), Refusal::GraphToken),
        (RSA.sign(&with(&api, json!({"aud": "https://graph.microsoft.com"}))), Refusal::GraphToken),
        (RSA.sign(&good), Refusal::WrongTokenType),
        (RSA.sign(&with(&api, json!({"azp": "other"}))), Refusal::WrongAuthorizedParty),
        (RSA.sign(&with(&api, json!({"aud": "api://other"}))), Refusal::WrongAudience),
    ] {
        assert_eq!(refusal(&ours, access(Provider::Microsoft, &token)).await, reason, "{token}");
    }
    let any = providers(microsoft(Tenants::Any, true));
    let unknown = RSA.sign(&with(&good, json!({"tid": other})));
    assert_eq!(refusal(&any, id(Provider::Microsoft, &unknown)).await, Refusal::WrongTenant);

    idp.at("/graph/v1.0/me", ok(&json!({"id": "o", "displayName": "A", "userPrincipalName": "a@example.com"})));
    idp.at("/graph/v1.0/organization", ok(&json!({"value": [{"id": TENANT}]})));
    let who = identity(&any, access(Provider::Microsoft, "EwB4opaque")).await;
    assert_eq!((who.issuer.as_str(), who.subject.as_str(), who.email), (issuer.as_str(), "o", None));
    idp.at("/graph/v1.0/organization", ok(&json!({"value": [{"id": other}]})));
    let strict = providers(microsoft(listed(), true));
    assert_eq!(refusal(&strict, access(Provider::Microsoft, "EwB4opaque")).await, Refusal::WrongTenant);
}

#[tokio::test]
async fn okta() {
    let idp = Idp::start();
    let okta = |auth_server| OidcSettings {
        okta: Some(OktaSettings {
            domains: vec!["dev-1.okta.com".into()],
            client_ids: vec!["app".into()],
            client_secret: Some("secret".into()),
            audience: "api://default".into(),
            auth_server,
            base_url: idp.url("/dev-1.okta.com"),
        }),
        ..OidcSettings::default()
    };
    let issuer = idp.issuer("/dev-1.okta.com/oauth2/default");
    let custom = providers(okta(AuthServer::Default));
    let good = json!({
        "ver": 1, "iss": issuer, "aud": "api://default", "sub": "a@example.com", "uid": "00u1", "cid": "app",
        "scp": ["openid"], "iat": NOW - 3000, "exp": NOW + 600,
    });
    idp.at("/userinfo", ok(&json!({"sub": "00u1", "email": "a@example.com", "email_verified": true})));
    let who = identity(&custom, access(Provider::Okta, &RSA.sign(&good))).await;
    assert_eq!((who.issuer.as_str(), who.subject.as_str(), who.email.is_some()), (issuer.as_str(), "00u1", true));
    for (change, reason) in [
        (json!({"cid": "other"}), Refusal::WrongClient),
        (json!({"cid": null}), Refusal::WrongClient),
        (json!({"uid": null}), Refusal::WrongTokenType),
        (json!({"aud": "app"}), Refusal::WrongAudience),
        (json!({"iss": idp.url("/dev-1.okta.com")}), Refusal::WrongIssuer),
        (json!({"exp": NOW}), Refusal::Expired),
    ] {
        let token = RSA.sign(&with(&good, change.clone()));
        assert_eq!(refusal(&custom, access(Provider::Okta, &token)).await, reason, "{change}");
    }
    idp.at("/userinfo", ok(&json!({"sub": "00u2"})));
    assert_eq!(refusal(&custom, access(Provider::Okta, &RSA.sign(&good))).await, Refusal::WrongSubject);
    idp.at("/userinfo", (403, "X: x", String::new()));
    assert_eq!(identity(&custom, access(Provider::Okta, &RSA.sign(&good))).await.email, None);
    let elsewhere = Credential { okta_domain: Some("evil.example".into()), ..access(Provider::Okta, "x") };
    assert!(matches!(custom.verify(elsewhere).await, Err(OidcError::OktaDomain(_))));

    idp.issuer("/dev-1.okta.com");
    let org = providers(okta(AuthServer::Org));
    let said = json!({"active": true, "token_type": "Bearer", "client_id": "app", "uid": "00u1", "exp": NOW + 9,
        "iss": idp.url("/dev-1.okta.com"), "scope": "openid email"});
    let ask = async |change: Value| {
        idp.at("/introspect", ok(&with(&said, change)));
        org.verify(access(Provider::Okta, "opaque")).await
    };
    assert_eq!(ask(json!({})).await.unwrap().identity.subject, "00u1");
    for (change, reason) in [
        (json!({"active": false}), Refusal::InactiveToken),
        (json!({"client_id": "other"}), Refusal::WrongClient),
        (json!({"iss": "https://evil.example"}), Refusal::WrongIssuer),
        (json!({"exp": NOW}), Refusal::Expired),
        (json!({"uid": null}), Refusal::WrongTokenType),
    ] {
        assert_eq!(ask(change.clone()).await, Err(OidcError::Refused(reason)), "{change}");
    }
}
