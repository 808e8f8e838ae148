//! `POST /auth/login`: who gets tokens, what is in them, and what those learn who get none.

use serde_json::json;

use crate::support::{Database, TestApp, claims, now, on_both_databases, slot};

const PASSWORD: &str = "securepassword123";

on_both_databases! {
    async fn a_user_signs_in_by_name_or_email_in_any_case(app: TestApp) {
        app.register("JohnDoe").await;
        for name in ["JohnDoe", "johndoe", "JOHNDOE", "JohnDoe@example.com", "johndoe@EXAMPLE.com"] {
            let tokens = app.try_login(name, PASSWORD).await.expect(200);
            assert_eq!(tokens.header("cache-control"), Some("no-store"));
            // The name as registered, however it was typed.
            let access = tokens.json()["access_token"].as_str().unwrap().to_owned();
            assert_eq!(claims(&access)["username"], "JohnDoe");
        }
    }

    async fn a_form_signs_in_like_json(app: TestApp) {
        app.register("johndoe").await;
        let form = app.post("/auth/login").form(&[("username", "johndoe"), ("password", PASSWORD)]);
        let tokens = form.send().await.expect(200).json();
        app.me(tokens["access_token"].as_str().unwrap()).await.expect(200);
        let wrong = app.post("/auth/login").form(&[("username", "johndoe"), ("password", "wrong password")]);
        wrong.send().await.problem(401, "invalid_credentials");
        // As OAuth 2.0 clients send it, with fields that mean nothing here.
        let fields = [("grant_type", "password"), ("username", "johndoe"), ("password", PASSWORD), ("scope", "")];
        app.post("/auth/login").form(&fields).send().await.expect(200);
        app.post("/auth/login").form(&[("username", "johndoe")]).send().await.invalid(&["password"]);
    }

    async fn unknown_wrong_and_deactivated_get_the_same_answer(app: TestApp) {
        let john = app.register("johndoe").await;
        let jane = app.register("janedoe").await;
        app.change_user(&jane, json!({"is_active": false})).await;
        let attempts = [
            ("johndoe", "wrong password"),
            ("nobody", PASSWORD),
            ("janedoe", PASSWORD),
            ("nobody@example.com", PASSWORD),
            ("no such name!", PASSWORD),
            ("johndoe", ""),
        ];
        let mut bodies = Vec::new();
        for (name, password) in attempts {
            let answer = app.try_login(name, password).await;
            let mut problem = answer.problem(401, "invalid_credentials");
            assert_eq!(problem["detail"], "Incorrect username or password");
            problem["request_id"] = json!(null);
            bodies.push(problem);
        }
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
        app.change_user(&john, json!({"is_active": true})).await;
    }

    async fn an_access_token_says_who_and_never_what_they_may(app: TestApp) {
        let john = app.user_with_roles("johndoe", &["analyst"]).await;
        let claims = claims(&john.access);
        let mut names: Vec<&String> = claims.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "sid", "sub", "token_use", "username"]);
        assert_eq!(claims["iss"], "portcullis");
        assert_eq!(claims["aud"], "portcullis");
        assert_eq!(claims["sub"], john.id.as_str());
        assert_eq!(claims["token_use"], "access");
        let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!((now() - issued).abs() <= 60, "{issued}");
        assert_eq!(expires - issued, 30 * 60);
    }

    async fn a_refresh_token_says_that_it_is_one_and_is_stored_as_a_hash(app: TestApp) {
        let john = app.user("johndoe").await;
        let refresh = claims(&john.refresh);
        assert_eq!(refresh["token_use"], "refresh");
        let lifetime = refresh["exp"].as_i64().unwrap() - now();
        assert!((7 * 86_400 - lifetime).abs() < 120, "{lifetime}");
        let database = app.database();
        let rows = database.scalar("SELECT count(*) FROM refresh_tokens").await.unwrap();
        assert_eq!(rows, "1", "one row for one session");
        let session = database.id(&john.session());
        let length = format!("SELECT length(current_hash) FROM refresh_tokens WHERE session_id = {session}");
        assert_eq!(database.scalar(&length).await.unwrap(), "32", "a SHA-256");
    }

    async fn each_login_is_a_session_of_its_own(app: TestApp) {
        let john = app.user("johndoe").await;
        let again = app.login("johndoe", PASSWORD).await;
        assert_ne!(john.session(), again.session());
        app.me(&john.access).await.expect(200);
        app.me(&again.access).await.expect(200);
    }

    async fn a_login_is_shown_in_the_profile(app: TestApp) {
        let john = app.user("johndoe").await;
        let last = app.me(&john.access).await.json()["last_login_at"].clone();
        crate::support::assert_millisecond_time(&last);
    }
}

#[tokio::test]
async fn an_over_long_password_is_the_ordinary_401_at_login() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    let longest = "p4ssw0rd-of-72-bytes-".chars().cycle().take(72).collect::<String>();
    let mut body = TestApp::registration("johndoe");
    body["password"] = json!(longest);
    app.post("/auth/register").json(&body).send().await.expect(201);
    app.try_login("johndoe", &longest).await.expect(200);
    app.try_login("johndoe", &format!("{longest}x")).await.problem(401, "invalid_credentials");
    app.try_login("johndoe", &"x".repeat(10_000)).await.problem(401, "invalid_credentials");
    app.try_login("johndoe", &format!("{longest}\u{0}")).await.expect_one_of(&[401, 422]);
}

#[tokio::test]
async fn the_lifetimes_are_what_the_settings_say() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    let launch = launch.env("ACCESS_TOKEN_EXPIRE_MINUTES", "5").env("REFRESH_TOKEN_EXPIRE_DAYS", "2");
    let app = launch.env("JWT_ISSUER", "https://sso.example").env("JWT_AUDIENCE", "projects").start().await;
    app.register("johndoe").await;
    let tokens = app.try_login("johndoe", PASSWORD).await.expect(200).json();
    assert_eq!(tokens["expires_in"], 300);
    let access = claims(tokens["access_token"].as_str().unwrap());
    assert_eq!(access["exp"].as_i64().unwrap() - access["iat"].as_i64().unwrap(), 300);
    assert_eq!(access["iss"], "https://sso.example");
    assert_eq!(access["aud"], "projects");
    let refresh = claims(tokens["refresh_token"].as_str().unwrap());
    assert!((refresh["exp"].as_i64().unwrap() - now() - 2 * 86_400).abs() < 120);
    app.me(tokens["access_token"].as_str().unwrap()).await.expect(200);
    app.refresh(tokens["refresh_token"].as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn a_login_needs_both_fields_as_strings() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    app.post("/auth/login").json(&json!({})).send().await.invalid(&["username"]);
    app.post("/auth/login").json(&json!({"username": "johndoe"})).send().await.invalid(&["password"]);
    app.post("/auth/login").json(&json!({"username": 1, "password": "x"})).send().await.invalid(&["username"]);
    app.post("/auth/login").json(&json!({"username": "johndoe", "password": []})).send().await.invalid(&["password"]);
    app.post("/auth/login").json(&json!(["johndoe", PASSWORD])).send().await.problem_of(422);
}

#[tokio::test]
async fn a_storm_of_logins_is_answered_or_told_to_come_back() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    let john = app.user("johndoe").await;
    let storm = futures_util::future::join_all((0..60).map(|_| app.try_login("johndoe", PASSWORD)));
    let (answers, me) = tokio::join!(storm, app.me(&john.access));
    me.expect(200);
    for answer in answers {
        if answer.status != 200 {
            answer.problem(503, "unavailable");
        }
    }
    app.login("johndoe", PASSWORD).await;
}
