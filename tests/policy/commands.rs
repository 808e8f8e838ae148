//! What the command line changes is on record, or is not changed; and what it says, it says to whom listens.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{Backend, Database, Exit, Launch, slot};

const FILE: &str = "[roles.clerk]\npermissions = [\"projects:read\"]\n";
const PASSWORD: &str = "kq7-Vw2.zR9_tb4";

fn apply(launch: &Launch, text: &str, flags: &[&str]) -> Exit {
    launch.command_line(&[&["apply", "-"], flags].concat(), text)
}

fn create(launch: &Launch) -> Exit {
    let arguments = ["admin", "create", "--username", "boss", "--email", "boss@example.com", "--password-stdin"];
    launch.command_line(&arguments, PASSWORD)
}

async fn each_backend(check: impl AsyncFn(Database)) {
    let _slot = slot().await;
    for backend in [Backend::Sqlite, Backend::Postgresql] {
        let Some(database) = Database::fresh(backend).await else { continue };
        check(database).await;
    }
}

#[tokio::test]
async fn a_change_of_the_command_line_is_recorded_by_the_systems_name_of_who_made_it() {
    let who = Command::new("id").arg("-un").output().unwrap().stdout;
    let who = format!("cli:{}", String::from_utf8(who).unwrap().trim());
    each_backend(async |database| {
        let launch = database.app().env("USER", "mallory").env("LOGNAME", "mallory");
        assert_eq!(create(&launch).code, Some(0));
        assert_eq!(apply(&launch, FILE, &[]).code, Some(0));
        let records = "FROM audit_logs WHERE source = 'cli' AND username";
        for (action, count) in [("CREATE_USER", 1), ("CREATE_ROLE", 1), ("GRANT_PERMISSION", 1)] {
            let query = format!("SELECT count(*) {records} = '{who}' AND action = '{action}'");
            assert_eq!(database.audit_scalar(&query).await, Some(count.to_string()), "{action}");
        }
        assert_eq!(database.audit_scalar(&format!("SELECT count(*) {records} <> '{who}'")).await.as_deref(), Some("0"));
        let metadata = "SELECT metadata FROM audit_logs WHERE action = 'GRANT_PERMISSION'";
        let metadata: serde_json::Value =
            serde_json::from_str(&database.audit_scalar(metadata).await.unwrap()).unwrap();
        assert_eq!(metadata["permission"], "projects:read");
        assert_eq!(metadata["file"], "-");
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_recorded_is_not_changed() {
    each_backend(async |database| {
        let launch = database.app();
        assert_eq!(launch.command_line(&["migrate"], "").code, Some(0));
        // No folder can be made where a file is.
        std::fs::create_dir_all(launch.data_dir()).unwrap();
        std::fs::write(launch.data_dir().join("audit"), "").unwrap();
        let (created, applied) = (create(&launch), apply(&launch, FILE, &[]));
        let users = database.scalar("SELECT count(*) FROM users").await;
        let roles = database.scalar("SELECT count(*) FROM roles").await;
        if database.backend() == Backend::Sqlite {
            for exit in [created, applied] {
                assert_eq!(exit.code, Some(1), "{exit:?}");
                assert!(exit.stderr.lines().count() == 1 && exit.stderr.contains("audit"), "{exit:?}");
            }
            assert_eq!((users.as_deref(), roles.as_deref()), (Some("0"), Some("3")));
        } else {
            // The record is in the change's own transaction.
            assert_eq!((created.code, applied.code), (Some(0), Some(0)), "{created:?} {applied:?}");
            assert_eq!((users.as_deref(), roles.as_deref()), (Some("1"), Some("4")));
            let count = database.audit_scalar("SELECT count(*) FROM audit_logs").await;
            assert_eq!(count.as_deref(), Some("3"));
            // And where it can't be written, neither is made.
            database.execute("ALTER TABLE audit_logs ADD CHECK (action <> 'DELETE_ROLE')").await;
            let exit = apply(&launch, "", &["--prune"]);
            assert_eq!(exit.code, Some(1), "{exit:?}");
            assert_eq!(database.scalar("SELECT count(*) FROM roles").await.as_deref(), Some("4"));
        }
        // Nothing to record, nothing to write.
        assert_eq!(apply(&launch, FILE, &["--dry-run"]).code, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_lets_who_registers_administer_is_refused_with_its_line() {
    each_backend(async |database| {
        let launch = database.app();
        let text =
            format!("{FILE}\n[roles.viewer]\nincludes = [\"boss\"]\n\n[roles.boss]\npermissions = [\"users:*\"]\n");
        for flags in [&["--dry-run"][..], &[]] {
            let exit = apply(&launch, &text, flags);
            assert_eq!(exit.code, Some(1), "{exit:?}");
            assert!(exit.stderr.contains("-:4: ") && exit.stderr.contains("DEFAULT_ROLE"), "{exit:?}");
        }
        let others = launch.clone().env("DEFAULT_ROLE", "clerk");
        assert_eq!(apply(&others, &text, &[]).code, Some(0));
        // The role that they get does not go either.
        let exit = apply(&others, "", &["--prune"]);
        assert!(exit.code == Some(1) && exit.stderr.contains("clerk is DEFAULT_ROLE"), "{exit:?}");
    })
    .await;
}

#[tokio::test]
async fn who_has_read_enough_ends_no_command_with_an_error() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    assert_eq!(launch.command_line(&["migrate"], "").code, Some(0));
    for arguments in [&["config", "check"][..], &["export"], &["migrate"], &["--help"], &["keys", "--help"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir(launch.home.path()).env("DATA_DIR", launch.data_dir());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success() && !said.contains("panicked"), "{arguments:?}: {status:?} {said}");
    }
}
