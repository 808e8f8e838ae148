//! A provider's keys: fetched once for all, again for a new one, and never as often as a stranger would like.

use std::time::{Duration, Instant};

use crate::support::provider::{KEYS, Person, Provider};
use crate::support::{eventually, slot};

/// What api.md gives the next look at a key set.
const REFETCH_AFTER: Duration = Duration::from_secs(10);

#[tokio::test]
async fn many_first_sign_ins_ask_for_the_keys_once() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    for _ in 0..2 {
        let tokens: Vec<String> = (0..20).map(|_| provider.google_id_token(&Person::without_email()).token()).collect();
        let answers = tokens.iter().map(|token| app.with_id_token("google", token));
        for answer in futures_util::future::join_all(answers).await {
            answer.expect(200);
        }
    }
    for path in ["/google/.well-known/openid-configuration", "/google/keys"] {
        assert_eq!(provider.requests_to(path), 1, "{path}");
    }
}

#[tokio::test]
async fn unknown_keys_make_the_service_ask_at_a_bounded_rate() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let began = Instant::now();
    for round in 0..3 {
        let lies: Vec<String> = (0..20)
            .map(|index| {
                let lie = provider.google_id_token(&Person::without_email()).key(&KEYS.forger);
                lie.kid(&format!("made-up-{round}-{index}")).token()
            })
            .collect();
        let answers = lies.iter().map(|token| app.with_id_token("google", token));
        for answer in futures_util::future::join_all(answers).await {
            answer.refused_token("unknown_key");
        }
    }
    // The first, one for an unknown key, and one for every ten seconds that a slow machine took.
    let most = 2 + began.elapsed().as_secs() / REFETCH_AFTER.as_secs();
    let asked = provider.requests_to("/google/keys");
    assert!((1..=usize::try_from(most).unwrap()).contains(&asked), "{asked} requests");
    // Who signs in with a known key does not wait for any of that.
    let token = provider.google_id_token(&Person::without_email()).token();
    app.with_id_token("google", &token).await.expect(200);
}

#[tokio::test]
async fn a_new_generation_of_keys_is_found_and_the_old_one_still_verifies() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = provider.app().await;
    let old = [(); 2].map(|()| provider.google_id_token(&Person::without_email()).token());
    app.with_id_token("google", &old[0]).await.expect(200);
    provider.rotates();
    eventually("the new key is known", REFETCH_AFTER + Duration::from_secs(3), || async {
        let token = provider.google_id_token(&Person::without_email()).token();
        let answer = app.with_id_token("google", &token).await;
        if answer.status != 200 {
            answer.refused_token("unknown_key");
        }
        answer.status == 200
    })
    .await;
    app.with_id_token("google", &old[1]).await.expect(200);
}
