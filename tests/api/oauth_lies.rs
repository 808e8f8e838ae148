//! Every known lie of a provider's token is refused, each for its own reason.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::provider::{KEYS, MICROSOFT_CLIENT, OKTA_CLIENT, Person, Provider};
use crate::support::{Forge, base64url, claims, now, slot};

/// Good access tokens that can be verified without asking.
fn jwt_access_tokens(provider: &Provider) -> [(&'static str, Forge); 2] {
    let person = Person::without_email;
    [("microsoft", provider.microsoft_access_token(&person())), ("okta", provider.okta_access_token(&person()))]
}

/// The lies that any signed token can tell.
fn lies(good: &Forge) -> Vec<(&'static str, &'static str, String)> {
    let now = now();
    let bent = |name: &str, value: serde_json::Value| good.clone().claim(name, value).token();
    let said = |name: &str| claims(&good.token())[name].as_str().unwrap().to_owned();
    let first = &KEYS.first;
    let with_header = |header: serde_json::Value| {
        let payload = claims(&good.token()).to_string();
        format!("{}.{}.", base64url(header.to_string().as_bytes()), base64url(payload.as_bytes()))
    };
    let hmac = |secret: &[u8]| good.clone().algorithm(Algorithm::HS256).signed_with(secret).token();
    let altered = {
        let (token, other) = (good.token(), bent("sub", json!("somebody-else")));
        let (signed, signature) = (other.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
        format!("{signed}.{signature}")
    };
    vec![
        ("wrong_audience", "another app's", bent("aud", json!("another-app"))),
        ("wrong_audience", "nobody's", good.clone().without("aud").token()),
        ("wrong_audience", "a list of others", bent("aud", json!(["another-app", "yet-another-app"]))),
        ("wrong_audience", "ours and another's", bent("aud", json!([said("aud"), "another-app"]))),
        ("wrong_issuer", "another provider's", bent("iss", json!("https://accounts.example"))),
        ("wrong_issuer", "a longer issuer", bent("iss", json!(format!("{}/", said("iss"))))),
        ("expired", "over", good.clone().claim("iat", now - 300).claim("exp", now - 120).token()),
        ("not_yet_valid", "nbf ahead", bent("nbf", json!(now + 600))),
        ("not_yet_valid", "iat ahead", good.clone().claim("iat", now + 600).claim("exp", now + 4_200).token()),
        ("unsupported_algorithm", "none", good.unsigned("none")),
        ("unsupported_algorithm", "none under a kid", with_header(json!({"alg": "none", "kid": first.kid}))),
        ("unsupported_algorithm", "nOnE", with_header(json!({"alg": "nOnE", "kid": first.kid}))),
        ("unsupported_algorithm", "the public key as a secret", hmac(first.public_pem.as_bytes())),
        ("unsupported_algorithm", "the same without its end", hmac(first.public_pem.trim_end().as_bytes())),
        ("unsupported_algorithm", "the same in DER", hmac(&first.public_der)),
        ("unknown_key", "a kid of no key", good.clone().kid("another").token()),
        ("unknown_key", "another's key", good.clone().key(&KEYS.forger).token()),
        ("wrong_key_type", "the kid of a key of another type", good.clone().kid(KEYS.curve.kid).token()),
        ("wrong_key_type", "a key for encryption", good.clone().key(&KEYS.encryption).token()),
        ("bad_signature", "another's key under our kid", good.clone().key(&KEYS.forger).kid(first.kid).token()),
        ("bad_signature", "claims of another token", altered),
    ]
}

#[tokio::test]
async fn every_lie_of_a_signed_token_is_refused_for_its_own_reason() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for (name, good) in provider.id_tokens(&Person::without_email()) {
        for (reason, what, token) in lies(&good) {
            let answer = app.with_id_token(name, &token).await;
            assert_eq!(answer.status, 401, "{name}: {what}: {}", answer.text());
            assert_eq!(answer.json()["reason"], reason, "{name}: {what}: {}", answer.text());
            answer.refused_token(reason);
        }
        // None of them has used it up, nor made anybody an account.
        app.with_id_token(name, &good.token()).await.expect(200);
    }
    for (name, good) in jwt_access_tokens(&provider) {
        for (reason, what, token) in lies(&good) {
            let answer = app.with_access_token(name, &token).await;
            assert_eq!(answer.json()["reason"], reason, "{name}: {what}: {}", answer.text());
            answer.refused_token(reason);
        }
        app.with_access_token(name, &good.token()).await.expect(200);
    }
    let users = app.database().scalar("SELECT count(*) FROM users").await;
    assert_eq!(users.as_deref(), Some("6"), "the administrator and those five");
}

#[tokio::test]
async fn an_id_token_is_for_one_app_and_ten_minutes() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for (name, good) in provider.id_tokens(&Person::without_email()) {
        for (reason, claim, value) in [
            ("too_old", "iat", json!(now() - 660)),
            ("wrong_authorized_party", "azp", json!("another-app")),
            ("wrong_authorized_party", "azp", json!("")),
        ] {
            let answer = app.with_id_token(name, &good.clone().claim(claim, value.clone()).token()).await;
            assert_eq!(answer.json()["reason"], reason, "{name}: {claim} {value}: {}", answer.text());
            answer.refused_token(reason);
        }
        for claim in ["iat", "exp", "sub"] {
            app.with_id_token(name, &good.clone().without(claim).token()).await.refused_token("malformed");
        }
    }
}

#[tokio::test]
async fn a_nonce_that_only_one_side_has_is_refused() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for (name, good) in provider.id_tokens(&Person::without_email()) {
        let bound = good.clone().claim("nonce", "n-0S6_WzA2Mj").token();
        app.with_id_token(name, &bound).await.refused_token("nonce_missing");
        for (token, nonce, reason) in [
            (&good.token(), "n-0S6_WzA2Mj", "nonce_missing"),
            (&bound, "another", "nonce_mismatch"),
            (&bound, "N-0s6_wZa2mJ", "nonce_mismatch"),
            (&bound, "n-0S6_WzA2Mj ", "nonce_mismatch"),
        ] {
            let body = json!({"provider": name, "id_token": token, "nonce": nonce});
            app.oauth_login(&body).await.refused_token(reason);
        }
        app.oauth_login(&json!({"provider": name, "id_token": bound, "nonce": "n-0S6_WzA2Mj"})).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_no_token_is_malformed() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let whole = provider.google_id_token(&Person::without_email()).token();
    for nonsense in ["x", "a.b", "a.b.c", "..", "eyJhbGciOiJSUzI1NiJ9.e30", &whole[1..], "a b.c d.e f", "☃"] {
        for name in ["google", "microsoft", "okta"] {
            app.with_id_token(name, nonsense).await.refused_token("malformed");
        }
        app.with_access_token("okta", nonsense).await.refused_token("malformed");
        // Graph has tokens that look like nothing.
        let problem = app.with_access_token("microsoft", nonsense).await.problem(401, "invalid_provider_token");
        assert!(["malformed", "graph_token"].iter().any(|reason| problem["reason"] == *reason), "{problem}");
    }
    let huge = format!("{whole}{}", "A".repeat(20_000));
    app.with_id_token("google", &huge).await.expect_one_of(&[401, 413, 422]);
    // What no token of Google's looks like leads to no other request than the one for it.
    for nonsense in ["x\r\nHost: evil.example", "x&aud=other", "x#y", "☃"] {
        let answer = app.with_access_token("google", nonsense).await;
        assert!([401, 422].contains(&answer.status), "{nonsense:?}: {}", answer.text());
    }
}

/// It would get in as often as it is sent, though an ID token is good for once.
#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for (name, good) in provider.id_tokens(&Person::without_email()) {
        let problem = app.with_access_token(name, &good.token()).await.problem(401, "invalid_provider_token");
        let expected = match name {
            "google" => "rejected_by_provider",
            "okta" => "wrong_audience",
            _ => "wrong_token_type",
        };
        assert_eq!(problem["reason"], expected, "{name}: {problem}");
    }
    for (name, token) in [
        ("microsoft", provider.microsoft_access_token(&Person::without_email())),
        ("okta", provider.okta_access_token(&Person::without_email()).claim("aud", OKTA_CLIENT)),
    ] {
        app.with_id_token(name, &token.token()).await.refused_token("wrong_token_type");
    }
    let other_client = provider.microsoft_access_token(&Person::without_email()).claim("azp", "another-app");
    app.with_access_token("microsoft", &other_client.token()).await.refused_token("wrong_authorized_party");
    // Of an app that is ours, for an API that is not.
    let other_api = provider.microsoft_access_token(&Person::without_email()).claim("aud", "api://another");
    assert_eq!(claims(&other_api.token())["azp"], MICROSOFT_CLIENT);
    app.with_access_token("microsoft", &other_api.token()).await.refused_token("wrong_audience");
}
