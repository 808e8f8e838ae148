//! The disk of `DATA_DIR` full, under load: a tmpfs, so it needs the right to mount one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::load::{Kind, Load, RECORDED, assert_recorded_once};
use crate::support::{Account, Backend, Database, TestApp, eventually, not_tested, slot};
use crate::{assert_whole, metric, short_or_full};

/// A small disk; it goes with the test.
struct Disk(PathBuf);

impl Disk {
    /// None where we may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(&at).output();
        if mounted.is_ok_and(|ran| ran.status.success()) {
            return Some(Self(at));
        }
        not_tested("a full disk: a tmpfs can't be mounted here", "AUDIT_FAULTS_TMPFS");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        for block in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the service may have files open there still.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

async fn on_a_small_disk(fails_open: &str) -> Option<(Disk, TestApp, Account)> {
    // On SQLite the database itself would lie there.
    let database = Database::fresh(Backend::Postgresql).await?;
    let launch = database.app().env("AUDIT_FAIL_OPEN", fails_open);
    let disk = Disk::mount(launch.data_dir())?;
    let app = launch.start().await;
    let john = app.user("johndoe").await;
    app.admin().await;
    Some((disk, app, john))
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn a_full_disk_refuses_what_would_go_unrecorded() {
    let _slot = slot().await;
    let Some((disk, mut app, john)) = on_a_small_disk("false").await else { return };
    assert!(!is_empty(&disk.0));
    let load = Load::start(&app, &john, RECORDED, "disk");
    for _ in 0..short_or_full(2, 20) {
        load.more(100, |answer| answer.status != 503).await;
        disk.fill();
        load.more(50, |answer| answer.status == 503).await;
        app.get("/healthz").send().await.expect(200);
        disk.make_room();
        load.more(50, |answer| answer.status != 503).await;
        eventually("all is well again", Duration::from_secs(10), || async { app.me(&john.access).await.status == 200 })
            .await;
    }
    let mut answers = load.end();
    for (id, answer) in &answers {
        assert!([answer.kind.status(), 503].contains(&answer.status), "{id}: {answer:?}");
    }
    // What was refused need not be there.
    answers.retain(|_, answer| answer.status != 503);
    assert_recorded_once(app.database(), &answers, "disk").await;
    assert_eq!(metric(&app, "portcullis_audit_lost_total").await, 0.0);
    app.terminate().await;
    assert_whole(&app.launch);
}

#[tokio::test]
async fn a_full_disk_that_fails_open_answers_and_counts() {
    let _slot = slot().await;
    let Some((disk, mut app, john)) = on_a_small_disk("true").await else { return };
    let load = Load::start(&app, &john, RECORDED, "open");
    for _ in 0..short_or_full(1, 5) {
        load.more(50, |_| true).await;
        disk.fill();
        let lost = metric(&app, "portcullis_audit_lost_total").await;
        eventually("what is lost is counted", Duration::from_secs(30), || async {
            metric(&app, "portcullis_audit_lost_total").await > lost + 20.0
        })
        .await;
        load.more(50, |answer| answer.kind == Kind::Change).await;
        disk.make_room();
        load.more(50, |_| true).await;
    }
    for (id, answer) in load.end() {
        assert_eq!(answer.status, answer.kind.status(), "{id}: {answer:?}");
    }
    let answer = app.me(&john.access).await.expect(200);
    assert_eq!(app.record_of(&answer).await["action"], "READ_PROFILE");
    app.terminate().await;
    assert_whole(&app.launch);
}
