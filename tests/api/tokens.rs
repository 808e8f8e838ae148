//! Access tokens that somebody made or bent: each is refused, and says why only as far as is safe.

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::{Database, Forge, SECRET, TestApp, now, on_both_databases, slot};

const NOBODY: &str = "0197f1d0-0000-7000-8000-000000000000";

async fn assert_refused(app: &TestApp, what: &str, token: &str, code: &str) {
    let answer = app.me(token).await;
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    let problem = answer.problem_of(401);
    assert_eq!(problem["code"], code, "{what}: {problem}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
}

on_both_databases! {
    async fn a_token_signed_with_the_shared_secret_is_as_good_as_ours(app: TestApp) {
        // The other cases here rest on this: what they bend is all that is wrong with them.
        let john = app.user("johndoe").await;
        app.me(&john.forge().token()).await.expect(200);
    }

    async fn a_bent_token_is_invalid(app: TestApp) {
        let john = app.user("johndoe").await;
        let forge = || john.forge();
        let other_key = "another-key-of-good-length-another-key-of-good-length-another-key";
        let tokens = [
            ("another key", forge().signed_with(other_key).token()),
            ("another algorithm", forge().algorithm(Algorithm::HS512).token()),
            ("another algorithm", forge().algorithm(Algorithm::HS384).token()),
            ("alg none", forge().unsigned("none")),
            ("alg None", forge().unsigned("None")),
            ("no signature", forge().unsigned("HS256")),
            ("unknown algorithm", forge().unsigned("XS256")),
            ("another issuer", forge().claim("iss", "https://sso.example").token()),
            ("another audience", forge().claim("aud", "projects").token()),
            ("no issuer", forge().without("iss").token()),
            ("no audience", forge().without("aud").token()),
            ("type refresh", forge().claim("token_use", "refresh").token()),
            ("type id", forge().claim("token_use", "id").token()),
            ("no type", forge().without("token_use").token()),
            ("no expiry", forge().without("exp").token()),
            ("expiry no number", forge().claim("exp", "tomorrow").token()),
            ("no user", forge().without("sub").token()),
            ("no session", forge().without("sid").token()),
            ("user no id", forge().claim("sub", "johndoe").token()),
            ("session no id", forge().claim("sid", "mine").token()),
            ("issued in an hour", forge().claim("iat", now() + 3_600).token()),
            ("not before an hour", forge().claim("nbf", now() + 3_600).token()),
        ];
        for (what, token) in &tokens {
            assert_refused(&app, what, token, "token_invalid").await;
        }
        app.me(&john.access).await.expect(200);
    }

    async fn an_expired_token_is_expired_to_the_second(app: TestApp) {
        let john = app.user("johndoe").await;
        for ago in [1, 30, 3_600] {
            let token = john.forge().claim("iat", now() - 7_200).claim("exp", now() - ago).token();
            assert_refused(&app, "expired", &token, "token_expired").await;
        }
        let token = john.forge().claim("exp", now() + 30).token();
        app.me(&token).await.expect(200);
    }

    async fn a_clock_that_is_a_little_ahead_is_forgiven(app: TestApp) {
        let john = app.user("johndoe").await;
        let token = john.forge().claim("iat", now() + 30).claim("nbf", now() + 30).token();
        app.me(&token).await.expect(200);
        let token = john.forge().claim("nbf", now() + 120).token();
        assert_refused(&app, "not yet valid", &token, "token_invalid").await;
    }

    async fn a_token_of_an_unknown_user_or_session_is_revoked(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        for (what, token) in [
            ("unknown user", john.forge().claim("sub", NOBODY).token()),
            ("unknown session", john.forge().claim("sid", NOBODY).token()),
            ("another user's session", john.forge().claim("sid", jane.session()).token()),
            ("another user", john.forge().claim("sub", jane.id.clone()).token()),
        ] {
            assert_refused(&app, what, &token, "token_revoked").await;
        }
        app.me(&john.access).await.expect(200);
    }

    async fn a_token_of_a_deactivated_user_is_revoked(app: TestApp) {
        let john = app.user("johndoe").await;
        app.me(&john.access).await.expect(200);
        app.change_user(&john.id, json!({"is_active": false})).await;
        assert_refused(&app, "deactivated", &john.access, "token_revoked").await;
        app.change_user(&john.id, json!({"is_active": true})).await;
        assert_refused(&app, "ended while deactivated", &john.access, "token_revoked").await;
        app.login("johndoe", &john.password).await;
    }
}

#[tokio::test]
async fn a_tampered_token_is_invalid_wherever_it_was_touched() {
    let _slot = slot().await;
    let app = Database::sqlite().app().start().await;
    let john = app.user("johndoe").await;
    let token = &john.access;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let admins =
        Forge::from(token).claim("sub", app.admin().await.id.clone()).signed_with("x".repeat(64).as_str()).token();
    let admins_payload = admins.split('.').nth(1).unwrap();
    let mut flipped = signature.as_bytes().to_vec();
    flipped[5] = if flipped[5] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for (what, token) in [
        ("another payload", format!("{header}.{admins_payload}.{signature}")),
        ("a bit of the signature", format!("{signed}.{flipped}")),
        ("a cut signature", format!("{signed}.{}", &signature[..signature.len() - 4])),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{token}.{signature}")),
        ("an empty header", format!(".{payload}.{signature}")),
        ("no token", "x".to_owned()),
        ("dots", "..".to_owned()),
        ("8 kB", "e".repeat(8_000)),
        ("8 kB of a token", format!("{token}{}", "A".repeat(8_000 - token.len()))),
    ] {
        assert_refused(&app, what, &token, "token_invalid").await;
    }
    app.me(token).await.expect(200);
}

#[tokio::test]
async fn the_key_can_be_changed_while_the_old_one_still_verifies() {
    let _slot = slot().await;
    let database = Database::sqlite();
    let app = database.app().start().await;
    let john = app.user("johndoe").await;
    drop(app);
    let next = "the-next-key-of-good-length-the-next-key-of-good-length-the-next-key";
    let launch = database.app().env("JWT_SECRET_KEY", next);
    launch.serve_to_end().refused("JWT_SECRET_KEY");
    let app = launch.env("JWT_PREVIOUS_SECRET_KEY", SECRET).start().await;
    app.me(&john.access).await.expect(200);
    app.refresh(&john.refresh).await.expect(200);
    app.user("janedoe").await;
}
