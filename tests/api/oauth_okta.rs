//! Okta: domains that are ours and strings that only look like them, and its two kinds of servers.

use serde_json::json;

use crate::support::provider::{Fault, Grant, OKTA_DOMAIN, Person, Provider};
use crate::support::{Database, slot};

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

#[tokio::test]
async fn an_access_token_of_okta_is_of_our_client_and_of_one_subject() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let good = || provider.okta_access_token(&Person::without_email());
    app.with_access_token("okta", &good().claim("cid", "another-app").token()).await.refused_token("wrong_client");
    app.with_access_token("okta", &good().without("cid").token()).await.refused_token("wrong_client");
    app.with_access_token("okta", &good().without("uid").token()).await.refused_token("wrong_token_type");
    let jane = Person::named("jane");
    let token = provider.okta_access_token(&jane).token();
    provider.tells_of(&jane.subject, json!({"sub": "somebody-else", "email": "a@b.example", "email_verified": true}));
    app.with_access_token("okta", &token).await.refused_token("wrong_subject");
}

#[tokio::test]
async fn a_token_that_okta_has_revoked_signs_nobody_in_though_its_signature_holds() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let jane = Person::named("jane");
    let token = || provider.okta_access_token(&jane).token();
    app.with_access_token("okta", &token()).await.expect(200);
    let userinfo = format!("/okta/{OKTA_DOMAIN}/oauth2/default/v1/userinfo");
    assert!(provider.requests_to(&userinfo) > 0, "{:?}", provider.requests());
    provider.breaks(&userinfo, Fault::Status(401));
    app.with_access_token("okta", &token()).await.refused_token("rejected_by_provider");
    provider.healed();
    // What is good, but not for this, says less.
    provider.breaks(&userinfo, Fault::Status(403));
    app.with_access_token("okta", &token()).await.expect(200);
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
        ("wrong_token_type", good().without("token_type")),
        ("wrong_token_type", good().info("token_type", "N_A")),
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
    let app = provider.app().await;
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
