//! Microsoft: tenants that are let in, issuers that name their own, and tokens for Graph.

use serde_json::{Value, json};

use crate::support::provider::{Fault, Grant, Person, Provider, TENANT};
use crate::support::{Database, Forge, claims, slot};

const OTHER_TENANT: &str = "0b5a3c1e-6f0d-4c57-9d0a-3c1f4c0e7a12";

#[tokio::test]
async fn a_graph_token_signs_in_where_that_is_allowed() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", "true").start().await;
    let jane = Person::named("jane");
    let by_graph = app.with_access_token("microsoft", &provider.grants(Grant::graph(&jane))).await;
    let record = app.record_of(&by_graph).await;
    assert_eq!(record["metadata"]["issuer"], provider.microsoft(TENANT));
    // Graph calls no address verified.
    let by_graph = by_graph.account();
    assert_eq!(app.me(&by_graph.access).await.json()["email"], Value::Null);
    let by_id_token = app.with_id_token("microsoft", &provider.microsoft_id_token(&jane).token()).await;
    assert_eq!(by_id_token.account().id, by_graph.id);
}

#[tokio::test]
async fn a_token_of_microsoft_is_of_an_allowed_tenant_that_its_issuer_names() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
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
            ("wrong_tenant", good.clone().without("tid")),
            ("wrong_subject", good.clone().without("oid")),
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
async fn an_apps_own_token_is_nobodys_id_token() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let good = || provider.microsoft_id_token(&Person::without_email());
    for token in [good().claim("azpacr", "1"), good().claim("idtyp", "app"), good().claim("scp", "user_impersonation")]
    {
        app.with_id_token("microsoft", &token.token()).await.refused_token("wrong_token_type");
    }
    app.with_id_token("microsoft", &good().token()).await.expect(200);
}

#[tokio::test]
async fn a_graph_token_is_refused_with_what_to_send_instead() {
    let _slot = slot().await;
    let provider = Provider::start();
    let jane = Person::without_email();
    let graph = provider.grants(Grant::graph(&jane));
    let app = provider.app().await;
    let problem = app.with_access_token("microsoft", &graph).await.refused_token("graph_token");
    assert!(problem["detail"].as_str().unwrap().contains("id_token"), "{problem}");
    // Graph by its number, as other clients write it.
    let numbered = provider.microsoft_access_token(&jane).claim("aud", "00000003-0000-0000-c000-000000000000");
    app.with_access_token("microsoft", &numbered.token()).await.refused_token("graph_token");
    assert!(provider.requests().is_empty(), "{:?}", provider.requests());
    drop(app);
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", "true").start().await;
    let stranger = Grant::graph(&jane).info("value", json!([{"id": OTHER_TENANT}]));
    app.with_access_token("microsoft", &provider.grants(stranger)).await.refused_token("wrong_tenant");
    provider.breaks("/graph/", Fault::Status(401));
    app.with_access_token("microsoft", &graph).await.refused_token("rejected_by_provider");
}
