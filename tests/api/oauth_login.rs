//! `POST /auth/oauth/login`: who a provider vouches for gets tokens, the same account each time, and a record.

use serde_json::{Value, json};

use crate::support::provider::{Person, Provider};
use crate::support::{Backend, Database, claims, has_token, names, on_both_databases};

/// The description's three requests, with a place for the token.
const GOOGLE: &str = r#"{
"provider": "google",
"access_token": "<google_access_token>"
}"#;
const MICROSOFT: &str = r#"{
"provider": "microsoft",
"access_token": "<microsoft_access_token>"
}"#;
const OKTA: &str = r#"{
"provider": "okta",
"access_token": "<okta_access_token>",
"okta_domain": "dev-123456.okta.com"
}"#;

fn access_tokens(provider: &Provider, person: &Person) -> [String; 3] {
    [
        provider.google_access_token(person),
        provider.microsoft_access_token(person).token(),
        provider.okta_access_token(person).token(),
    ]
}

on_both_databases! {
    async fn the_three_requests_of_the_description_sign_in_word_for_word(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let people = ["jane", "june", "joan"].map(Person::named);
        let places = ["<google_access_token>", "<microsoft_access_token>", "<okta_access_token>"];
        let requests = [GOOGLE, MICROSOFT, OKTA].into_iter().zip(places);
        for (index, (request, place)) in requests.enumerate() {
            let person = &people[index];
            let body = request.replace(place, &access_tokens(&provider, person)[index]);
            let answer = app.post("/auth/oauth/login").body("application/json", body).send().await.expect(200);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let tokens = answer.json();
            let mut fields: Vec<&String> = tokens.as_object().unwrap().keys().collect();
            fields.sort();
            assert_eq!(fields, ["access_token", "expires_in", "refresh_token", "token_type"]);
            assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("bearer"), &json!(1800)));
            let user = app.profile_of(answer).await;
            assert_eq!(user["email"], json!(person.email), "{request}");
            assert_eq!((&user["email_verified"], &user["is_superuser"]), (&json!(true), &json!(false)));
            assert_eq!((&user["full_name"], &user["roles"]), (&json!("Jane Doe"), &json!(["viewer"])));
            assert_eq!(user["username"], person.email.as_ref().unwrap().split('@').next().unwrap());
            app.refresh(tokens["refresh_token"].as_str().unwrap()).await.expect(200);
        }
    }

    async fn either_kind_of_token_leads_to_the_same_account(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let mut users = Vec::new();
        for index in 0..3 {
            let person = Person::named(["jane", "june", "joan"][index]);
            let mut ids = Vec::new();
            for _ in 0..2 {
                let (name, id_token) = provider.id_tokens(&person)[index].clone();
                ids.push(app.with_id_token(name, &id_token.token()).await.account().id);
                ids.push(app.with_access_token(name, &access_tokens(&provider, &person)[index]).await.account().id);
            }
            ids.dedup();
            assert_eq!(ids.len(), 1, "more than one account: {ids:?}");
            users.extend(ids);
        }
        users.sort();
        users.dedup();
        assert_eq!(users.len(), 3, "one account for several people");
    }

    async fn an_account_is_found_by_its_subject_whatever_else_has_changed(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let jane = Person::named("jane");
        let first = app.with_id_token("okta", &provider.okta_id_token(&jane).token()).await.account();
        let renamed = Person { subject: jane.subject.clone(), ..Person::named("jane.roe") };
        let again = app.with_access_token("okta", &provider.okta_access_token(&renamed).token()).await.account();
        assert_eq!(again.id, first.id);
        // And whoever has her old address now is somebody else.
        let successor = Person { subject: uuid::Uuid::now_v7().to_string(), ..jane };
        let answer = app.with_id_token("okta", &provider.okta_id_token(&successor).token()).await;
        if answer.status != 409 {
            assert_ne!(answer.account().id, first.id);
        }
    }

    async fn the_same_subject_of_two_providers_is_two_people(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let nobody = Person::without_email();
        let mut ids = Vec::new();
        for (name, token) in provider.id_tokens(&nobody) {
            ids.push(app.with_id_token(name, &token.token()).await.account().id);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }

    async fn googles_issuer_is_one_with_and_without_its_scheme(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let jane = Person::named("jane");
        let bare = provider.google().replace("http://", "");
        let bare = app.with_id_token("google", &provider.google_id_token(&jane).claim("iss", bare).token()).await;
        let record = app.record_of(&bare).await;
        assert_eq!(record["metadata"]["issuer"], provider.google());
        let whole = app.with_id_token("google", &provider.google_id_token(&jane).token()).await;
        assert_eq!(bare.account().id, whole.account().id);
    }

    async fn an_id_token_works_once_on_all_instances(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let other = match database.backend() {
            Backend::Sqlite => None,
            Backend::Postgresql => Some(database.another_app().signing_in_with(&provider).start().await),
        };
        for (name, token) in provider.id_tokens(&Person::without_email()) {
            let token = token.token();
            app.with_id_token(name, &token).await.expect(200);
            app.with_id_token(name, &token).await.refused_token("replayed");
            if let Some(other) = &other {
                other.with_id_token(name, &token).await.refused_token("replayed");
            }
        }
        // Of many who send it at once, one gets in.
        let token = provider.google_id_token(&Person::named("jane")).token();
        let answers = futures_util::future::join_all((0..10).map(|index| {
            let app = if index % 2 == 0 { &app } else { other.as_ref().unwrap_or(&app) };
            app.with_id_token("google", &token)
        }));
        let (let_in, refused): (Vec<_>, Vec<_>) = answers.await.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(let_in.len(), 1);
        refused.iter().for_each(|answer| drop(answer.refused_token("replayed")));
    }

    async fn an_id_token_stays_used_over_a_restart(database: Database) {
        let provider = Provider::start();
        let launch = database.app().signing_in_with(&provider);
        let token = provider.google_id_token(&Person::named("jane")).token();
        launch.clone().start().await.with_id_token("google", &token).await.expect(200);
        launch.start().await.with_id_token("google", &token).await.refused_token("replayed");
    }

    async fn a_sign_in_is_recorded_with_provider_issuer_and_subject_and_no_token(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let mut sent = access_tokens(&provider, &Person::without_email()).to_vec();
        let tokens = provider.id_tokens(&Person::without_email());
        for ((name, token), issuer) in tokens.into_iter().zip(provider.issuers()) {
            let token = token.token();
            let answer = app.with_id_token(name, &token).await;
            let record = app.record_of(&answer).await;
            let account = answer.account();
            let got = [&record["action"], &record["outcome"], &record["user_id"], &record["username"]];
            let expected = ["OAUTH_LOGIN", "success", &account.id, &account.username].map(Value::from);
            assert_eq!(got, expected.each_ref());
            let metadata = [&record["metadata"]["provider"], &record["metadata"]["issuer"]];
            assert_eq!(metadata, [&json!(name), &json!(issuer)]);
            // Microsoft's `sub` is another one for every app.
            let subject = if name == "microsoft" { "oid" } else { "sub" };
            assert_eq!(record["metadata"]["subject"], claims(&token)[subject], "{record}");
            assert!(!has_token(&record.to_string()), "{record}");
            sent.push(token);
        }
        for (index, name) in ["google", "microsoft", "okta"].into_iter().enumerate() {
            app.with_access_token(name, &sent[index]).await.expect(200);
        }
        let lie = provider.google_id_token(&Person::named("jane")).claim("aud", "other").token();
        let refused = app.with_id_token("google", &lie).await;
        refused.refused_token("wrong_audience");
        let record = app.record_of(&refused).await;
        assert_eq!((&record["action"], &record["outcome"]), (&json!("OAUTH_LOGIN"), &json!("denied")));
        let metadata = [&record["metadata"]["provider"], &record["metadata"]["reason"]];
        assert_eq!(metadata, [&json!("google"), &json!("wrong_audience")]);
        sent.push(lie);
        // Not in a record, not in the log; the journal is looked through when the app ends.
        let records = app.audit("limit=1000").await;
        let written = json!(records).to_string() + &app.log();
        for token in sent {
            assert!(!written.contains(&token), "a provider's token was written");
        }
        assert_eq!(names(&records, "action").iter().filter(|action| *action == "OAUTH_LOGIN").count(), 7);
    }

    async fn sign_ins_are_counted_by_provider_and_result(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        for name in ["google", "microsoft", "okta"] {
            assert_eq!(app.oauth_logins(name, "success").await, Some(0), "there before what it counts");
        }
        for (name, token) in provider.id_tokens(&Person::without_email()) {
            let token = token.token();
            app.with_id_token(name, &token).await.expect(200);
            app.with_id_token(name, &token).await.refused_token("replayed");
            assert_eq!(app.oauth_logins(name, "success").await, Some(1), "{name}");
            assert_eq!(app.oauth_logins(name, "replayed").await, Some(1), "{name}");
        }
        app.oauth_login(&json!({"provider": "made-up", "id_token": "x"})).await.problem(422, "unknown_provider");
        assert!(!app.get("/metrics").send().await.text().contains("made-up"), "a label that a caller makes up");
    }

    async fn a_session_by_a_provider_ends_like_any_other(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let token = provider.google_id_token(&Person::named("jane")).token();
        let jane = app.with_id_token("google", &token).await.account();
        assert_eq!(claims(&jane.refresh)["token_use"], "refresh");
        app.post("/auth/logout").bearer(&jane.access).send().await.expect(204);
        app.me(&jane.access).await.problem(401, "token_revoked");
        app.refresh(&jane.refresh).await.problem(401, "token_revoked");
    }
}
