//! What the change feed tells of a connection that it loses.

use std::time::Duration;

use portcullis::domain::{Authority, PolicyChange, RoleName, Timestamp};
use portcullis::store::{Change, ChangeFeed, Store};

use crate::instance::settings;
use crate::support::{Backend, Database, slot};

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

#[tokio::test]
async fn a_lost_connection_is_a_gap_once() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let (store, reader) = (Store::open(settings(&database)).await.unwrap(), Store::open(settings(&database)).await);
    let mut feed = reader.unwrap().change_feed(Duration::from_secs(1));
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
    assert_eq!(next(&mut feed).await, []);
    database.execute("UPDATE change_clocks SET version = version").await;
    assert_eq!(next(&mut feed).await, []);
}
