//! What may be a password, and how one is changed.

use std::time::Duration;

use serde_json::json;

use crate::support::{Database, TestApp, eventually, field_codes, on_both_databases, slot};

async fn app() -> TestApp {
    Database::sqlite().app().start().await
}

async fn register(app: &TestApp, name: &str, password: &str) -> crate::support::Answer {
    let mut body = TestApp::registration(name);
    body["password"] = json!(password);
    app.post("/auth/register").json(&body).send().await
}

/// A password that is on no list, of so many bytes.
fn password(bytes: usize) -> String {
    "kq7-Vw2.zR9_tb4+".chars().cycle().take(bytes).collect()
}

#[tokio::test]
async fn a_73_byte_password_is_too_long_and_72_are_not() {
    let _slot = slot().await;
    let app = app().await;
    let problem = register(&app, "johndoe", &password(73)).await.invalid(&["password"]);
    assert_eq!(field_codes(&problem, "password"), ["too_long"]);
    // 71 letters, the last of two bytes and more: counted in bytes, not in characters.
    let problem = register(&app, "johndoe", &"é".repeat(37)).await.invalid(&["password"]);
    assert_eq!(field_codes(&problem, "password"), ["too_long"]);
    register(&app, "johndoe", &password(72)).await.expect(201);
    app.login("johndoe", &password(72)).await;
    app.try_login("johndoe", &password(71)).await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_password_has_8_characters() {
    let _slot = slot().await;
    let app = app().await;
    for short in ["", "kq7-Vw2", "éééé"] {
        let problem = register(&app, "johndoe", short).await.invalid(&["password"]);
        assert!(field_codes(&problem, "password").contains(&"too_short".to_owned()), "{problem}");
    }
    // Characters, not bytes; and nothing is asked about their kinds.
    register(&app, "johndoe", "zwölfüße").await.expect(201);
    register(&app, "janedoe", "correct horse battery").await.expect(201);
}

#[tokio::test]
async fn the_least_length_is_a_setting() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("PASSWORD_MIN_LENGTH", "15").start().await;
    register(&app, "johndoe", &password(14)).await.invalid(&["password"]);
    register(&app, "johndoe", &password(15)).await.expect(201);
}

#[tokio::test]
async fn common_passwords_and_ones_own_name_are_refused() {
    let _slot = slot().await;
    let app = app().await;
    let john = [
        "password",
        "12345678",
        "Password1",
        "qwertyuiop",
        "iloveyou1",
        "johnny.doe",
        "Johnny.Doe",
        "johnny.doe@example.com",
        "JOHNNY.DOE@example.com",
    ];
    for common in &john[..4] {
        register(&app, "johnny.doe", common).await.invalid(&["password"]);
    }
    for own in &john[5..] {
        register(&app, "johnny.doe", own).await.invalid(&["password"]);
    }
    register(&app, "johnny.doe", "securepassword123").await.expect(201);
}

#[tokio::test]
async fn a_password_with_nul_is_refused() {
    let _slot = slot().await;
    let app = app().await;
    register(&app, "johndoe", "kq7-Vw2\u{0}zR9_tb4").await.invalid(&["password"]);
    register(&app, "johndoe", "\u{0}kq7-Vw2zR9_tb4").await.invalid(&["password"]);
}

/// bcrypt repeats a password with a NUL behind it until its key is full: to it these are all the same.
#[tokio::test]
async fn a_password_repeated_behind_a_nul_is_another_one() {
    let _slot = slot().await;
    let app = app().await;
    let john = app.user("johndoe").await;
    let password = &john.password;
    for wrong in [
        format!("{password}\u{0}"),
        format!("{password}\u{0}{password}"),
        format!("{password}\u{0}{password}\u{0}"),
        [password.as_str(); 4].join("\u{0}"),
        format!("\u{0}{password}"),
    ] {
        app.try_login("johndoe", &wrong).await.problem(401, "invalid_credentials");
        let change = json!({"current_password": wrong, "new_password": "new-kq7-Vw2.zR9"});
        app.post("/auth/password").bearer(&john.access).json(&change).send().await.problem(403, "wrong_password");
    }
    app.login("johndoe", password).await;
}

async fn stored_hash(database: &Database) -> String {
    database.scalar("SELECT password_hash FROM users WHERE username = 'johndoe'").await.unwrap()
}

on_both_databases! {
    async fn a_right_login_after_a_change_of_the_cost_stores_a_hash_of_the_new_one(database: Database) {
        let mut app = database.app().start().await;
        let john = app.user("johndoe").await;
        assert!(stored_hash(&database).await.starts_with("$2b$10$"));
        app.terminate().await;
        let app = database.app().env("PASSWORD_BCRYPT_COST", "11").start().await;
        app.try_login("johndoe", "wrong password").await.problem(401, "invalid_credentials");
        assert!(stored_hash(&database).await.starts_with("$2b$10$"), "a wrong password changes nothing");
        let again = app.login("johndoe", &john.password).await;
        eventually("the hash is of the new cost", Duration::from_secs(10), || async {
            stored_hash(&database).await.starts_with("$2b$11$")
        })
        .await;
        // It is the same password: nobody is signed out, and it signs in.
        for session in [&john, &again] {
            app.me(&session.access).await.expect(200);
            app.refresh(&session.refresh).await.expect(200);
        }
        app.try_login("johndoe", "wrong password").await.problem(401, "invalid_credentials");
        let third = app.login("johndoe", &john.password).await;
        app.me(&third.access).await.expect(200);
        // Once is enough.
        let hash = stored_hash(&database).await;
        app.login("johndoe", &john.password).await;
        assert_eq!(stored_hash(&database).await, hash);
    }

    async fn right_logins_at_once_all_succeed_while_the_hash_is_renewed(database: Database) {
        let mut app = database.app().start().await;
        app.register("johndoe").await;
        app.terminate().await;
        let app = database.app().env("PASSWORD_BCRYPT_COST", "11").start().await;
        let logins = (0..8).map(|_| app.login("johndoe", "securepassword123"));
        for session in futures_util::future::join_all(logins).await {
            app.me(&session.access).await.expect(200);
            app.refresh(&session.refresh).await.expect(200);
        }
        eventually("the hash is of the new cost", Duration::from_secs(10), || async {
            stored_hash(&database).await.starts_with("$2b$11$")
        })
        .await;
    }

    async fn a_letter_written_in_two_ways_is_one_password(app: TestApp) {
        let (composed, decomposed) = ("caf\u{e9}-kq7-Vw2", "cafe\u{301}-kq7-Vw2");
        register(&app, "composed", composed).await.expect(201);
        app.login("composed", decomposed).await;
        register(&app, "decomposed", decomposed).await.expect(201);
        app.login("decomposed", composed).await;
        // 24 letters of 3 bytes decomposed are 48 bytes composed: counted after normalization.
        register(&app, "counted", &"e\u{301}".repeat(36)).await.expect(201);
        app.login("counted", &"\u{e9}".repeat(36)).await;
    }

    async fn a_password_change_ends_every_other_session_and_keeps_this_one(app: TestApp) {
        let john = app.user("johndoe").await;
        let [phone, laptop] = [app.login("johndoe", &john.password).await, app.login("johndoe", &john.password).await];
        let jane = app.user("janedoe").await;
        let change = json!({"current_password": john.password, "new_password": "new-kq7-Vw2.zR9"});
        let answer = app.post("/auth/password").bearer(&laptop.access).json(&change).send().await.expect(204);
        assert!(answer.body.is_empty());
        for ended in [&john, &phone] {
            app.me(&ended.access).await.problem(401, "token_revoked");
            app.refresh(&ended.refresh).await.problem_of(401);
        }
        app.me(&laptop.access).await.expect(200);
        app.refresh(&laptop.refresh).await.expect(200);
        app.me(&jane.access).await.expect(200);
        app.try_login("johndoe", &john.password).await.problem(401, "invalid_credentials");
        app.login("johndoe", "new-kq7-Vw2.zR9").await;
    }

    async fn a_wrong_current_password_changes_nothing(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        let change = |current: &str, new: &str| {
            let body = json!({"current_password": current, "new_password": new});
            app.post("/auth/password").bearer(&john.access).json(&body).send()
        };
        for wrong in ["wrong password", "", &"x".repeat(100)] {
            change(wrong, "new-kq7-Vw2.zR9").await.problem(403, "wrong_password");
        }
        for bad in ["short", "password", "johndoe", "johndoe@example.com", &password(73)] {
            change(&john.password, bad).await.invalid(&["new_password"]);
        }
        app.post("/auth/password").bearer(&john.access).json(&json!({})).send().await.invalid(&["current_password"]);
        app.me(&other.access).await.expect(200);
        app.login("johndoe", &john.password).await;
    }

    async fn a_password_set_by_an_admin_ends_all_sessions(app: TestApp) {
        let john = app.user("johndoe").await;
        app.change_user(&john.id, json!({"password": "new-kq7-Vw2.zR9"})).await;
        app.me(&john.access).await.problem(401, "token_revoked");
        app.refresh(&john.refresh).await.problem_of(401);
        app.try_login("johndoe", &john.password).await.problem(401, "invalid_credentials");
        app.login("johndoe", "new-kq7-Vw2.zR9").await;
    }
}
