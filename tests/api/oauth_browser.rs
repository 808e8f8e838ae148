//! The browser flow: from a page to the provider and back, with no token in any URL, and nothing for whoever did not begin it.

use serde_json::{Value, json};

use crate::support::browser::{Flow, begin_query};
use crate::support::provider::{Fault, KEYS, PAGE, PUBLIC_URL, Person, Provider, TENANT};
use crate::support::{Account, Answer, Backend, Database, TestApp, has_token, on_both_databases, parameter, slot};

const PROVIDERS: [&str; 3] = ["google", "microsoft", "okta"];
/// S256 of something: 43 characters of base64url.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn begin_with(app: &TestApp, provider: &str, bent: &[(&str, &str)]) -> Answer {
    let query = begin_query(CHALLENGE, "the-pages-own-state", bent);
    app.get(&format!("/auth/oauth/{provider}/authorize?{query}")).send().await
}

/// That the browser was sent back to its page with an error and nothing else.
#[track_caller]
fn came_back_with(answer: &Answer, flow: &Flow, error: &str) {
    let at_page = answer.redirect();
    assert_eq!(at_page.as_str().split('?').next(), Some(PAGE));
    assert_eq!(parameter(&at_page, "error").as_deref(), Some(error), "{at_page}");
    assert_eq!(parameter(&at_page, "state").as_deref(), Some(flow.state.as_str()), "{at_page}");
    assert_eq!(parameter(&at_page, "code"), None, "{at_page}");
}

/// A callback with one parameter changed, or taken out.
fn bent(callback: &str, name: &str, value: Option<&str>) -> String {
    let (path, query) = callback.split_once('?').unwrap();
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(found, _)| found != name);
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs).extend_pairs(value.map(|value| (name, value)));
    format!("{path}?{}", query.finish())
}

on_both_databases! {
    async fn a_page_signs_its_user_in_by_each_provider(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        for name in PROVIDERS {
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
            let id_token = match name {
                "google" => provider.google_id_token(&person),
                "microsoft" => provider.microsoft_id_token(&person),
                _ => provider.okta_id_token(&person),
            };
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
        provider.signs_in(&Person::named("jane"));
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
        for made_up in [format!("{name}="), format!("{name}=x"), format!("other={}", flow.cookie.split_once('=').unwrap().1)] {
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
        // The provider's own code is none of ours.
        let flow = Flow::begin(&app, "okta").await;
        let theirs = flow.at_provider(&provider).await;
        let theirs: reqwest::Url = format!("{PUBLIC_URL}{theirs}").parse().unwrap();
        flow.exchange(&app, &parameter(&theirs, "code").unwrap()).send().await.problem(400, "invalid_grant");
    }

    async fn neither_state_nor_code_is_stored_as_it_is(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        provider.signs_in(&Person::named("jane"));
        let flow = Flow::begin(&app, "google").await;
        let code = flow.code(&app, &provider).await;
        let written = json!(app.audit("limit=1000").await).to_string() + &app.log();
        for secret in [&code, &flow.verifier, flow.cookie.split_once('=').unwrap().1] {
            assert!(!written.contains(secret), "{secret} was written");
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

#[tokio::test]
async fn the_browsers_cookie_is_for_this_flow_alone() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    let answer = begin_with(&app, "google", &[]).await.expect(302);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let cookie = answer.cookies().remove(0);
    assert!(cookie.http_only() == Some(true) && cookie.secure() == Some(true), "{cookie}");
    // A browser that comes from elsewhere brings a lax cookie along, and no strict one.
    assert_eq!(cookie.same_site(), Some(actix_web::cookie::SameSite::Lax), "{cookie}");
    assert!(cookie.path().is_some_and(|path| path.starts_with("/auth/oauth")), "{cookie}");
    assert!(cookie.max_age().is_some_and(|age| (60..=900).contains(&age.whole_seconds())), "{cookie}");
    assert!(cookie.value().len() >= 22, "{cookie}");
}

#[tokio::test]
async fn a_browser_is_sent_on_only_to_pages_of_the_list() {
    let _slot = slot().await;
    let provider = Provider::start();
    let launch = Database::sqlite().app().signing_in_with(&provider);
    let app = launch.clone().start().await;
    for elsewhere in [
        "https://evil.example",
        "https://app.example",
        "https://app.example/",
        "https://app.example/signed-in/",
        "https://app.example/signed-in/more",
        "https://app.example/signed-in?x=y",
        "https://app.example/signed-in#x",
        "https://app.example/Signed-in",
        "https://app.example/x/../signed-in",
        "https://app.example:443/signed-in",
        "https://app.example:8443/signed-in",
        "http://app.example/signed-in",
        "https://user@app.example/signed-in",
        "https://app.example.evil.example/signed-in",
        "https://app.example@evil.example/signed-in",
        "//app.example/signed-in",
        "/signed-in",
        "javascript:alert(1)",
        "x",
        "https://app.example/signed-in\r\nx: y",
    ] {
        let answer = begin_with(&app, "google", &[("redirect_uri", elsewhere)]).await;
        assert_eq!(answer.header("location"), None, "{elsewhere}");
        answer.problem(422, "redirect_not_allowed");
    }
    begin_with(&app, "google", &[]).await.expect(302);
    drop(app);
    let app = launch.without("OAUTH_REDIRECT_ALLOWLIST").start().await;
    begin_with(&app, "google", &[]).await.problem(422, "redirect_not_allowed");
}

#[tokio::test]
async fn a_page_has_to_say_what_it_needs() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    for name in ["redirect_uri", "code_challenge", "state"] {
        begin_with(&app, "google", &[(name, "")]).await.invalid(&[name]);
    }
    for challenge in ["short", &"x".repeat(200), &CHALLENGE.replace('-', "+"), &format!("{CHALLENGE}=")] {
        begin_with(&app, "google", &[("code_challenge", challenge)]).await.invalid(&["code_challenge"]);
    }
    begin_with(&app, "google", &[("code_challenge_method", "plain")]).await.problem_of(422);
    begin_with(&app, "google", &[("state", &"x".repeat(10_000))]).await.expect_one_of(&[414, 422]);
    begin_with(&app, "facebook", &[]).await.problem(422, "unknown_provider");
    begin_with(&app, "okta", &[("okta_domain", "evil.example")]).await.invalid(&["okta_domain"]);
    begin_with(&app, "okta", &[("okta_domain", "dev-123456.okta.com")]).await.expect(302);
    drop(app);
    let app = Database::sqlite().app().env("OAUTH_REDIRECT_ALLOWLIST", PAGE).start().await;
    begin_with(&app, "google", &[]).await.problem(422, "provider_not_configured");
}

#[tokio::test]
async fn what_the_provider_answers_is_its_own_and_nobody_elses() {
    let _slot = slot().await;
    let [provider, other] = [Provider::start(), Provider::start()];
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    provider.signs_in(&Person::named("jane"));
    // Google names itself, and says so: without its name it is not Google.
    for issuer in [None, Some(other.google()), Some(format!("{}/", provider.google())), Some(String::new())] {
        let flow = Flow::begin(&app, "google").await;
        let callback = bent(&flow.at_provider(&provider).await, "iss", issuer.as_deref());
        let answer = flow.come_back(&app, &callback).await;
        came_back_with(&answer, &flow, "invalid_provider_token");
        let record = app.record_of(&answer).await;
        assert_eq!(
            (&record["action"], &record["metadata"]["reason"]),
            (&json!("OAUTH_CALLBACK"), &json!("wrong_issuer"))
        );
        flow.come_back(&app, &callback).await.problem(400, "invalid_state");
    }
    // Okta need not, but what it says has to be so.
    let flow = Flow::begin(&app, "okta").await;
    let callback = bent(&flow.at_provider(&provider).await, "iss", Some(&other.google()));
    came_back_with(&flow.come_back(&app, &callback).await, &flow, "invalid_provider_token");
    assert_eq!(
        provider.requests_to("/google/token")
            + provider.requests_to("/okta/dev-123456.okta.com/oauth2/default/v1/token"),
        0
    );
}

#[tokio::test]
async fn a_lie_in_the_browser_flow_ends_at_the_page_with_an_error() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    provider.signs_in(&Person::named("jane"));
    type Bend = fn(crate::support::Forge) -> crate::support::Forge;
    let lies: [(&str, Bend); 5] = [
        ("nonce_mismatch", |token| token.claim("nonce", "another")),
        ("nonce_missing", |token| token.without("nonce")),
        ("wrong_audience", |token| token.claim("aud", "another-app")),
        ("unknown_key", |token| token.key(&KEYS.forger)),
        ("bad_signature", |token| token.key(&KEYS.forger).kid(KEYS.first.kid)),
    ];
    for name in PROVIDERS {
        for (reason, bend) in lies {
            provider.bends(bend);
            let flow = Flow::begin(&app, name).await;
            let answer = flow.come_back(&app, &flow.at_provider(&provider).await).await;
            came_back_with(&answer, &flow, "invalid_provider_token");
            assert_eq!(app.record_of(&answer).await["metadata"]["reason"], reason, "{name}");
        }
    }
    let users = app.database().scalar("SELECT count(*) FROM users").await;
    assert_eq!(users.as_deref(), Some("1"), "the administrator");
}

#[tokio::test]
async fn who_says_no_at_the_provider_is_sent_back_to_the_page() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    for name in PROVIDERS {
        let flow = Flow::begin(&app, name).await;
        let callback = flow.at_provider(&provider).await;
        came_back_with(&flow.come_back(&app, &callback).await, &flow, "access_denied");
        flow.come_back(&app, &callback).await.problem(400, "invalid_state");
    }
    // What a stranger writes into a URL is not repeated to the page.
    let flow = Flow::begin(&app, "google").await;
    let callback = bent(&flow.at_provider(&provider).await, "error", Some("<script>"));
    let at_page = flow.come_back(&app, &callback).await.redirect();
    assert!(!at_page.as_str().contains("script"), "{at_page}");
}

#[tokio::test]
async fn a_refused_account_is_told_at_the_page() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).env("OAUTH_AUTO_REGISTER", "false").start().await;
    provider.signs_in(&Person::named("jane"));
    let flow = Flow::begin(&app, "google").await;
    let at_page = flow.come_back(&app, &flow.at_provider(&provider).await).await.redirect();
    // At the callback, or when the code is changed.
    match parameter(&at_page, "code") {
        None => assert_eq!(parameter(&at_page, "error").as_deref(), Some("registration_disabled")),
        Some(code) => drop(flow.exchange(&app, &code).send().await.problem(403, "registration_disabled")),
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_before_and_after() {
    let _slot = slot().await;
    let provider = Provider::start();
    let app = Database::sqlite().app().signing_in_with(&provider).start().await;
    provider.signs_in(&Person::named("jane"));
    provider.breaks("/google/", Fault::Status(500));
    begin_with(&app, "google", &[]).await.provider_away("google");
    provider.healed();
    let flow = Flow::begin(&app, "google").await;
    let callback = flow.at_provider(&provider).await;
    provider.breaks("/google/", Fault::Status(500));
    came_back_with(&flow.come_back(&app, &callback).await, &flow, "provider_unavailable");
}

#[tokio::test]
async fn with_any_tenant_the_browser_goes_where_all_may_sign_in() {
    let _slot = slot().await;
    let provider = Provider::start();
    provider.signs_in(&Person::named("jane"));
    let two = format!("{TENANT}, 0b5a3c1e-6f0d-4c57-9d0a-3c1f4c0e7a12");
    for (tenants, place) in [("any", "common"), (two.as_str(), "organizations"), (TENANT, TENANT)] {
        let launch = Database::sqlite().app().signing_in_with(&provider);
        let app = launch.env("OAUTH_MICROSOFT_TENANTS", tenants).start().await;
        let flow = Flow::begin(&app, "microsoft").await;
        assert!(flow.to_provider.path().starts_with(&format!("/microsoft/{place}/")), "{}", flow.to_provider);
        let code = flow.code(&app, &provider).await;
        flow.exchange(&app, &code).send().await.expect(200);
    }
}
