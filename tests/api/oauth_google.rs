//! Google: access tokens that only it can tell about, its hosted domains, and a list of our apps.

use crate::support::provider::{Grant, Person, Provider};
use crate::support::{Database, slot};

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
async fn an_access_token_of_google_is_for_our_app_and_of_one_subject() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
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
