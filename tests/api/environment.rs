//! The environment itself: bytes that are no text, the file of settings and its folder, secrets in URLs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Database, Exit, Launch, SECRET, slot};

fn check(launch: &Launch) -> Exit {
    launch.command_line(&["config", "check"], "")
}

/// Taken for unset, a secret would be made up, and a port be another one.
#[tokio::test]
async fn a_variable_that_is_not_utf_8_stops_the_start() {
    let _slot = slot().await;
    let secret = [SECRET.as_bytes(), b"\xff"].concat();
    for (name, bytes) in
        [("PORT", &b"80\xff80"[..]), ("JWT_SECRET_KEY", &secret), ("DEFAULT_ROLE", b"\xc3"), ("RUST_LOG", b"\xff")]
    {
        let launch = Database::sqlite().app().env(name, OsStr::from_bytes(bytes));
        for exit in [launch.serve_to_end(), check(&launch), launch.command_line(&["migrate"], "")] {
            exit.refused(name);
            assert!(!format!("{exit:?}").contains(&SECRET[..20]), "{exit:?}");
        }
        assert!(!launch.data_dir().join("portcullis.db").exists(), "{name}");
    }
}

/// Whoever may write to a folder above would else say what holds here.
#[tokio::test]
async fn the_file_of_settings_is_the_working_folders_own() {
    let _slot = slot().await;
    let launch = Database::sqlite().app().without("PORT");
    let inner = launch.home.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(launch.home.path().join(".env"), "PORT=above\n").unwrap();
    check(&launch).refused("PORT");
    let launch = launch.inside(&inner);
    let exit = check(&launch);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    std::fs::write(inner.join(".env"), "WORKERS=here\n").unwrap();
    check(&launch.without("WORKERS")).refused("WORKERS");
}

#[tokio::test]
async fn a_public_url_with_credentials_is_refused_without_them() {
    let _slot = slot().await;
    for url in ["https://user:kq7-Vw2@host.example", "https://kq7-Vw2@host.example", "http://u:kq7-Vw2@127.0.0.1:80/x"]
    {
        let launch = Database::sqlite().app().env("PUBLIC_URL", url);
        for exit in [check(&launch), launch.serve_to_end()] {
            exit.refused("PUBLIC_URL");
            assert!(!format!("{exit:?}").contains("kq7-Vw2"), "{exit:?}");
        }
    }
}

#[tokio::test]
async fn a_public_url_is_one_that_callbacks_and_cookies_can_go_to() {
    let _slot = slot().await;
    for url in
        ["http://auth.example.com", "https://auth.example.com?x", "https://auth.example.com/#x", "ftp://localhost"]
    {
        check(&Database::sqlite().app().env("PUBLIC_URL", url)).refused("PUBLIC_URL");
    }
    for url in ["https://auth.example.com/base/", "http://localhost:8080", "http://127.0.0.1:80"] {
        assert_eq!(check(&Database::sqlite().app().env("PUBLIC_URL", url)).code, Some(0), "{url}");
    }
}

/// However the URL is taken apart, the password is in none of the parts that are shown.
#[tokio::test]
async fn a_password_in_the_database_url_is_never_shown() {
    let _slot = slot().await;
    for url in [
        "postgres://me:s3cr3t@db/app",
        "postgres://me:s3cr3t?more@db/app",
        "postgres://me:s3cr3t#more@db/app",
        "postgres://me:s3cr3t/more@db/app",
        "postgres://me:s3cr3t@more@db/app",
        "postgres://me:more@s3cr3t@db/app",
        "postgres://me:s3cr3t@db:port/app",
        "postgres://db/app?user=me&password=s3cr3t",
        "mysql://me:s3cr3t@db/app",
    ] {
        let exit = check(&Database::sqlite().app().env("DATABASE_URL", url));
        assert!(!format!("{exit:?}").contains("s3cr3t"), "{url}: {exit:?}");
        assert!([Some(0), Some(78)].contains(&exit.code), "{url}: {exit:?}");
    }
}

#[tokio::test]
async fn a_filter_of_the_log_that_says_nothing_stops_the_start() {
    let _slot = slot().await;
    let launch = |value: &str| Database::sqlite().app().env("RUST_LOG", value);
    for bad in ["zzz=zzz", "portcullis=loud", "info,portcullis=debug=trace"] {
        check(&launch(bad)).refused("RUST_LOG");
        launch(bad).serve_to_end().refused("RUST_LOG");
    }
    for good in ["debug", "off", "warn,portcullis=debug", "portcullis"] {
        let exit = check(&launch(good));
        assert_eq!(exit.code, Some(0), "{good}: {exit:?}");
    }
}
