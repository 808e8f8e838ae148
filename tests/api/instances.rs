//! Two instances on one PostgreSQL: what one decides holds on the other within a second, also where the other
//! loses its connections to the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{Account, Backend, Database, TestApp, eventually, slot};

/// What api.md gives an instance to hear of a change.
const SOON: Duration = Duration::from_secs(1);

/// Two instances, or none where there is no PostgreSQL.
async fn pair() -> Option<(TestApp, TestApp)> {
    let database = Database::fresh(Backend::Postgresql).await?;
    let first = database.app().start().await;
    Some((first, database.another_app().start().await))
}

/// Asks the instance without a pause while `work` goes on, as someone, so that its caches are warm and busy.
async fn under_load<T>(app: &TestApp, busy: &Account, statuses: &[u16], work: impl Future<Output = T>) -> T {
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
    let load = futures_util::future::join_all((0..4).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            app.me(&busy.access).await.expect_one_of(statuses);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let work = async {
        let done = work.await;
        is_over.store(true, Ordering::Relaxed);
        done
    };
    let (done, _) = tokio::join!(work, load);
    assert!(answered.load(Ordering::Relaxed) > 0, "no load at all");
    done
}

async fn revoked_soon(app: &TestApp, session: &Account) {
    eventually("the session is revoked on the other instance", SOON, || async {
        let answer = app.me(&session.access).await;
        assert!([200, 401].contains(&answer.status), "{}", answer.text());
        answer.status == 401
    })
    .await;
    app.me(&session.access).await.problem(401, "token_revoked");
    app.refresh(&session.refresh).await.problem_of(401);
}

#[tokio::test]
async fn a_session_of_one_instance_works_on_the_other() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let john = one.user("johndoe").await;
    other.me(&john.access).await.expect(200);
    let next = other.refresh(&john.refresh).await.expect(200).json();
    let next = next["refresh_token"].as_str().unwrap();
    // The same successor, whichever instance is asked.
    assert_eq!(one.refresh(&john.refresh).await.expect(200).json()["refresh_token"], next);
    one.refresh(next).await.expect(200);
}

#[tokio::test]
async fn parallel_refreshes_on_two_instances_give_one_successor() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let john = one.user("johndoe").await;
    let calls = (0..30).map(|n| if n % 2 == 0 { &one } else { &other }).map(|app| app.refresh(&john.refresh));
    let answers = futures_util::future::join_all(calls).await;
    let mut successors: Vec<_> =
        answers.into_iter().map(|answer| answer.expect(200).json()["refresh_token"].clone()).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1, "{successors:#?}");
    other.refresh(successors[0].as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn a_logout_holds_on_the_other_instance_within_a_second() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let busy = one.user("busy").await;
    let john = one.user("johndoe").await;
    under_load(&other, &busy, &[200], async {
        for _ in 0..3 {
            let session = one.login("johndoe", &john.password).await;
            other.me(&session.access).await.expect(200);
            one.post("/auth/logout").bearer(&session.access).send().await.expect(204);
            revoked_soon(&other, &session).await;
        }
    })
    .await;
    other.me(&john.access).await.expect(200);
}

#[tokio::test]
async fn a_role_holds_on_the_other_instance_within_a_second_and_so_does_its_end() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let busy = one.user("busy").await;
    let john = one.user("johndoe").await;
    let may_create = |app: &TestApp| app.get("/auth/verify?permission=projects:create").bearer(&john.access).send();
    may_create(&other).await.expect(403);
    under_load(&other, &busy, &[200], async {
        for _ in 0..3 {
            for (method, status) in [("PUT", 200), ("DELETE", 403)] {
                one.set_role(method, &john.id, "analyst").await;
                may_create(&one).await.expect(status);
                eventually("the role's change is known", SOON, || async { may_create(&other).await.status == status })
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_deactivation_holds_on_the_other_instance_within_a_second() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let busy = one.user("busy").await;
    let john = one.user("johndoe").await;
    other.me(&john.access).await.expect(200);
    under_load(&other, &busy, &[200], async {
        one.change_user(&john.id, json!({"is_active": false})).await;
        revoked_soon(&other, &john).await;
    })
    .await;
}

#[tokio::test]
async fn a_password_change_and_a_reuse_end_sessions_on_the_other_instance() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let john = one.user("johndoe").await;
    let [phone, laptop] = [one.login("johndoe", &john.password).await, one.login("johndoe", &john.password).await];
    for session in [&john, &phone, &laptop] {
        other.me(&session.access).await.expect(200);
    }
    let change = json!({"current_password": john.password, "new_password": "new-kq7-Vw2.zR9"});
    one.post("/auth/password").bearer(&john.access).json(&change).send().await.expect(204);
    revoked_soon(&other, &phone).await;
    revoked_soon(&other, &laptop).await;
    let parent = one.refresh(&john.refresh).await.expect(200).json()["refresh_token"].as_str().unwrap().to_owned();
    one.refresh(&parent).await.expect(200);
    one.refresh(&john.refresh).await.problem_of(401);
    revoked_soon(&other, &john).await;
}

#[tokio::test]
async fn two_who_demote_each_other_on_two_instances_leave_one() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let pair = [one.user("mallory").await, one.user("trudy").await];
    for account in &pair {
        one.change_user(&account.id, json!({"is_superuser": true})).await;
    }
    let demote = |app: &TestApp, who: &Account, whom: &Account| {
        let call = app.patch(&format!("/admin/users/{}", whom.id)).bearer(&who.access);
        call.json(&json!({"is_superuser": false})).send()
    };
    demote(&one, &pair[0], one.admin().await).await.expect(200);
    let (a, b) = tokio::join!(demote(&one, &pair[0], &pair[1]), demote(&other, &pair[1], &pair[0]));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200, "{} {}", a.text(), b.text());
    assert!([403, 409].contains(&statuses[1]), "{} {}", a.text(), b.text());
}

#[tokio::test]
async fn both_instances_start_at_once_on_an_empty_database() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let launches = [database.app(), database.another_app(), database.another_app()];
    // Each start waits in a thread of its own for its line.
    let starts = launches.map(|launch| {
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(launch.start())
        })
    });
    let apps = starts.map(|start| start.join().expect("starts"));
    for app in &apps {
        app.login("root_admin", "correct-horse-battery").await;
    }
    assert_eq!(database.scalar("SELECT count(*) FROM users").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn the_log_has_the_records_of_both_instances() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let john = one.user("johndoe").await;
    let mut ids = Vec::new();
    for app in [&one, &other, &one, &other] {
        let answer = app.me(&john.access).await.expect(200);
        ids.push(answer.header("x-request-id").unwrap().to_owned());
    }
    eventually("all records are found", Duration::from_secs(5), || async {
        let records = one.audit("limit=1000&action=READ_PROFILE").await;
        ids.iter().all(|id| records.iter().filter(|record| record["request_id"] == *id).count() == 1)
    })
    .await;
}

/// An instance by a database user of its own: that tells its connections from all others.
struct Cuttable {
    app: TestApp,
    database: Database,
    user: String,
}

impl Cuttable {
    async fn start(database: Database) -> Self {
        let name = database.scalar("SELECT current_database()").await.expect("a name");
        let user = format!("{name}_other");
        // What belongs to the first instance's user is this one's as well.
        database.execute(&format!("CREATE ROLE {user} LOGIN PASSWORD '{user}' IN ROLE CURRENT_USER")).await;
        let app = database.another_app().env("DATABASE_URL", &database.url_as(&user, &user)).start().await;
        Self { app, database, user }
    }

    /// Ends all its connections; whether there were any.
    async fn cut(&self) -> bool {
        let whose = format!("FROM pg_stat_activity WHERE usename = '{}'", self.user);
        let ended = self.database.scalar(&format!("SELECT count(pg_terminate_backend(pid)) {whose}")).await;
        ended.as_deref() != Some("0")
    }

    /// Makes a change elsewhere while the connections end, before it and before it can be heard of.
    async fn hears<Fut: Future<Output = bool>>(&self, what: &str, change: impl Future, holds: impl Fn() -> Fut) {
        assert!(!holds().await, "{what}: before the change");
        assert!(self.cut().await, "{what}: no connection to cut");
        change.await;
        // Where it has connected again by now, it loses these too.
        self.cut().await;
        eventually(what, SOON, holds).await;
    }
}

#[tokio::test]
async fn changes_hold_within_a_second_on_an_instance_that_loses_its_connections() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let one = database.app().start().await;
    let other = Cuttable::start(database).await;
    let busy = one.user("busy").await;
    one.make_role("runner", &[]).await;
    let john = one.holder("johndoe", &["runner"]).await;
    let answers = async |path: &str, who: &Account| {
        other.app.ask(who, "GET", path).await.expect_one_of(&[200, 401, 403, 503]).status
    };
    let lost = |permission: &'static str| {
        let (answers, john) = (&answers, &john);
        async move { answers(&format!("/auth/verify?permission={permission}"), john).await == 403 }
    };
    // Who is looked up just when a connection ends is told 503.
    under_load(&other.app, &busy, &[200, 503], async {
        for _ in 0..3 {
            let session = one.login("johndoe", &john.password).await;
            let logout = async { one.post("/auth/logout").bearer(&session.access).send().await.expect(204) };
            let over = || async { answers("/auth/me", &session).await == 401 };
            other.hears("the session is over", logout, over).await;

            one.set_role("PUT", &john.id, "analyst").await;
            eventually("the role is there", SOON, || other.app.passes(&john, "role=analyst")).await;
            let remove = one.set_role("DELETE", &john.id, "analyst");
            other.hears("the role is gone", remove, || lost("runs:create")).await;

            let grant = "/admin/roles/runner/permissions/runs:*";
            one.administer("PUT", grant).await;
            eventually("the grant is there", SOON, || other.app.passes(&john, "permission=runs:read")).await;
            let revoke = one.administer("DELETE", grant);
            other.hears("the grant is gone", revoke, || lost("runs:read")).await;

            one.make_role("flyer", &["runs:delete"]).await;
            one.set_role("PUT", &john.id, "flyer").await;
            eventually("the role is there", SOON, || other.app.passes(&john, "permission=runs:delete")).await;
            let delete = one.administer("DELETE", "/admin/roles/flyer");
            other.hears("the role is deleted", delete, || lost("runs:delete")).await;
        }
        let deactivate = one.change_user(&john.id, json!({"is_active": false}));
        let out = || async { answers("/auth/me", &john).await == 401 };
        other.hears("the user is out", deactivate, out).await;
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_made_again_at_once_is_nobodys_on_the_other_instance_either() {
    // Both changes are heard of in one look at the feed.
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    one.make_role("flyer", &["runs:delete"]).await;
    one.make_role("chief", &[]).await;
    one.include("chief", "flyer").await;
    let john = one.holder("johndoe", &["flyer", "viewer"]).await;
    let jane = one.holder("janedoe", &["chief", "viewer"]).await;
    for who in [&john, &jane] {
        let holds = || other.passes(who, "role=flyer&permission=runs:delete");
        eventually("the role is held", SOON, holds).await;
    }
    under_load(&other, &john, &[200], async {
        one.administer("DELETE", "/admin/roles/flyer").await;
        one.make_role("flyer", &["runs:delete", "runs:create"]).await;
        let new = one.holder("newdoe", &["flyer"]).await;
        // Who has it now shows that the new role has been heard of.
        eventually("the new role is known", SOON, || other.passes(&new, "permission=runs:create")).await;
        for who in [&john, &jane] {
            for check in ["role=flyer", "permission=runs:delete", "permission=runs:create"] {
                assert!(!one.passes(who, check).await && !other.passes(who, check).await, "{} {check}", who.username);
            }
            assert!(other.passes(who, "role=viewer").await);
        }
    })
    .await;
}
