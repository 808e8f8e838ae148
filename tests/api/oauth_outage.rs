//! A provider that is away, slow, broken or hostile: told by its name within six seconds, and nobody else's trouble.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::provider::{Fault, Grant, Person, Provider};
use crate::support::{Answer, Database, TestApp, eventually, slot};

/// Five seconds that a provider may take, and one for the rest.
const TOLD_WITHIN: Duration = Duration::from_secs(6);

async fn in_time(what: &str, answer: impl Future<Output = Answer>) -> Answer {
    let answer = tokio::time::timeout(TOLD_WITHIN, answer).await;
    answer.unwrap_or_else(|_| panic!("{what}: not within {TOLD_WITHIN:?}"))
}

async fn with_id_token(app: &TestApp, provider: &Provider) -> Answer {
    app.with_id_token("google", &provider.google_id_token(&Person::without_email()).token()).await
}

async fn with_access_token(app: &TestApp, provider: &Provider) -> Answer {
    app.with_access_token("google", &provider.google_access_token(&Person::without_email())).await
}

/// Both kinds of sign-in are refused by name while the rest goes on, and work once the provider is well again.
async fn is_told(fault: Fault) {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let john = app.user("johndoe").await;
    provider.breaks("/google/", fault);
    let others = async {
        let began = Instant::now();
        app.me(&john.access).await.expect(200);
        let token = provider.microsoft_id_token(&Person::without_email()).token();
        app.with_id_token("microsoft", &token).await.expect(200);
        assert!(began.elapsed() < Duration::from_secs(3), "others wait too: {:?}", began.elapsed());
    };
    let (id, access, ()) = tokio::join!(
        in_time("ID token", with_id_token(&app, &provider)),
        in_time("access token", with_access_token(&app, &provider)),
        others
    );
    for answer in [id, access] {
        answer.provider_away("google");
        assert!(answer.header("retry-after").is_some());
        let record = app.record_of(&answer).await;
        assert_eq!((&record["action"], &record["outcome"]), (&json!("OAUTH_LOGIN"), &json!("error")));
        assert_eq!(record["metadata"]["provider"], "google");
    }
    provider.healed();
    // What has failed is not held on to.
    eventually("sign-in works again", Duration::from_secs(15), || async {
        let (id, access) = tokio::join!(with_id_token(&app, &provider), with_access_token(&app, &provider));
        let [id, access] = [id, access].map(|answer| answer.expect_one_of(&[200, 503]).status);
        (id, access) == (200, 200)
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_hangs_is_away() {
    is_told(Fault::Hangs).await;
}

#[tokio::test]
async fn a_provider_that_trickles_is_away() {
    is_told(Fault::Trickles).await;
}

#[tokio::test]
async fn a_provider_that_fails_is_away() {
    is_told(Fault::Status(500)).await;
    is_told(Fault::Status(503)).await;
}

#[tokio::test]
async fn a_provider_that_answers_with_a_page_is_away() {
    is_told(Fault::Html).await;
}

#[tokio::test]
async fn a_provider_that_sends_ten_megabytes_is_away() {
    is_told(Fault::Huge).await;
}

#[tokio::test]
async fn a_provider_that_never_ends_is_away() {
    is_told(Fault::NeverEnds).await;
}

#[tokio::test]
async fn a_provider_that_breaks_off_is_away() {
    is_told(Fault::Breaks).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_into_the_house() {
    let inside = Provider::start();
    is_told(Fault::RedirectsTo(inside.google())).await;
    assert!(inside.requests().is_empty(), "{:?}", inside.requests());
}

#[tokio::test]
async fn each_single_endpoint_may_break() {
    let _slot = slot().await;
    let faults = || [Fault::Status(500), Fault::Html, Fault::Huge, Fault::NeverEnds];
    for path in ["/google/.well-known", "/google/keys", "/google/tokeninfo", "/google/userinfo"] {
        let provider = Provider::start();
        let app = provider.app().await;
        for fault in faults() {
            provider.breaks(path, fault.clone());
            let answer = if ["/google/.well-known", "/google/keys"].contains(&path) {
                in_time(path, with_id_token(&app, &provider)).await
            } else {
                in_time(path, with_access_token(&app, &provider)).await
            };
            assert_eq!(answer.status, 503, "{path} {fault:?}: {}", answer.text());
            answer.provider_away("google");
            provider.healed();
        }
    }
}

#[tokio::test]
async fn documents_that_say_something_else_are_none() {
    let _slot = slot().await;
    for path in ["/google/.well-known", "/google/keys"] {
        let provider = Provider::start();
        let app = provider.app().await;
        for document in [json!({"hello": "there"}), json!(["no", "object"]), json!({"keys": "none", "issuer": 1})] {
            provider.breaks(path, Fault::Says(document));
            in_time(path, with_id_token(&app, &provider)).await.provider_away("google");
            provider.healed();
        }
    }
}

#[tokio::test]
async fn each_provider_is_told_by_its_own_name() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.env("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", "true").start().await;
    let jane = Person::named("jane");
    for path in ["/microsoft/", "/graph/", "/okta/"] {
        provider.breaks(path, Fault::Status(502));
    }
    let token = provider.microsoft_id_token(&jane).token();
    app.with_id_token("microsoft", &token).await.provider_away("microsoft");
    app.with_access_token("microsoft", &provider.grants(Grant::graph(&jane))).await.provider_away("microsoft");
    app.with_access_token("okta", &provider.okta_access_token(&jane).token()).await.provider_away("okta");
    app.with_id_token("google", &provider.google_id_token(&jane).token()).await.expect(200);
    for (name, count) in [("google", None), ("microsoft", Some(2)), ("okta", Some(1))] {
        assert_eq!(app.oauth_logins(name, "provider_unavailable").await.filter(|count| *count > 0), count, "{name}");
    }
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_believed() {
    let _slot = slot().await;
    let [provider, other] = [Provider::start(), Provider::start()];
    let app = provider.app().await;
    let document = json!({
        "issuer": other.google(), "jwks_uri": format!("{}/keys", other.google()),
        "authorization_endpoint": format!("{}/authorize", other.google()),
        "token_endpoint": format!("{}/token", other.google()),
        "userinfo_endpoint": format!("{}/userinfo", other.google()),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    provider.breaks("/google/.well-known", Fault::Says(document));
    with_id_token(&app, &provider).await.provider_away("google");
    assert!(other.requests().is_empty(), "{:?}", other.requests());
}

/// Each waits for its turn at the provider no longer than for the provider itself.
#[tokio::test]
async fn many_who_wait_for_a_provider_are_nobodys_trouble() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let john = app.user("johndoe").await;
    app.me(&john.access).await.expect(200);
    provider.breaks("/google/", Fault::Hangs);
    let tokens: Vec<String> = (0..100).map(|_| provider.google_access_token(&Person::without_email())).collect();
    let waiting = futures_util::future::join_all(
        tokens.iter().map(|token| in_time("one of many", app.with_access_token("google", token))),
    );
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..40 {
            let began = Instant::now();
            app.me(&john.access).await.expect(200);
            slowest = slowest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let token = provider.okta_id_token(&Person::without_email()).token();
        app.with_id_token("okta", &token).await.expect(200);
        slowest
    };
    let (answers, slowest) = tokio::join!(waiting, others);
    answers.iter().for_each(|answer| answer.provider_away("google"));
    assert!(slowest < Duration::from_secs(1), "/auth/me took {slowest:?}");
}
