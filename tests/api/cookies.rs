//! The refresh token in a cookie: out of every script's reach, and of no use to any page but ours and those we allow.

use actix_web::cookie::{Cookie, SameSite};
use serde_json::{Value, json};

use crate::support::browser::Flow;
use crate::support::provider::{PUBLIC_URL, Person, Provider};
use crate::support::{Account, Answer, Call, Database, TestApp, on_both_databases, slot};

const NAME: &str = "__Secure-portcullis-refresh";
const ALLOWED: &str = "https://app.example";

/// An app at a public address, which lets one other page in.
async fn start(database: &Database) -> TestApp {
    database.app().env("PUBLIC_URL", PUBLIC_URL).env("CORS_ALLOWED_ORIGINS", ALLOWED).start().await
}

/// The one cookie that it sets, with what protects it.
#[track_caller]
fn refresh_cookie(answer: &Answer) -> Cookie<'static> {
    let mut cookies = answer.cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    let cookie = cookies.remove(0);
    assert_eq!(cookie.name(), NAME);
    assert!(cookie.http_only() == Some(true) && cookie.secure() == Some(true), "{cookie}");
    assert_eq!((cookie.same_site(), cookie.path(), cookie.domain()), (Some(SameSite::Strict), Some("/auth"), None));
    cookie
}

/// Tokens of an answer that has the refresh token in its cookie.
#[track_caller]
fn with_cookie(answer: Answer) -> (Account, String) {
    let answer = answer.expect(200);
    let cookie = refresh_cookie(&answer);
    assert!(!answer.text().contains(cookie.value()), "in the body too");
    let tokens = answer.json();
    let mut fields: Vec<&String> = tokens.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["access_token", "expires_in", "token_type"]);
    (Account::of(&tokens), format!("{NAME}={}", cookie.value()))
}

async fn login(app: &TestApp) -> (Account, String) {
    let body = json!({"username": "johndoe", "password": "securepassword123", "use_cookie": true});
    with_cookie(app.post("/auth/login").json(&body).send().await)
}

fn refresh(app: &TestApp, cookie: &str) -> Call {
    app.post("/auth/refresh").header("cookie", cookie)
}

/// Headers by which a browser says that it is not our page that asks, or does not say that it is.
const STRANGE: [&[(&str, &str)]; 11] = [
    &[],
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    &[("origin", "")],
    &[("origin", "https://auth.example.com.evil.example")],
    &[("origin", "http://auth.example.com")],
    &[("origin", "https://auth.example.com:8443")],
    &[("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-site")],
    &[("sec-fetch-site", "none")],
    &[("referer", "https://auth.example.com/")],
];
const OURS: [&[(&str, &str)]; 4] = [
    &[("origin", PUBLIC_URL)],
    &[("origin", ALLOWED)],
    &[("sec-fetch-site", "same-origin")],
    &[("origin", PUBLIC_URL), ("sec-fetch-site", "same-origin")],
];

fn with_headers(call: Call, headers: &[(&str, &str)]) -> Call {
    headers.iter().fold(call, |call, (name, value)| call.header(name, value))
}

on_both_databases! {
    async fn a_login_may_keep_its_refresh_token_in_a_cookie(database: Database) {
        let app = start(&database).await;
        app.register("johndoe").await;
        let (john, cookie) = login(&app).await;
        app.me(&john.access).await.expect(200);
        // Without the wish, everything is as ever.
        for body in [
            json!({"username": "johndoe", "password": "securepassword123"}),
            json!({"username": "johndoe", "password": "securepassword123", "use_cookie": false}),
        ] {
            let answer = app.post("/auth/login").json(&body).send().await.expect(200);
            assert!(answer.cookies().is_empty() && answer.json()["refresh_token"].is_string(), "{}", answer.text());
        }
        let body = json!({"username": "johndoe", "password": "wrong password", "use_cookie": true});
        let refused = app.post("/auth/login").json(&body).send().await;
        refused.problem(401, "invalid_credentials");
        assert!(refused.cookies().is_empty());
        let body = json!({"username": "johndoe", "password": "securepassword123", "use_cookie": "yes"});
        app.post("/auth/login").json(&body).send().await.invalid(&["use_cookie"]);
        assert!(!json!(app.audit("limit=1000").await).to_string().contains(&cookie));
    }

    async fn a_cookie_is_refreshed_from_our_own_and_allowed_pages(database: Database) {
        let app = start(&database).await;
        app.register("johndoe").await;
        let (john, mut cookie) = login(&app).await;
        for headers in OURS {
            let (next, next_cookie) = with_cookie(with_headers(refresh(&app, &cookie), headers).send().await);
            assert_eq!((next.id.as_str(), next.session()), (john.id.as_str(), john.session()));
            app.me(&next.access).await.expect(200);
            assert_ne!(next_cookie, cookie, "{headers:?}");
            cookie = next_cookie;
        }
        // It lives as long as the token in it.
        let lives = with_headers(refresh(&app, &cookie), OURS[0]).send().await;
        let age = refresh_cookie(&lives).max_age().expect("an age").whole_seconds();
        assert!((7 * 86_400 - 120..=7 * 86_400).contains(&age), "{age}");
    }

    async fn a_cookie_is_worth_nothing_to_any_other_page(database: Database) {
        let app = start(&database).await;
        app.register("johndoe").await;
        let (john, cookie) = login(&app).await;
        for headers in STRANGE {
            let refused = with_headers(refresh(&app, &cookie), headers).send().await;
            assert_eq!(refused.status, 403, "{headers:?}: {}", refused.text());
            refused.problem(403, "origin_not_allowed");
            assert!(refused.cookies().is_empty(), "{headers:?}");
            assert_eq!(app.record_of(&refused).await["action"], "TOKEN_REFRESH");
            let logout = app.post("/auth/logout").bearer(&john.access).header("cookie", &cookie);
            with_headers(logout, headers).send().await.problem(403, "origin_not_allowed");
        }
        // Nothing was rotated, nothing ended.
        let rotations = app.database().scalar("SELECT count(rotated_at) FROM refresh_tokens").await;
        assert_eq!(rotations.as_deref(), Some("0"));
        app.me(&john.access).await.expect(200);
        with_cookie(with_headers(refresh(&app, &cookie), OURS[0]).send().await);
    }

    async fn another_sites_form_signs_nobody_in_by_a_cookie(database: Database) {
        let app = start(&database).await;
        app.register("johndoe").await;
        let form = [("username", "johndoe"), ("password", "securepassword123"), ("use_cookie", "true")];
        let post = || app.post("/auth/login").form(&form);
        for headers in STRANGE.into_iter().filter(|headers| headers.iter().any(|(name, _)| *name != "referer")) {
            let refused = with_headers(post(), headers).send().await;
            assert!(refused.cookies().is_empty(), "{headers:?}");
            refused.problem(403, "origin_not_allowed");
        }
        with_cookie(with_headers(post(), OURS[0]).send().await);
        // Without the cookie there is nothing that a page could plant.
        let plain = app.post("/auth/login").form(&form[..2]).header("origin", "https://evil.example");
        plain.send().await.expect(200);
    }

    async fn no_other_name_passes_for_the_cookies(database: Database) {
        let app = start(&database).await;
        app.register("johndoe").await;
        let (_, cookie) = login(&app).await;
        let token = cookie.split_once('=').unwrap().1;
        for name in ["%5f_Secure-portcullis-refresh", "__secure-portcullis-refresh", "\u{2003}__Secure-portcullis-refresh"] {
            let other = refresh(&app, &format!("{name}={token}")).header("origin", PUBLIC_URL).send().await;
            other.problem(401, "not_authenticated");
        }
        // Of two, one is somebody's who put it in.
        let twice = refresh(&app, &format!("{cookie}; {NAME}=x")).header("origin", PUBLIC_URL).send().await;
        twice.problem(401, "not_authenticated");
        with_cookie(refresh(&app, &format!("a=%ff; {cookie}")).header("origin", PUBLIC_URL).send().await);
    }

    async fn a_logout_ends_the_cookies_session_and_clears_it(database: Database) {
        let app = start(&database).await;
        let phone = app.user("johndoe").await;
        for headers in OURS {
            let (john, cookie) = login(&app).await;
            let logout = app.post("/auth/logout").bearer(&john.access).header("cookie", &cookie);
            let answer = with_headers(logout, headers).send().await.expect(204);
            let cleared = refresh_cookie(&answer);
            let is_over = cleared.max_age().is_some_and(|age| age.is_zero());
            assert!(cleared.value().is_empty() && is_over, "{cleared}");
            app.me(&john.access).await.problem(401, "token_revoked");
            with_headers(refresh(&app, &cookie), headers).send().await.problem(401, "token_revoked");
        }
        app.me(&phone.access).await.expect(200);
        app.post("/auth/logout").bearer(&phone.access).send().await.expect(204);
    }

    async fn the_cookies_session_is_ended_though_another_one_asks(database: Database) {
        let app = start(&database).await;
        let phone = app.user("johndoe").await;
        let (john, cookie) = login(&app).await;
        let jane = app.user("janedoe").await;
        let logout = |who: &Account| app.post("/auth/logout").bearer(&who.access).header("cookie", &cookie);
        logout(&jane).header("origin", PUBLIC_URL).send().await.problem_of(401);
        app.me(&john.access).await.expect(200);
        logout(&phone).header("origin", PUBLIC_URL).send().await.expect(204);
        app.me(&john.access).await.problem(401, "token_revoked");
        app.me(&phone.access).await.expect(200);
    }

    async fn a_stolen_cookie_ends_its_session_when_it_is_used_again(database: Database) {
        let app = start(&database).await;
        app.register("johndoe").await;
        let (john, first) = login(&app).await;
        let ours = |cookie: &str| refresh(&app, cookie).header("origin", PUBLIC_URL).send();
        let (_, second) = with_cookie(ours(&first).await);
        let (_, third) = with_cookie(ours(&second).await);
        let replay = ours(&first).await;
        replay.problem_of(401);
        assert_eq!(app.record_of(&replay).await["action"], "REFRESH_TOKEN_REUSE");
        ours(&third).await.problem_of(401);
        app.me(&john.access).await.problem(401, "token_revoked");
    }

    async fn a_sign_in_by_a_provider_may_keep_its_refresh_token_in_a_cookie(database: Database) {
        let provider = Provider::start();
        let app = database.app().signing_in_with(&provider).start().await;
        let jane = Person::named("jane");
        let id_token = provider.google_id_token(&jane).token();
        let body = json!({"provider": "google", "id_token": id_token, "use_cookie": true});
        let (by_token, cookie) = with_cookie(app.oauth_login(&body).await);
        with_cookie(refresh(&app, &cookie).header("origin", PUBLIC_URL).send().await);
        provider.signs_in(&jane);
        let flow = Flow::begin(&app, "google").await;
        let mut body = flow.exchange_body(&flow.code(&app, &provider).await);
        body["use_cookie"] = json!(true);
        let (by_browser, cookie) = with_cookie(app.post("/auth/oauth/exchange").json(&body).send().await);
        assert_eq!(by_browser.id, by_token.id);
        with_cookie(refresh(&app, &cookie).header("origin", PUBLIC_URL).send().await);
    }
}

#[tokio::test]
async fn pages_of_allowed_origins_may_send_and_read_with_credentials() {
    let _slot = slot().await;
    let app = start(&Database::sqlite()).await;
    app.register("johndoe").await;
    let (_, cookie) = login(&app).await;
    let preflight = |origin: &str| {
        let call = app.call("OPTIONS", "/auth/refresh").header("origin", origin);
        call.header("access-control-request-method", "POST").send()
    };
    for answer in [
        preflight(ALLOWED).await.expect_one_of(&[200, 204]),
        refresh(&app, &cookie).header("origin", ALLOWED).send().await.expect(200),
        app.post("/auth/refresh").header("origin", ALLOWED).json(&json!({})).send().await.expect(422),
    ] {
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-origin"), Some(ALLOWED));
    }
    for answer in [
        preflight("https://evil.example").await,
        refresh(&app, &cookie).header("origin", "https://evil.example").send().await.expect(403),
    ] {
        // Without which the other header lets a browser do nothing.
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn without_a_public_url_our_own_origin_is_where_we_listen() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    app.register("johndoe").await;
    let (_, cookie) = login(&app).await;
    let own = format!("http://127.0.0.1:{}", app.port());
    let (_, cookie) = with_cookie(refresh(&app, &cookie).header("origin", &own).send().await);
    let other = refresh(&app, &cookie).header("origin", "http://127.0.0.1:1").send().await;
    other.problem(403, "origin_not_allowed");
    // A name that leads here is not ours for that (DNS rebinding).
    let rebound = refresh(&app, &cookie).header("host", "evil.example").header("origin", "http://evil.example");
    rebound.send().await.problem(403, "origin_not_allowed");
}

#[tokio::test]
async fn a_token_in_the_body_is_nobodys_cookie() {
    let _slot = slot().await;
    let app = start(&Database::sqlite()).await;
    let phone = app.user("johndoe").await;
    // From a program there is no origin, and none is asked for.
    let answer = app.refresh(&phone.refresh).await.expect(200);
    assert!(answer.cookies().is_empty() && answer.json()["refresh_token"].is_string());
    // No cookie and no body: what is missing is named, wherever it comes from.
    for body in [json!({}), json!({"refresh_token": Value::Null})] {
        let call = app.post("/auth/refresh").header("origin", PUBLIC_URL).json(&body);
        call.send().await.invalid(&["refresh_token"]);
    }
    for nonsense in ["", "x", "a.b.c", &phone.access] {
        let answer = refresh(&app, &format!("{NAME}={nonsense}")).header("origin", PUBLIC_URL).send().await;
        assert!([401, 422].contains(&answer.status), "{nonsense}: {}", answer.text());
    }
    // As from a page whose cookie is gone: nobody is signed in there.
    let elsewhere = format!("refresh_token={}", phone.refresh);
    refresh(&app, &elsewhere).header("origin", PUBLIC_URL).send().await.problem(401, "not_authenticated");
}
