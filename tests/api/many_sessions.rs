//! Users with very many sessions: all of them end at once, on every instance, and nobody else's do; and whoever
//! ends sessions in whatever way at the same time does not lock the others out.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Account, Backend, Database, TestApp, eventually, on_both_databases, slot};

/// More than can be noted one by one in the time of a request.
const MANY: u32 = 25_000;

/// What api.md gives an instance to hear of a change.
const SOON: Duration = Duration::from_secs(1);

/// Makes sessions of a user that nobody has a token for.
async fn make_sessions(database: &Database, user: &str, count: u32) {
    let columns = "session_id, user_id, current_hash, created_at, expires_at, last_used_at";
    let user = database.id(user);
    database
        .execute(&match database.backend() {
            Backend::Sqlite => format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                 INSERT INTO refresh_tokens ({columns})
                 SELECT randomblob(16), {user}, randomblob(32), now, now + 86400000, now
                 FROM n, (SELECT unixepoch() * 1000 AS now)"
            ),
            Backend::Postgresql => format!(
                "INSERT INTO refresh_tokens ({columns})
                 SELECT gen_random_uuid(), {user}, sha256(i::text::bytea), now(), now() + interval '1 day', now()
                 FROM generate_series(1, {count}) AS i"
            ),
        })
        .await;
}

async fn count(database: &Database, what: &str) -> u32 {
    database.scalar(&format!("SELECT count(*) FROM {what}")).await.unwrap().parse().unwrap()
}

/// The ways in which all sessions of a user end, or all but one.
const WAYS: [&str; 5] = ["own", "password", "sessions", "deactivated", "deleted"];

async fn end_all(app: &TestApp, way: &str, user: &Account) -> u16 {
    let path = format!("/admin/users/{}", user.id);
    let answer = match way {
        "own" => app.ask(user, "DELETE", "/auth/sessions").await,
        "password" => {
            let change = json!({"current_password": user.password, "new_password": "new-kq7-Vw2.zR9"});
            app.tell(user, "POST", "/auth/password", &change).await
        }
        "sessions" => app.ask(app.admin().await, "DELETE", &format!("{path}/sessions")).await,
        "deactivated" => app.tell(app.admin().await, "PATCH", &path, &json!({"is_active": false})).await,
        "deleted" => app.ask(app.admin().await, "DELETE", &path).await,
        other => panic!("no way: {other}"),
    };
    answer.status
}

on_both_databases! {
    async fn very_many_sessions_end_with_one_change(app: TestApp) {
        let database = app.database();
        let jane = app.user("janedoe").await;
        for (n, way) in WAYS.into_iter().enumerate() {
            let first = app.user(&format!("john{n}")).await;
            let john = app.login(&first.username, &first.password).await;
            for session in [&first, &john, &jane] {
                app.me(&session.access).await.expect(200);
            }
            make_sessions(database, &john.id, MANY).await;
            let before = count(database, "changes WHERE kind = 'session'").await;
            let began = Instant::now();
            let status = end_all(&app, way, &john).await;
            assert!([200, 204].contains(&status), "{way}: {status} after {:?}", began.elapsed());
            assert_eq!(count(database, "changes WHERE kind = 'session'").await, before + 1, "{way}");
            // Those that are held too, at once; and nobody else's.
            app.me(&first.access).await.problem(401, "token_revoked");
            let stays = ["own", "password"].contains(&way);
            app.me(&john.access).await.expect(if stays { 200 } else { 401 });
            app.me(&jane.access).await.expect(200);
        }
    }
}

#[tokio::test]
async fn very_many_sessions_are_over_on_the_other_instance_within_a_second() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let one = database.app().start().await;
    let other = database.another_app().start().await;
    let jane = one.user("janedoe").await;
    let john = one.user("johndoe").await;
    make_sessions(&database, &john.id, MANY).await;
    for session in [&john, &jane] {
        other.me(&session.access).await.expect(200);
    }
    assert_eq!(end_all(&one, "sessions", &john).await, 204);
    eventually("the session is over", SOON, || async { other.me(&john.access).await.status == 401 }).await;
    other.me(&jane.access).await.expect(200);
}

#[tokio::test]
async fn sessions_that_are_ended_in_all_ways_at_once_lock_nobody_out() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let apps = &[database.app().start().await, database.another_app().start().await];
    for app in apps {
        app.admin().await;
    }
    for round in 0..8 {
        let mut users = Vec::new();
        for n in 0..3 {
            let user = apps[0].user(&format!("john{round}x{n}")).await;
            make_sessions(&database, &user.id, 300).await;
            users.push(user);
        }
        let calls = users.iter().flat_map(|user| {
            WAYS.into_iter().enumerate().map(move |(n, way)| async move {
                let status = end_all(&apps[n % 2], way, user).await;
                // Who was faster may have ended the session of the call, or deleted the user.
                assert!([200, 204, 401, 403, 404].contains(&status), "round {round}, {way}: {status}");
            })
        });
        join_all(calls).await;
        for user in &users {
            assert_eq!(count(&database, &format!("refresh_tokens WHERE user_id = '{}'", user.id)).await, 0);
        }
    }
}
