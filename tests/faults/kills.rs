//! `kill -9`, again and again, under load.

use crate::load::{Load, RECORDED, assert_recorded_once};
use crate::support::{Database, on_both_databases};
use crate::{assert_whole, short_or_full};

on_both_databases! {
    async fn kills_under_load_lose_and_double_nothing(database: Database) {
        let mut app = database.app().start().await;
        let john = app.user("johndoe").await;
        let load = Load::start(&app, &john, RECORDED, "kill");
        for _ in 0..short_or_full(3, 100) {
            load.more(60, |_| true).await;
            app.kill().await;
            app = app.launch.clone().start().await;
            load.turn_to(&app);
        }
        load.more(60, |_| true).await;
        let answers = load.end();
        for (id, answer) in &answers {
            assert_eq!(answer.status, answer.kind.status(), "{id}: {answer:?}");
        }
        assert_recorded_once(&database, &answers, "kill").await;
        assert_whole(&app.launch);
        app.terminate().await;
        assert_whole(&app.launch);
    }
}
