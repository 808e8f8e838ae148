//! `/auth/identities`: a user's linked provider accounts, linked and taken by nobody but their owner.

use serde_json::{Value, json};

use crate::support::provider::{Person, Provider, TENANT};
use crate::support::{
    Account, Answer, Database, NOBODY, TestApp, assert_millisecond_time, assert_uuid_v7, claims, names, now,
    on_both_databases,
};

async fn link(app: &TestApp, who: &Account, provider: &str, id_token: &str) -> Answer {
    app.tell(who, "POST", "/auth/identities", &json!({"provider": provider, "id_token": id_token})).await
}

async fn unlink(app: &TestApp, who: &Account, identity: &Value) -> Answer {
    app.ask(who, "DELETE", &format!("/auth/identities/{}", identity["id"].as_str().unwrap())).await
}

/// A user of a provider, who has no password.
async fn by_google(app: &TestApp, provider: &Provider, person: &Person) -> Account {
    app.with_id_token("google", &provider.google_id_token(person).token()).await.account()
}

on_both_databases! {
    async fn a_user_links_accounts_and_signs_in_by_each(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let john = app.user("johndoe").await;
        assert!(app.identities(&john).await.is_empty());
        let person = Person::named("john");
        let answer = link(&app, &john, "microsoft", &provider.microsoft_id_token(&person).token()).await.expect(201);
        let record = app.record_of(&answer).await;
        assert_eq!((&record["action"], &record["user_id"]), (&json!("LINK_IDENTITY"), &json!(john.id)));
        let metadata = [&record["metadata"]["provider"], &record["metadata"]["subject"]];
        assert_eq!(metadata, [&json!("microsoft"), &json!(person.subject)]);
        let identity = answer.json();
        assert_uuid_v7(&identity["id"]);
        assert_millisecond_time(&identity["linked_at"]);
        assert_eq!(identity["provider"], "microsoft");
        assert_eq!(identity["issuer"], provider.microsoft(TENANT));
        assert_eq!(identity["subject"], person.subject);
        let body = json!({"provider": "google", "access_token": provider.google_access_token(&person)});
        app.tell(&john, "POST", "/auth/identities", &body).await.expect(201);

        let listed = app.identities(&john).await;
        let mut providers = names(&listed, "provider");
        providers.sort();
        assert_eq!(providers, ["google", "microsoft"]);
        assert!(listed.iter().any(|found| found["id"] == identity["id"]), "{listed:?}");
        let by_microsoft = app.with_access_token("microsoft", &provider.microsoft_access_token(&person).token()).await;
        assert_eq!(by_microsoft.account().id, john.id);
        assert_eq!(by_google(&app, &provider, &person).await.id, john.id);
        // His address and name stay his.
        let me = app.me(&john.access).await.json();
        assert_eq!((&me["email"], &me["username"]), (&json!("johndoe@example.com"), &json!("johndoe")));
    }

    async fn an_unlinked_account_leads_nowhere(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).env("OAUTH_AUTO_REGISTER", "false").start().await;
        let john = app.user("johndoe").await;
        let person = Person::named("john");
        let identity = link(&app, &john, "google", &provider.google_id_token(&person).token()).await.expect(201).json();
        by_google(&app, &provider, &person).await;
        let answer = unlink(&app, &john, &identity).await.expect(204);
        assert_eq!(app.record_of(&answer).await["action"], "UNLINK_IDENTITY");
        assert!(app.identities(&john).await.is_empty());
        unlink(&app, &john, &identity).await.problem_of(404);
        let token = provider.google_id_token(&person).token();
        app.with_id_token("google", &token).await.problem(403, "registration_disabled");
        // Free to be linked again, by whoever it belongs to.
        link(&app, &john, "google", &provider.google_id_token(&person).token()).await.expect(201);
    }

    async fn who_unlinks_ends_the_sessions_that_it_may_have_begun(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let (john, person) = (app.user("johndoe").await, Person::named("mallory"));
        let identity = link(&app, &john, "google", &provider.google_id_token(&person).token()).await.expect(201).json();
        let mallory = by_google(&app, &provider, &person).await;
        app.me(&mallory.access).await.expect(200);
        unlink(&app, &john, &identity).await.expect(204);
        app.me(&mallory.access).await.problem(401, "token_revoked");
        app.me(&john.access).await.expect(200);
    }

    async fn a_user_has_twenty_at_most(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let john = app.user("johndoe").await;
        for _ in 0..20 {
            let token = provider.google_id_token(&Person::without_email()).token();
            link(&app, &john, "google", &token).await.expect(201);
        }
        let token = provider.google_id_token(&Person::without_email()).token();
        link(&app, &john, "google", &token).await.problem(409, "too_many_identities");
        assert_eq!(app.identities(&john).await.len(), 20);
    }

    async fn the_last_way_in_stays(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let person = Person::named("jane");
        let jane = by_google(&app, &provider, &person).await;
        let only = app.identities(&jane).await.remove(0);
        unlink(&app, &jane, &only).await.problem(409, "last_credential");
        let second = link(&app, &jane, "okta", &provider.okta_id_token(&person).token()).await.expect(201).json();
        // Both at once, of which one has to stay.
        let (a, b) = tokio::join!(unlink(&app, &jane, &only), unlink(&app, &jane, &second));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "{} {}", a.text(), b.text());
        let left = app.identities(&jane).await;
        assert_eq!(left.len(), 1);
        unlink(&app, &jane, &left[0]).await.problem(409, "last_credential");
        // With a password it is no longer the last.
        app.change_user(&jane.id, json!({"password": "new-kq7-Vw2.zR9"})).await;
        let jane = app.login(&jane.username, "new-kq7-Vw2.zR9").await;
        unlink(&app, &jane, &left[0]).await.expect(204);
    }

    async fn what_is_somebody_elses_is_neither_seen_nor_taken(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let person = Person::named("jane");
        let jane = by_google(&app, &provider, &person).await;
        let hers = app.identities(&jane).await.remove(0);
        let john = app.user("johndoe").await;
        unlink(&app, &john, &hers).await.problem_of(404);
        unlink(&app, app.admin().await, &hers).await.problem_of(404);
        for nobodys in [NOBODY, "no-uuid"] {
            unlink(&app, &john, &json!({"id": nobodys})).await.problem_of(404);
        }
        link(&app, &john, "google", &provider.google_id_token(&person).token()).await.problem(409, "identity_taken");
        assert!(app.identities(&john).await.is_empty());
        assert_eq!(app.identities(&jane).await.len(), 1);
        assert_eq!(by_google(&app, &provider, &person).await.id, jane.id);
    }

    async fn of_two_who_link_one_account_at_once_one_gets_it(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        let person = Person::named("someone");
        let [first, second] = [(); 2].map(|()| provider.google_id_token(&person).token());
        let (a, b) = tokio::join!(link(&app, &john, "google", &first), link(&app, &jane, "google", &second));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{} {}", a.text(), b.text());
    }

    async fn an_account_that_is_linked_already_is_not_linked_twice(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let person = Person::named("jane");
        let jane = by_google(&app, &provider, &person).await;
        link(&app, &jane, "google", &provider.google_id_token(&person).token()).await.expect_one_of(&[200, 201]);
        assert_eq!(app.identities(&jane).await.len(), 1);
    }

    async fn linking_believes_no_lie_that_signing_in_does_not(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let john = app.user("johndoe").await;
        let good = provider.google_id_token(&Person::named("john"));
        for (reason, lie) in [
            ("wrong_audience", good.clone().claim("aud", "another-app")),
            ("too_old", good.clone().claim("iat", now() - 660)),
            ("nonce_missing", good.clone().claim("nonce", "n-0S6_WzA2Mj")),
        ] {
            link(&app, &john, "google", &lie.token()).await.refused_token(reason);
        }
        link(&app, &john, "google", &good.token()).await.expect(201);
        // Once for all purposes.
        app.with_id_token("google", &good.token()).await.refused_token("replayed");
        assert_eq!(claims(&john.access)["sub"], john.id);
        app.me(&john.access).await.expect(200);
    }

    async fn identities_are_for_those_who_are_signed_in(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let body = json!({"provider": "google", "id_token": provider.google_id_token(&Person::named("john")).token()});
        app.post("/auth/identities").json(&body).send().await.problem(401, "not_authenticated");
        app.get("/auth/identities").send().await.problem(401, "not_authenticated");
        app.delete(&format!("/auth/identities/{NOBODY}")).send().await.problem(401, "not_authenticated");
        // Nobody has used the token.
        app.oauth_login(&body).await.expect(200);
    }
}
