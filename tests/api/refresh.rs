//! `POST /auth/refresh`: rotation, the grace for lost answers, and reuse.

use serde_json::{Value, json};

use crate::support::{Account, Answer, Database, TestApp, claims, now, on_both_databases};

fn access(answer: &Answer) -> String {
    answer.json()["access_token"].as_str().expect("an access token").to_owned()
}

fn refresh(answer: &Answer) -> String {
    answer.json()["refresh_token"].as_str().expect("a refresh token").to_owned()
}

async fn rotate(app: &TestApp, token: &str) -> String {
    refresh(&app.refresh(token).await.expect(200))
}

async fn assert_ended(app: &TestApp, session: &Account) {
    app.me(&session.access).await.problem(401, "token_revoked");
    assert_eq!(app.refresh(&session.refresh).await.status, 401);
}

on_both_databases! {
    async fn a_refresh_gives_new_tokens_of_the_same_session(app: TestApp) {
        let john = app.user("johndoe").await;
        let answer = app.refresh(&john.refresh).await.expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.json()["token_type"], "bearer");
        assert_eq!(answer.json()["expires_in"], 1800);
        let new = access(&answer);
        assert_eq!(claims(&new)["sid"], claims(&john.access)["sid"]);
        assert_eq!(claims(&new)["sub"], john.id.as_str());
        app.me(&new).await.expect(200);
        // The older access token lives on until it expires.
        app.me(&john.access).await.expect(200);
        let mut token = refresh(&answer);
        for _ in 0..5 {
            token = rotate(&app, &token).await;
        }
    }

    async fn one_token_refreshed_twice_within_the_grace_time_has_one_successor(app: TestApp) {
        let john = app.user("johndoe").await;
        let (first, second) = (rotate(&app, &john.refresh).await, rotate(&app, &john.refresh).await);
        assert_eq!(first, second);
        rotate(&app, &first).await;
    }

    async fn fifty_parallel_refreshes_of_one_token_give_one_successor(app: TestApp) {
        let john = app.user("johndoe").await;
        let answers = futures_util::future::join_all((0..50).map(|_| app.refresh(&john.refresh))).await;
        let mut successors: Vec<String> = answers.into_iter().map(|answer| refresh(&answer.expect(200))).collect();
        successors.dedup();
        assert_eq!(successors.len(), 1, "{successors:#?}");
        app.me(&john.access).await.expect(200);
        let next = app.refresh(&successors[0]).await.expect(200);
        app.me(&access(&next)).await.expect(200);
    }

    async fn a_replay_after_the_grace_time_ends_that_session_and_no_other(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        let next = app.refresh(&john.refresh).await.expect(200);
        app.database().age_rotation(&john.session()).await;
        // What was rotated an hour ago is the current token still ...
        let current = app.refresh(&refresh(&next)).await.expect(200);
        app.database().age_rotation(&john.session()).await;
        // ... and its parent is a stolen one.
        let replay = app.refresh(&refresh(&next)).await;
        replay.problem_of(401);
        app.me(&access(&current)).await.problem(401, "token_revoked");
        app.me(&john.access).await.problem(401, "token_revoked");
        app.refresh(&refresh(&current)).await.problem_of(401);
        app.me(&other.access).await.expect(200);
        app.refresh(&other.refresh).await.expect(200);
        let record = app.record_of(&replay).await;
        assert_eq!(record["action"], "REFRESH_TOKEN_REUSE");
        assert_eq!(record["outcome"], "denied");
        assert_eq!(record["user_id"], john.id.as_str());
        assert_eq!(app.audit("action=REFRESH_TOKEN_REUSE").await.len(), 1);
    }

    async fn reuse_of_a_grandparent_ends_the_session_even_within_the_grace_time(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        let parent = rotate(&app, &john.refresh).await;
        let current = rotate(&app, &parent).await;
        let replay = app.refresh(&john.refresh).await;
        replay.problem_of(401);
        app.refresh(&current).await.problem_of(401);
        app.refresh(&parent).await.problem_of(401);
        assert_ended(&app, &john).await;
        app.me(&other.access).await.expect(200);
        assert_eq!(app.record_of(&replay).await["action"], "REFRESH_TOKEN_REUSE");
    }

    async fn a_refresh_token_is_no_access_token_and_the_reverse(app: TestApp) {
        let john = app.user("johndoe").await;
        app.me(&john.refresh).await.problem(401, "token_invalid");
        let answer = app.refresh(&john.access).await;
        answer.problem(401, "token_invalid");
        app.me(&john.access).await.expect(200);
        app.refresh(&john.refresh).await.expect(200);
    }

    async fn a_refresh_of_an_ended_session_or_a_deactivated_user_is_refused(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        app.post("/auth/logout").bearer(&john.access).send().await.expect(204);
        app.refresh(&john.refresh).await.problem(401, "token_revoked");
        app.change_user(&john.id, json!({"is_active": false})).await;
        app.refresh(&other.refresh).await.problem(401, "token_revoked");
    }

    async fn a_session_has_an_end_however_long_a_refresh_token_may_live(database: Database) {
        let app = database.app().env("SESSION_MAX_DAYS", "1").env("REFRESH_TOKEN_EXPIRE_DAYS", "7").start().await;
        let john = app.user("johndoe").await;
        let expires = |token: &str| claims(token)["exp"].as_i64().unwrap() - now();
        assert!((expires(&john.refresh) - 86_400).abs() < 120, "{}", expires(&john.refresh));
        let next = rotate(&app, &john.refresh).await;
        assert!((expires(&next) - 86_400).abs() < 120, "{}", expires(&next));
    }

    async fn rotations_keep_one_row_a_session(app: TestApp) {
        let john = app.user("johndoe").await;
        let mut token = john.refresh.clone();
        for _ in 0..4 {
            token = rotate(&app, &token).await;
        }
        let sessions = app.database().scalar("SELECT count(*) FROM refresh_tokens").await;
        assert_eq!(sessions.as_deref(), Some("1"));
        let records = app.audit(&format!("action=TOKEN_REFRESH&user_id={}", john.id)).await;
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|record| record["outcome"] == "success"));
    }

    async fn a_refresh_needs_a_token_and_says_what_is_wrong(app: TestApp) {
        app.post("/auth/refresh").json(&json!({})).send().await.invalid(&["refresh_token"]);
        app.post("/auth/refresh").json(&json!({"refresh_token": 5})).send().await.invalid(&["refresh_token"]);
        app.post("/auth/refresh").json(&json!({"refresh_token": Value::Null})).send().await.invalid(&["refresh_token"]);
        let big = "x".repeat(8_192);
        for nonsense in ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", &big] {
            let answer = app.refresh(nonsense).await;
            assert!([401, 422].contains(&answer.status), "{nonsense}: {}", answer.text());
            answer.problem_of(answer.status);
        }
    }
}
