//! The browser flow: from a page to the provider and back, with no token in any URL, and nothing for whoever did not
//! begin it.

use serde_json::{Value, json};

use crate::support::browser::{Flow, PROVIDERS, bent};
use crate::support::provider::{PUBLIC_URL, Person, Provider, TENANT};
use crate::support::{Account, Backend, Database, has_token, on_both_databases, parameter, slot};

on_both_databases! {
    async fn a_page_signs_its_user_in_by_each_provider(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        for (index, name) in PROVIDERS.into_iter().enumerate() {
            let person = Person::named(name);
            provider.signs_in(&person);
            let flow = Flow::begin(&app, name).await;
            let code = flow.code(&app, &provider).await;
            let answer = flow.exchange(&app, &code).send().await.expect(200);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let record = app.record_of(&answer).await;
            let tokens = answer.json();
            let mut fields: Vec<&String> = tokens.as_object().unwrap().keys().collect();
            fields.sort();
            assert_eq!(fields, ["access_token", "expires_in", "refresh_token", "token_type"]);
            let account = Account::of(&tokens);
            assert_eq!(app.me(&account.access).await.expect(200).json()["email"], json!(person.email));
            app.refresh(&account.refresh).await.expect(200);
            assert_eq!((&record["action"], &record["user_id"]), (&json!("OAUTH_LOGIN"), &json!(account.id)));
            let metadata = [&record["metadata"]["provider"], &record["metadata"]["subject"]];
            assert_eq!(metadata, [&json!(name), &json!(person.subject)]);
            // The same account as by a token.
            let (_, id_token) = &provider.id_tokens(&person)[index];
            assert_eq!(app.with_id_token(name, &id_token.token()).await.account().id, account.id);
        }
        for action in ["OAUTH_AUTHORIZE", "OAUTH_CALLBACK"] {
            assert_eq!(app.audit(&format!("action={action}&outcome=success")).await.len(), 3, "{action}");
        }
    }

    async fn the_provider_is_asked_as_the_book_says(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        for name in PROVIDERS {
            let flow = Flow::begin(&app, name).await;
            let url = &flow.to_provider;
            let asked = |parameter_name: &str| parameter(url, parameter_name).unwrap_or_default();
            assert_eq!(asked("redirect_uri"), format!("{PUBLIC_URL}/auth/oauth/{name}/callback"));
            assert_eq!((asked("response_type").as_str(), asked("code_challenge_method").as_str()), ("code", "S256"));
            for scope in ["openid", "email", "profile"] {
                assert!(asked("scope").split(' ').any(|found| found == scope), "{url}");
            }
            assert!(flow.is_hidden_from_the_provider(), "{url}");
            // Nothing of a flow is used in another.
            let other = Flow::begin(&app, name).await;
            for secret in ["state", "nonce", "code_challenge"] {
                assert!(asked(secret).len() >= 22, "{url}");
                assert_ne!(Some(asked(secret)), parameter(&other.to_provider, secret));
            }
            assert_ne!(flow.cookie, other.cookie);
        }
        assert!(provider.requests_to(&format!("/microsoft/{TENANT}/")) > 0);
    }

    async fn no_token_stands_in_any_url(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        provider.signs_in(&Person::without_email());
        for name in PROVIDERS {
            let flow = Flow::begin(&app, name).await;
            let callback = flow.at_provider(&provider).await;
            let at_page = flow.come_back(&app, &callback).await.redirect();
            let names: Vec<String> = at_page.query_pairs().map(|(name, _)| name.into_owned()).collect();
            assert!(at_page.fragment().is_none() && names.len() == 2, "{at_page}");
            let code = parameter(&at_page, "code").unwrap();
            assert!(code.len() >= 22 && !has_token(at_page.as_str()), "{at_page}");
            flow.exchange(&app, &code).send().await.expect(200);
            // Once for the page, once for the provider: they can't be taken for each other.
            assert!(!callback.contains(&code));
        }
        for line in provider.requests() {
            assert!(!has_token(&line) && !line.contains("ya29.") && !line.contains("secret"), "{line}");
        }
    }

    async fn a_state_is_good_for_its_browser_and_its_provider_once(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        provider.signs_in(&Person::named("jane"));
        let flow = Flow::begin(&app, "google").await;
        let other = Flow::begin(&app, "google").await;
        let callback = flow.at_provider(&provider).await;
        app.get(&callback).send().await.problem(400, "invalid_state");
        other.come_back(&app, &callback).await.problem(400, "invalid_state");
        let name = flow.cookie.split('=').next().unwrap();
        let value = flow.cookie.split_once('=').unwrap().1;
        for made_up in [format!("{name}="), format!("{name}=x"), format!("other={value}")] {
            app.get(&callback).header("cookie", &made_up).send().await.problem(400, "invalid_state");
        }
        for state in [None, Some(""), Some("made-up"), Some(flow.state.as_str())] {
            flow.come_back(&app, &bent(&callback, "state", state)).await.problem(400, "invalid_state");
        }
        // A problem is for whoever is there, and sends nobody anywhere.
        assert_eq!(provider.requests_to("/google/token"), 0);
        let elsewhere = Flow::begin(&app, "google").await;
        let theirs = elsewhere.at_provider(&provider).await.replace("/google/", "/okta/");
        elsewhere.come_back(&app, &theirs).await.problem(400, "invalid_state");

        let flow = Flow::begin(&app, "google").await;
        let callback = flow.at_provider(&provider).await;
        flow.come_back(&app, &callback).await.redirect();
        flow.come_back(&app, &callback).await.problem(400, "invalid_state");
        assert_eq!(provider.requests_to("/google/token"), 1);
    }

    async fn of_many_who_come_back_at_once_one_gets_a_code(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        provider.signs_in(&Person::named("jane"));
        let flow = Flow::begin(&app, "google").await;
        let callback = flow.at_provider(&provider).await;
        let answers = futures_util::future::join_all((0..8).map(|_| flow.come_back(&app, &callback))).await;
        let (sent_on, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 302);
        assert_eq!(sent_on.len(), 1);
        refused.iter().for_each(|answer| drop(answer.problem(400, "invalid_state")));
        let code = parameter(&sent_on[0].redirect(), "code").unwrap();
        let answers = (0..8).map(|_| flow.exchange(&app, &code).send());
        let answers = futures_util::future::join_all(answers).await;
        let (let_in, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(let_in.len(), 1);
        refused.iter().for_each(|answer| drop(answer.problem(400, "invalid_grant")));
    }

    async fn a_code_works_once_and_for_its_page(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        provider.signs_in(&Person::named("jane"));
        let flow = Flow::begin(&app, "okta").await;
        let code = flow.code(&app, &provider).await;
        flow.exchange(&app, &code).send().await.expect(200);
        flow.exchange(&app, &code).send().await.problem(400, "invalid_grant");
        let [flow, other] = [Flow::begin(&app, "okta").await, Flow::begin(&app, "okta").await];
        let code = flow.code(&app, &provider).await;
        let refused = other.exchange(&app, &code).send().await;
        refused.problem(400, "invalid_grant");
        assert_eq!(app.record_of(&refused).await["action"], "OAUTH_LOGIN");
        flow.exchange(&app, "made-up").send().await.problem(400, "invalid_grant");
        let exchange = async |body: Value| app.post("/auth/oauth/exchange").json(&body).send().await;
        exchange(json!({"code": code})).await.invalid(&["code_verifier"]);
        exchange(json!({"code_verifier": flow.verifier})).await.invalid(&["code"]);
        exchange(json!({"code": 1, "code_verifier": flow.verifier})).await.invalid(&["code"]);
        for verifier in ["", "a", &"a".repeat(42), &"a".repeat(129), &format!("{} ", "a".repeat(42))] {
            exchange(json!({"code": code, "code_verifier": verifier})).await.invalid(&["code_verifier"]);
        }
        // The provider's own code is none of ours.
        let flow = Flow::begin(&app, "okta").await;
        let theirs = flow.at_provider(&provider).await;
        let theirs: reqwest::Url = format!("{PUBLIC_URL}{theirs}").parse().unwrap();
        flow.exchange(&app, &parameter(&theirs, "code").unwrap()).send().await.problem(400, "invalid_grant");
    }

    async fn neither_state_nor_code_is_written_down_as_it_is(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        provider.signs_in(&Person::named("jane"));
        let [used, pending] = [Flow::begin(&app, "google").await, Flow::begin(&app, "google").await];
        let [used_code, pending_code] = [used.code(&app, &provider).await, pending.code(&app, &provider).await];
        used.exchange(&app, &used_code).send().await.expect(200);
        let mut written = (json!(app.audit("limit=1000").await).to_string() + &app.log()).into_bytes();
        // On SQLite the database as well.
        let folder = std::fs::read_dir(app.launch.data_dir()).unwrap().map(|file| file.unwrap().path());
        folder.filter(|path| path.is_file()).for_each(|path| written.extend(std::fs::read(path).unwrap()));
        let cookies = [&used, &pending].map(|flow| flow.cookie.split_once('=').unwrap().1);
        for secret in [&used_code, &pending_code, &used.verifier, cookies[0], cookies[1]] {
            assert!(!written.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret} was written");
        }
    }

    async fn what_has_happened_since_counts_when_the_code_is_changed(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let jane = Person::named("jane");
        let account = app.with_id_token("google", &provider.google_id_token(&jane).token()).await.account();
        provider.signs_in(&jane);
        let flow = Flow::begin(&app, "google").await;
        let code = flow.code(&app, &provider).await;
        app.change_user(&account.id, json!({"is_active": false})).await;
        flow.exchange(&app, &code).send().await.problem(403, "account_disabled");
    }
}

#[tokio::test]
async fn a_flow_may_begin_on_one_instance_and_go_on_on_another() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let provider = Provider::start();
    let one = database.app().signing_in_with(&provider).start().await;
    let other = database.another_app().signing_in_with(&provider).start().await;
    provider.signs_in(&Person::named("jane"));
    for (begins, goes_on) in [(&one, &other), (&other, &one)] {
        let flow = Flow::begin(begins, "google").await;
        let callback = flow.at_provider(&provider).await;
        let at_page = flow.come_back(goes_on, &callback).await.redirect();
        flow.come_back(begins, &callback).await.problem(400, "invalid_state");
        let code = parameter(&at_page, "code").unwrap();
        flow.exchange(begins, &code).send().await.expect(200);
        flow.exchange(goes_on, &code).send().await.problem(400, "invalid_grant");
    }
}
