//! What the change feed tells of a connection that it loses, and what is written beside it.

use std::time::Duration;

use portcullis::domain::{Authority, PolicyChange, RoleName, SessionId, Timestamp, TokenHash, UserId, Username};
use portcullis::store::{Change, ChangeFeed, Checked, NewSession, NewUser, Store};

use crate::instance::settings;
use crate::support::{Backend, Database, slot};
use crate::tables::connect;

/// The next changes that can be had: while the feed connects anew, there may be none.
async fn next(feed: &mut ChangeFeed) -> Vec<Change> {
    for _ in 0..100 {
        if let Ok(changes) = feed.poll().await {
            return changes;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the feed can't be read");
}

async fn make_role(store: &Store, name: &str) {
    let role = PolicyChange::CreateRole(RoleName::parse(name).unwrap(), String::new());
    store.change_policy(Authority::System, vec![role], Timestamp::from_millis(0)).await.unwrap();
}

#[actix::test]
async fn a_slow_server_is_no_gap() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let store = Store::open(settings(&database)).await.unwrap();
    let mut feed = store.change_feed(Duration::from_millis(500));
    assert_eq!(next(&mut feed).await, []);
    make_role(&store, "one").await;
    let holder = connect(&database.url().unwrap().parse().unwrap()).await;
    holder.batch_execute("BEGIN; LOCK TABLE change_clocks").await.unwrap();
    for _ in 0..3 {
        assert!(feed.poll().await.is_err());
    }
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(next(&mut feed).await, [Change::Policy]);
}

#[tokio::test]
async fn a_lost_connection_is_a_gap_once() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let store = Store::open(settings(&database)).await.unwrap();
    let mut feed = store.change_feed(Duration::from_secs(1));
    assert_eq!(next(&mut feed).await, []);
    make_role(&store, "one").await;
    assert_eq!(next(&mut feed).await, [Change::Policy]);
    assert_eq!(next(&mut feed).await, []);

    // The server that answers then may have another history with the same numbers.
    database.set_away(true).await;
    for _ in 0..3 {
        assert!(feed.poll().await.is_err());
    }
    database.set_away(false).await;
    assert_eq!(next(&mut feed).await, [Change::Gap]);
    assert_eq!(next(&mut feed).await, []);
    make_role(&store, "two").await;
    assert_eq!(next(&mut feed).await, [Change::Policy]);
}

/// A user with two sessions, made at 0 and over after an hour.
async fn two_sessions(store: &Store) -> [SessionId; 2] {
    let (id, hash, now) = (UserId::generate(), "a hash".to_owned(), Timestamp::from_millis(0));
    let user = NewUser {
        id,
        username: Username::parse("johndoe").unwrap(),
        email: None,
        is_email_verified: false,
        full_name: None,
        password_hash: Some(hash.clone().into()),
        is_superuser: false,
        roles: Vec::new(),
        now,
    };
    store.create_user(user).await.unwrap();
    let sessions = [SessionId::generate(), SessionId::generate()];
    for session in sessions {
        let new = NewSession {
            id: session,
            user_id: id,
            current: TokenHash([0; 32]),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(3600)),
            ip_address: None,
            user_agent: None,
            checked: Checked::Password(hash.clone().into()),
        };
        assert!(store.create_session(new).await.unwrap());
    }
    sessions
}

#[actix::test]
async fn last_uses_and_expired_sessions_wait_for_nobodys_lock() {
    let _slot = slot().await;
    for backend in [Backend::Sqlite, Backend::Postgresql] {
        let Some(database) = Database::fresh(backend).await else { continue };
        let store = Store::open(settings(&database)).await.unwrap();
        let [held, free] = two_sessions(&store).await;
        let (at, later) = (Timestamp::from_millis, Timestamp::from_millis(7_200_000));
        let used = || vec![(free, at(60_000)), (held, at(60_000)), (free, at(120_000)), (held, at(120_000))];
        let last_use = async |id| store.find_session(id).await.unwrap().map(|session| session.last_used_at);
        if let Some(url) = database.url() {
            let holder = connect(&url.parse().unwrap()).await;
            let lock = format!("BEGIN; SELECT 1 FROM refresh_tokens WHERE session_id = '{held}' FOR UPDATE");
            holder.batch_execute(&lock).await.unwrap();
            store.touch_sessions(used()).await.unwrap();
            assert_eq!((last_use(free).await, last_use(held).await), (Some(at(120_000)), Some(at(0))));
            assert_eq!(store.purge_expired(later).await.unwrap(), 1);
            assert_eq!((last_use(free).await, last_use(held).await), (None, Some(at(0))));
            holder.batch_execute("ROLLBACK").await.unwrap();
        }
        store.touch_sessions(used()).await.unwrap();
        store.touch_sessions(vec![(held, at(60_000))]).await.unwrap();
        assert_eq!(last_use(held).await, Some(at(120_000)));
        store.purge_expired(later).await.unwrap();
        assert_eq!((last_use(free).await, last_use(held).await), (None, None));
    }
}
