//! Every known lie of a provider's token is refused, each for its own reason.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::provider::{Fault, Grant, KEYS, MICROSOFT_CLIENT, OKTA_DOMAIN, Person, Provider, TENANT};
use crate::support::{Database, Forge, TestApp, base64url, claims, now, slot};

const OTHER_TENANT: &str = "0b5a3c1e-6f0d-4c57-9d0a-3c1f4c0e7a12";

async fn app(provider: &Provider) -> TestApp {
    Database::sqlite().app().signing_in_with(provider).start().await
}

/// Good ID tokens of the three, each of somebody else.
fn id_tokens(provider: &Provider) -> [(&'static str, Forge); 3] {
    let person = Person::without_email;
    [
        ("google", provider.google_id_token(&person())),
        ("microsoft", provider.microsoft_id_token(&person())),
        ("okta", provider.okta_id_token(&person())),
    ]
}

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
        ("unknown_key", "the kid of a key of another type", good.clone().kid(KEYS.curve.kid).token()),
        ("unknown_key", "a key for encryption", good.clone().key(&KEYS.encryption).token()),
        ("bad_signature", "another's key under our kid", good.clone().key(&KEYS.forger).kid(first.kid).token()),
        ("bad_signature", "claims of another token", altered),
    ]
}

#[tokio::test]
async fn every_lie_of_a_signed_token_is_refused_for_its_own_reason() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = app(&provider).await;
    for (name, good) in id_tokens(&provider) {
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
    let app = app(&provider).await;
    for (name, good) in id_tokens(&provider) {
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
    let app = app(&provider).await;
    for (name, good) in id_tokens(&provider) {
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
    let app = app(&provider).await;
    let whole = provider.google_id_token(&Person::without_email()).token();
    for nonsense in ["x", "a.b", "a.b.c", "..", "eyJhbGciOiJSUzI1NiJ9.e30", &whole[1..], "a b.c d.e f", "☃"] {
        for name in ["google", "microsoft", "okta"] {
            app.with_id_token(name, nonsense).await.refused_token("malformed");
        }
        for name in ["microsoft", "okta"] {
            app.with_access_token(name, nonsense).await.refused_token("malformed");
        }
    }
    let huge = format!("{whole}{}", "A".repeat(20_000));
    app.with_id_token("google", &huge).await.expect_one_of(&[401, 413, 422]);
    // What no token of Google's looks like leads to no other request than the one for it.
    for nonsense in ["x\r\nHost: evil.example", "x&aud=other", "x#y", "☃"] {
        let answer = app.with_access_token("google", nonsense).await;
        assert!([401, 422].contains(&answer.status), "{nonsense:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_access_token_of_google_is_for_our_app_and_of_one_subject() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = app(&provider).await;
    let jane = Person::without_email();
    let good = || Grant::google(&jane);
    for (reason, grant) in [
        ("wrong_audience", good().info("aud", "another-app")),
        ("wrong_audience", good().without("aud")),
        ("wrong_authorized_party", good().info("azp", "another-app")),
        ("wrong_subject", good().userinfo("sub", "somebody-else")),
        ("wrong_subject", good().info("sub", "somebody-else")),
    ] {
        let token = provider.grants(grant.clone());
        let answer = app.with_access_token("google", &token).await;
        assert_eq!(answer.json()["reason"], reason, "{grant:?}: {}", answer.text());
        answer.refused_token(reason);
    }
    app.with_access_token("google", "ya29.nobodys").await.refused_token("rejected_by_provider");
    app.with_access_token("google", &provider.grants(good())).await.expect(200);
}

#[tokio::test]
async fn a_hosted_domain_is_asked_of_both_kinds_of_token() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_GOOGLE_HOSTED_DOMAIN", "corp.example").start().await;
    let jane = Person::named("jane");
    for domain in [None, Some("other.example"), Some("sub.corp.example"), Some("")] {
        let stranger = Person { hosted_domain: domain.map(str::to_owned), ..Person::named("june") };
        let id_token = provider.google_id_token(&stranger).token();
        app.with_id_token("google", &id_token).await.refused_token("wrong_hosted_domain");
        let access = provider.google_access_token(&stranger);
        app.with_access_token("google", &access).await.refused_token("wrong_hosted_domain");
    }
    app.with_id_token("google", &provider.google_id_token(&jane).token()).await.expect(200);
    app.with_access_token("google", &provider.google_access_token(&jane)).await.expect(200);
}

#[tokio::test]
async fn a_token_of_microsoft_is_of_an_allowed_tenant_that_its_issuer_names() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = app(&provider).await;
    let jane = Person::without_email();
    let [id, access] = [provider.microsoft_id_token(&jane), provider.microsoft_access_token(&jane)];
    let other_issuer = provider.microsoft(OTHER_TENANT);
    let v1 = format!("https://sts.windows.net/{TENANT}/");
    for (is_id, good) in [(true, id), (false, access)] {
        let send = async |token: &Forge| {
            let token = token.token();
            if is_id {
                app.with_id_token("microsoft", &token).await
            } else {
                app.with_access_token("microsoft", &token).await
            }
        };
        for (reason, lie) in [
            ("wrong_tenant", good.clone().claim("tid", OTHER_TENANT).claim("iss", other_issuer.as_str())),
            ("wrong_tenant", good.clone().claim("tid", OTHER_TENANT)),
            ("wrong_tenant", good.clone().claim("tid", "common").claim("iss", provider.microsoft("common"))),
            ("wrong_tenant", good.clone().claim("tid", format!("{TENANT}/../{OTHER_TENANT}"))),
            ("wrong_issuer", good.clone().claim("iss", other_issuer.as_str())),
            ("wrong_issuer", good.clone().claim("iss", provider.microsoft("{tenantid}"))),
            ("wrong_issuer", good.clone().claim("iss", v1.as_str()).claim("ver", "1.0")),
            ("malformed", good.clone().without("tid")),
            ("malformed", good.clone().without("oid")),
        ] {
            let answer = send(&lie).await;
            assert_eq!(answer.json()["reason"], reason, "{}: {}", claims(&lie.token()), answer.text());
            answer.refused_token(reason);
        }
        send(&good).await.expect(200);
    }
    let asked = provider.requests();
    assert!(asked.iter().all(|line| line.contains(TENANT) && !line.contains(OTHER_TENANT)), "{asked:?}");
}

#[tokio::test]
async fn any_tenant_is_any_uuid_and_no_path() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider).env("OAUTH_MICROSOFT_TENANTS", "any");
    let app = launch.start().await;
    app.has_logged("OAUTH_MICROSOFT_TENANTS").await;
    let good = || provider.microsoft_id_token(&Person::without_email());
    for tenant in
        ["common", "organizations", "../google", "corp.example", "", &format!("{TENANT}?x="), &format!("{{{TENANT}}}")]
    {
        let lie = good().claim("tid", tenant).claim("iss", provider.microsoft(tenant));
        app.with_id_token("microsoft", &lie.token()).await.refused_token("wrong_tenant");
    }
    assert!(provider.requests().is_empty(), "{:?}", provider.requests());
    for tenant in [TENANT, OTHER_TENANT] {
        let token = good().claim("tid", tenant).claim("iss", provider.microsoft(tenant));
        app.with_id_token("microsoft", &token.token()).await.expect(200);
    }
}

#[tokio::test]
async fn a_graph_token_is_refused_with_what_to_send_instead() {
    let _slot = slot().await;
    let provider = Provider::start();
    let jane = Person::without_email();
    let graph = provider.grants(Grant::graph(&jane));
    let app = app(&provider).await;
    let problem = app.with_access_token("microsoft", &graph).await.refused_token("graph_token");
    assert!(problem["detail"].as_str().unwrap().contains("id_token"), "{problem}");
    assert!(provider.requests().is_empty(), "{:?}", provider.requests());
    drop(app);
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", "true").start().await;
    let stranger = Grant::graph(&jane).info("value", json!([{"id": OTHER_TENANT}]));
    app.with_access_token("microsoft", &provider.grants(stranger)).await.refused_token("wrong_tenant");
    provider.breaks("/graph/", Fault::Status(401));
    app.with_access_token("microsoft", &graph).await.refused_token("rejected_by_provider");
}

/// It would get in as often as it is sent, though an ID token is good for once.
#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = app(&provider).await;
    for (name, good) in id_tokens(&provider) {
        let problem = app.with_access_token(name, &good.token()).await.problem(401, "invalid_provider_token");
        let expected = match name {
            "google" => "rejected_by_provider",
            "okta" => "wrong_audience",
            _ => "wrong_authorized_party",
        };
        assert_eq!(problem["reason"], expected, "{name}: {problem}");
    }
    let other_client = provider.microsoft_access_token(&Person::without_email()).claim("azp", "another-app");
    app.with_access_token("microsoft", &other_client.token()).await.refused_token("wrong_authorized_party");
    // Of an app that is ours, for an API that is not.
    let other_api = provider.microsoft_access_token(&Person::without_email()).claim("aud", "api://another");
    assert_eq!(claims(&other_api.token())["azp"], MICROSOFT_CLIENT);
    app.with_access_token("microsoft", &other_api.token()).await.refused_token("wrong_audience");
}

#[tokio::test]
async fn an_access_token_of_okta_is_of_our_client_and_of_one_subject() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = app(&provider).await;
    let good = || provider.okta_access_token(&Person::without_email());
    app.with_access_token("okta", &good().claim("cid", "another-app").token()).await.refused_token("wrong_client");
    app.with_access_token("okta", &good().without("cid").token()).await.refused_token("wrong_client");
    app.with_access_token("okta", &good().without("uid").token()).await.refused_token("malformed");
    let jane = Person::named("jane");
    let token = provider.okta_access_token(&jane).token();
    provider.tells_of(&jane.subject, json!({"sub": "somebody-else", "email": "a@b.example", "email_verified": true}));
    app.with_access_token("okta", &token).await.refused_token("wrong_subject");
}

#[tokio::test]
async fn what_an_org_server_says_of_its_token_decides() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider).env("OAUTH_OKTA_AUTH_SERVER", "org");
    let app = launch.start().await;
    let jane = Person::without_email();
    let good = || Grant::okta_org(&jane, &provider.okta_org(OKTA_DOMAIN));
    for (reason, grant) in [
        ("inactive_token", good().info("active", false)),
        ("wrong_client", good().info("client_id", "another-app")),
        ("wrong_client", good().without("client_id")),
        ("wrong_subject", good().userinfo("sub", "somebody-else")),
    ] {
        app.with_access_token("okta", &provider.grants(grant)).await.refused_token(reason);
    }
    app.with_access_token("okta", "nobodys").await.refused_token("inactive_token");
    // A token of the custom server says nothing to this one.
    let custom = provider.okta_access_token(&jane).token();
    app.with_access_token("okta", &custom).await.refused_token("inactive_token");
    app.with_access_token("okta", &provider.grants(good())).await.expect(200);
}

#[tokio::test]
async fn no_url_is_made_from_an_okta_domain_that_is_not_ours() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = app(&provider).await;
    let port = reqwest::Url::parse(&provider.google()).unwrap().port().unwrap();
    let lies = [
        "dev-123456.okta.com/path",
        "dev-123456.okta.com/",
        "dev-123456.okta.com:443",
        "user@dev-123456.okta.com",
        "user:pw@dev-123456.okta.com",
        "DEV-123456.okta.com",
        "dev-123456.okta.com.",
        "127.0.0.1",
        "[::1]",
        &format!("127.0.0.1:{port}"),
        "evil-dev-123456.okta.com",
        "dev-123456.okta.com.evil.example",
        "okta.com",
        "123456.okta.com",
        "https://dev-123456.okta.com",
        "dev-123456.okta.com#",
        "dev-123456.okta.com?x",
        "dev-123456.okta.com\\@evil.example",
        "dev-123456%2eokta.com",
        " dev-123456.okta.com",
        "dev-123456.okta.com\n",
        "dev-123456.okta.com,evil.example",
        "dev-123456。okta.com",
        "{okta_domain}",
        "..",
        "",
    ];
    let token = provider.okta_access_token(&Person::without_email()).token();
    for domain in lies {
        for kind in ["access_token", "id_token"] {
            let body = json!({"provider": "okta", kind: token, "okta_domain": domain});
            app.oauth_login(&body).await.invalid(&["okta_domain"]);
        }
    }
    let body = json!({"provider": "okta", "access_token": token, "okta_domain": ["dev-123456.okta.com"]});
    app.oauth_login(&body).await.invalid(&["okta_domain"]);
    assert!(provider.requests().is_empty(), "{:?}", provider.requests());
}
