//! `POST /auth/register`: who may be called what.

use serde_json::{Value, json};

use crate::support::{Answer, Database, TestApp, field_codes, on_both_databases, slot};

async fn register(app: &TestApp, username: &str, email: &str, password: &str) -> Answer {
    let body = json!({"username": username, "email": email, "password": password});
    app.post("/auth/register").json(&body).send().await
}

async fn app() -> TestApp {
    Database::sqlite().app().start().await
}

on_both_databases! {
    async fn a_taken_username_or_email_is_refused_in_any_case(app: TestApp) {
        register(&app, "johndoe", "john@example.com", "securepassword123").await.expect(201);
        for name in ["johndoe", "JohnDoe", "JOHNDOE"] {
            let answer = register(&app, name, "other@example.com", "securepassword123").await;
            let problem = answer.problem_of(409);
            assert_eq!(problem["detail"], "Username already registered");
        }
        for email in ["john@example.com", "John@Example.COM"] {
            let answer = register(&app, "johndoe2", email, "securepassword123").await;
            let problem = answer.problem_of(409);
            assert_eq!(problem["detail"], "Email already registered");
        }
    }

    async fn an_email_is_compared_in_punycode(app: TestApp) {
        register(&app, "hans", "hans@bücher.example", "securepassword123").await.expect(201);
        register(&app, "hans2", "hans@xn--bcher-kva.example", "securepassword123").await.expect(409);
        register(&app, "hans3", "hans@BÜCHER.example", "securepassword123").await.expect(409);
        app.login("hans@xn--bcher-kva.example", "securepassword123").await;
        app.login("hans@bücher.example", "securepassword123").await;
    }

    async fn a_username_is_shown_as_typed(app: TestApp) {
        let user = register(&app, "John.Doe_-9", "john@example.com", "securepassword123").await.expect(201).json();
        assert_eq!(user["username"], "John.Doe_-9");
        let john = app.login("john.doe_-9", "securepassword123").await;
        assert_eq!(app.me(&john.access).await.expect(200).json()["username"], "John.Doe_-9");
    }

    async fn of_two_who_register_one_name_at_once_one_gets_it(app: TestApp) {
        let calls = (0..6).map(|n| {
            let app = &app;
            let email = format!("john{n}@example.com");
            async move {
                register(app, if n % 2 == 0 { "johndoe" } else { "JohnDoe" }, &email, "securepassword123").await.status
            }
        });
        let mut statuses = futures_util::future::join_all(calls).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    }

    async fn a_user_is_stored_with_a_hash_and_without_a_password(app: TestApp) {
        app.register("johndoe").await;
        let hash = app.database().scalar("SELECT password_hash FROM users WHERE username = 'johndoe'").await.unwrap();
        assert!(hash.starts_with("$2") && hash.contains("$10$"), "{hash}");
    }
}

#[tokio::test]
async fn missing_fields_are_named_all_at_once() {
    let _slot = slot().await;
    let app = app().await;
    app.post("/auth/register").json(&json!({})).send().await.invalid(&["username"]);
    let bad = json!({"username": "x", "email": "no", "password": "short"});
    app.post("/auth/register").json(&bad).send().await.invalid(&["username", "email", "password"]);
}

#[tokio::test]
async fn usernames_have_3_to_64_plain_characters() {
    let _slot = slot().await;
    let app = app().await;
    let (longest, too_long) = ("a".repeat(64), "a".repeat(65));
    for name in
        ["ab", "", too_long.as_str(), "john doe", "john@doe", "jöhn", "john\u{0}doe", "john/doe", " john", "jo\nhn"]
    {
        register(&app, name, "john@example.com", "securepassword123").await.invalid(&["username"]);
    }
    for (n, name) in ["abc", longest.as_str(), "A-Z.a_z09", "..."].into_iter().enumerate() {
        register(&app, name, &format!("john{n}@example.com"), "securepassword123").await.expect(201);
    }
}

#[tokio::test]
async fn emails_are_addresses_with_a_host_and_an_ascii_local_part() {
    let _slot = slot().await;
    let app = app().await;
    // 254 characters: 64 of local part, "@", and a domain of labels of at most 63.
    let domain =
        |last: usize| [&"d".repeat(63), &"d".repeat(63), &"d".repeat(last), "com"].map(str::to_owned).join(".");
    let local = "l".repeat(64);
    let (longest, too_long) = (format!("{local}@{}", domain(57)), format!("{local}@{}", domain(58)));
    assert_eq!((longest.len(), too_long.len()), (254, 255));
    let bad = [
        "",
        "john",
        "john@",
        "@example.com",
        "john@@example.com",
        "jöhn@example.com",
        "john@exa mple.com",
        "john\u{0}@example.com",
        "john@example..com",
        too_long.as_str(),
    ];
    for email in bad {
        register(&app, "johndoe", email, "securepassword123").await.invalid(&["email"]);
    }
    for (n, email) in ["j+tag@example.com", longest.as_str()].into_iter().enumerate() {
        register(&app, &format!("john{n}"), email, "securepassword123").await.expect(201);
    }
}

#[tokio::test]
async fn a_full_name_has_at_most_200_characters() {
    let _slot = slot().await;
    let app = app().await;
    let body = |name: &str, full_name: Value| {
        let mut body = TestApp::registration(name);
        body["full_name"] = full_name;
        body
    };
    let call = |body: Value| app.post("/auth/register").json(&body).send();
    call(body("long", json!("é".repeat(201)))).await.invalid(&["full_name"]);
    call(body("nul", json!("John\u{0}Doe"))).await.invalid(&["full_name"]);
    call(body("number", json!(5))).await.invalid(&["full_name"]);
    let user = call(body("longest", json!("é".repeat(200)))).await.expect(201).json();
    assert_eq!(user["full_name"], "é".repeat(200));
    assert_eq!(call(body("none", Value::Null)).await.expect(201).json()["full_name"], Value::Null);
}

#[tokio::test]
async fn a_wrong_type_is_422_and_an_unknown_field_is_ignored() {
    let _slot = slot().await;
    let app = app().await;
    for field in ["username", "email", "password"] {
        let mut body = TestApp::registration("johndoe");
        body[field] = json!(12);
        app.post("/auth/register").json(&body).send().await.invalid(&[field]);
    }
    let mut body = TestApp::registration("johndoe");
    body["is_superuser"] = json!(true);
    body["roles"] = json!(["admin"]);
    body["favourite_colour"] = json!({"name": "blue"});
    let user = app.post("/auth/register").json(&body).send().await.expect(201).json();
    assert_eq!(user["is_superuser"], false);
    assert_eq!(user["roles"], json!(["viewer"]));
}

#[tokio::test]
async fn an_invalid_registration_names_its_field_and_code() {
    let _slot = slot().await;
    let answer = register(&app().await, "johndoe", "john@example.com", "short").await;
    assert_eq!(field_codes(&answer.invalid(&["password"]), "password"), ["too_short"]);
    assert!(!answer.text().contains("\"short\""), "the password is in the answer: {}", answer.text());
}

#[tokio::test]
async fn registration_can_be_switched_off() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("ENABLE_REGISTRATION", "false").start().await;
    register(&app, "johndoe", "john@example.com", "securepassword123").await.problem(403, "registration_disabled");
}
