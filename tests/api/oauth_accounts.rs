//! Whose account a provider's account leads to: nobody else's, one however many come at once, none where none may be
//! made.

use serde_json::{Value, json};

use crate::support::provider::{Person, Provider};
use crate::support::{Backend, Database, TestApp, on_both_databases};

async fn google(app: &TestApp, provider: &Provider, person: &Person) -> crate::support::Answer {
    app.with_id_token("google", &provider.google_id_token(person).token()).await
}

/// How many users there are beside the administrator.
async fn users(app: &TestApp) -> String {
    app.database().scalar("SELECT count(*) FROM users WHERE username <> 'root_admin'").await.unwrap()
}

async fn verify_email(app: &TestApp, user: &str) {
    app.change_user(user, json!({"email_verified": true})).await;
}

on_both_databases! {
    async fn without_registration_only_those_who_have_an_account_get_in(database: Database) {
        let provider = Provider::start();
        let [jane, june] = ["jane", "june"].map(Person::named);
        let launch = database.app().signing_in_with(&provider);
        let first = google(&launch.clone().start().await, &provider, &jane).await.account();
        for closed in ["OAUTH_AUTO_REGISTER", "ENABLE_REGISTRATION"] {
            let app = launch.clone().env(closed, "false").start().await;
            let refused = google(&app, &provider, &june).await;
            refused.problem(403, "registration_disabled");
            let record = app.record_of(&refused).await;
            assert_eq!((&record["action"], &record["outcome"]), (&json!("OAUTH_LOGIN"), &json!("denied")));
            assert_eq!(users(&app).await, "1", "{closed}");
            assert_eq!(google(&app, &provider, &jane).await.account().id, first.id);
        }
        // What is said of sign-ins counts before what is said of registration.
        let app = launch.env("ENABLE_REGISTRATION", "false").env("OAUTH_AUTO_REGISTER", "true").start().await;
        google(&app, &provider, &june).await.expect(200);
        let registration = app.post("/auth/register").json(&TestApp::registration("johndoe")).send().await;
        registration.problem(403, "registration_disabled");
    }

    async fn only_an_address_that_the_provider_calls_verified_is_kept(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        for person in [Person::without_email(), Person::named("jane").unverified(), Person::with_email("no address")] {
            for (name, token) in provider.id_tokens(&person) {
                let user = app.profile_of(app.with_id_token(name, &token.token()).await).await;
                assert_eq!(user["email"], Value::Null, "{name} {person:?}");
                assert_eq!(user["email_verified"], false, "{name} {person:?}");
            }
            let access = provider.google_access_token(&Person { subject: format!("{}-2", person.subject), ..person });
            let user = app.profile_of(app.with_access_token("google", &access).await).await;
            assert_eq!(user["email"], Value::Null);
        }
        // What Microsoft does not vouch for by `xms_edov` may be anybody's.
        let [yes, no] = [vec![json!("1"), json!(1), json!("true")], vec![json!(false), json!("0"), json!(null)]];
        let values = yes.into_iter().map(|value| (value, true)).chain(no.into_iter().map(|value| (value, false)));
        for (value, is_kept) in values {
            let person = Person::named(&format!("june{}", uuid::Uuid::now_v7().simple()));
            let token = provider.microsoft_id_token(&person).claim("xms_edov", value.clone()).token();
            let user = app.profile_of(app.with_id_token("microsoft", &token).await).await;
            assert_eq!(user["email"] == json!(person.email), is_kept, "{value}: {user}");
        }
    }

    async fn the_address_of_a_local_account_leads_to_nobodys(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let john = app.user("johndoe").await;
        for email in ["johndoe@example.com", "JohnDoe@EXAMPLE.com"] {
            let refused = google(&app, &provider, &Person::with_email(email)).await;
            let problem = refused.problem(409, "account_exists");
            assert!(!problem.to_string().to_lowercase().contains("johndoe"), "{problem}");
            assert_eq!(app.record_of(&refused).await["user_id"], Value::Null);
        }
        // Verified here or not: without the owner's word nothing is linked.
        verify_email(&app, &john.id).await;
        google(&app, &provider, &Person::with_email("johndoe@example.com")).await.problem(409, "account_exists");
        assert_eq!((users(&app).await.as_str(), app.identities(&john).await.len()), ("1", 0));
        // Who only says so is somebody else.
        let claimed = google(&app, &provider, &Person::with_email("johndoe@example.com").unverified()).await.account();
        assert_ne!(claimed.id, john.id);
    }

    async fn an_address_links_accounts_where_that_is_set_and_both_sides_have_verified_it(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).env("OAUTH_LINK_BY_EMAIL", "true").start().await;
        let john = app.user("johndoe").await;
        let person = Person::with_email("johndoe@example.com");
        google(&app, &provider, &person).await.problem(409, "account_exists");
        verify_email(&app, &john.id).await;
        let claimed = google(&app, &provider, &Person::with_email("johndoe@example.com").unverified()).await.account();
        assert_ne!(claimed.id, john.id);
        assert_eq!(google(&app, &provider, &person).await.account().id, john.id);
        // Whoever was signed in there by then is so no more.
        app.me(&john.access).await.problem(401, "token_revoked");
        let john = app.login("johndoe", &john.password).await;
        assert_eq!(app.identities(&john).await.len(), 1);
        // Linked is linked: the address may change.
        app.change_user(&john.id, json!({"email": "other@example.com"})).await;
        assert_eq!(google(&app, &provider, &person).await.account().id, john.id);
    }

    async fn an_account_that_a_provider_made_is_nobody_elses_to_join(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).env("OAUTH_LINK_BY_EMAIL", "true").start().await;
        let jane = google(&app, &provider, &Person::named("jane")).await.account();
        assert_eq!(app.me(&jane.access).await.json()["email_verified"], true);
        // Google still calls the address verified that somebody else has by now.
        let token = provider.okta_id_token(&Person::named("jane")).token();
        app.with_id_token("okta", &token).await.problem(409, "account_exists");
        assert_eq!(app.identities(&jane).await.len(), 1);
    }

    async fn a_changed_address_is_no_longer_verified_and_links_nothing(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).env("OAUTH_LINK_BY_EMAIL", "true").start().await;
        let mallory = app.user("mallory").await;
        verify_email(&app, &mallory.id).await;
        app.tell(&mallory, "PATCH", "/auth/me", &json!({"email": "jane@corp.example"})).await.expect(200);
        google(&app, &provider, &Person::named("jane")).await.problem(409, "account_exists");
        assert_eq!(app.identities(&mallory).await.len(), 0);
    }

    async fn a_deactivated_user_does_not_get_in_by_a_provider(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).env("OAUTH_LINK_BY_EMAIL", "true").start().await;
        let person = Person::named("jane");
        let jane = google(&app, &provider, &person).await.account();
        app.change_user(&jane.id, json!({"is_active": false})).await;
        let refused = google(&app, &provider, &person).await;
        refused.problem(403, "account_disabled");
        assert_eq!(app.record_of(&refused).await["outcome"], "denied");
        // Nor by another account of the same address.
        let again = google(&app, &provider, &Person::named("jane")).await;
        assert!([403, 409].contains(&again.status), "{}", again.text());
        assert_eq!(users(&app).await, "1");
        app.change_user(&jane.id, json!({"is_active": true})).await;
        assert_eq!(google(&app, &provider, &person).await.account().id, jane.id);
    }

    async fn first_sign_ins_at_once_make_one_user(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let other = match database.backend() {
            Backend::Sqlite => None,
            Backend::Postgresql => Some(database.another_app().signing_in_with(&provider).start().await),
        };
        for round in 0..3 {
            let person = Person::named(&format!("jane{round}"));
            let tokens: Vec<String> = (0..10).map(|_| provider.google_id_token(&person).token()).collect();
            let answers = tokens.iter().enumerate().map(|(index, token)| {
                let app = if index % 2 == 0 { &app } else { other.as_ref().unwrap_or(&app) };
                app.with_id_token("google", token)
            });
            let answers = futures_util::future::join_all(answers).await;
            let mut ids: Vec<String> = answers.into_iter().map(|answer| answer.account().id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), 1, "{ids:?}");
            assert_eq!(users(&app).await, (round + 1).to_string());
        }
    }

    async fn a_name_is_made_from_the_address_and_is_nobody_elses(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        app.register("jane").await;
        let long = "a".repeat(64);
        let mut names = vec!["jane".to_owned()];
        for local_part in ["jane", "JANE", "jane", "o'brien+news", "x", &long, &long, "root_admin", "anonymous"] {
            // Each at a domain of its own, so that no address is taken.
            let email = format!("{local_part}@corp{}.example", names.len());
            let name = google(&app, &provider, &Person::with_email(&email)).await.account().username;
            let is_valid = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
            assert!((3..=64).contains(&name.len()) && name.chars().all(is_valid), "{local_part}: {name}");
            assert!(!names.contains(&name.to_lowercase()), "{name} is taken");
            if local_part.len() == 4 {
                assert!(name.to_lowercase().starts_with("jane"), "{local_part}: {name}");
            }
            names.push(name.to_lowercase());
        }
        let nameless = google(&app, &provider, &Person::without_email()).await.account().username;
        assert!((3..=64).contains(&nameless.len()), "{nameless}");
    }

    async fn people_of_one_name_who_come_at_once_all_get_an_account(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let people = [0, 1, 2, 3, 4, 5, 6, 7].map(|index| Person::with_email(&format!("jane@corp{index}.example")));
        let answers = people.iter().map(|person| google(&app, &provider, person));
        for answer in futures_util::future::join_all(answers).await {
            answer.expect(200);
        }
        assert_eq!(users(&app).await, "8");
    }

    async fn a_user_without_a_password_signs_in_by_none(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let jane = google(&app, &provider, &Person::named("jane")).await.account();
        for password in ["", " ", "securepassword123"] {
            for name in [jane.username.as_str(), "jane@corp.example"] {
                app.try_login(name, password).await.expect_one_of(&[401, 422]);
            }
        }
        let change = json!({"current_password": "", "new_password": "new-kq7-Vw2.zR9"});
        app.post("/auth/password").bearer(&jane.access).json(&change).send().await.expect_one_of(&[403, 422]);
        app.change_user(&jane.id, json!({"password": "new-kq7-Vw2.zR9"})).await;
        app.login(&jane.username, "new-kq7-Vw2.zR9").await;
    }
}
