//! Two processes on one `DATA_DIR`.

use std::time::{Duration, Instant};

use crate::load::{Load, RECORDED, assert_recorded_once};
use crate::support::{Database, on_both_databases};
use crate::{assert_whole, short_or_full};

on_both_databases! {
    async fn a_second_process_waits_for_the_first_and_takes_over(database: Database) {
        let mut first = database.app().start().await;
        let john = first.user("johndoe").await;
        let load = Load::start(&first, &john, RECORDED, "folder");
        load.more(50, |_| true).await;
        let (launch, runtime) = (database.app(), tokio::runtime::Handle::current());
        let begun = Instant::now();
        let second = tokio::task::spawn_blocking(move || runtime.block_on(launch.start()));
        // Commands come and go beside the running service.
        let create = ["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"];
        let exit = database.app().command_line(&create, "kq7-Vw2.zR9_tb4");
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert_whole(&database.app());
        tokio::time::sleep(Duration::from_secs(3).saturating_sub(begun.elapsed())).await;
        assert!(!second.is_finished(), "two on one folder");
        load.more(20, |_| true).await;
        first.terminate().await;
        let second = second.await.unwrap();
        second.has_logged("waiting for that process to end").await;
        load.turn_to(&second);
        load.more(50, |_| true).await;
        let answers = load.end();
        for (id, answer) in &answers {
            assert!([answer.kind.status(), 503].contains(&answer.status), "{id}: {answer:?}");
        }
        assert_recorded_once(&database, &answers, "folder").await;
        second.login("boss", "kq7-Vw2.zR9_tb4").await;
        assert_whole(&database.app());
    }

    async fn a_second_process_refuses_where_the_first_stays(database: Database) {
        if !short_or_full(false, true) {
            return;
        }
        let first = database.app().start().await;
        let begun = Instant::now();
        let exit = database.app().serve_to_end();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains("another process uses the audit journal"), "{exit:?}");
        assert!(begun.elapsed() > Duration::from_secs(29), "{:?}", begun.elapsed());
        first.user("johndoe").await;
        assert_whole(&database.app());
    }
}
