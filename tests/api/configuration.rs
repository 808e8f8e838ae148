//! Settings: what stops a start, with one line that names what to mend.

use std::path::Path;

use crate::support::{Backend, Database, SECRET, on_both_databases, slot};

/// Every variable of the service itself (the sign-in providers' are listed with them).
const VARIABLES: &[&str] = &[
    "JWT_SECRET_KEY",
    "JWT_ALGORITHM",
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "REFRESH_TOKEN_EXPIRE_DAYS",
    "ENABLE_AUTHENTICATION",
    "ENABLE_AUDIT_LOGGING",
    "HOST",
    "PORT",
    "WORKERS",
    "DATA_DIR",
    "RUST_LOG",
    "DATABASE_URL",
    "JWT_PREVIOUS_SECRET_KEY",
    "JWT_PRIVATE_KEY_FILE",
    "JWT_PREVIOUS_KEY_FILES",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "BOOTSTRAP_ADMIN_USERNAME",
    "BOOTSTRAP_ADMIN_EMAIL",
    "BOOTSTRAP_ADMIN_PASSWORD",
    "ALLOW_INSECURE",
    "ENABLE_REGISTRATION",
    "DEFAULT_ROLE",
    "PASSWORD_MIN_LENGTH",
    "PASSWORD_BCRYPT_COST",
    "REFRESH_REUSE_GRACE_SECONDS",
    "SESSION_MAX_DAYS",
    "CORS_ALLOWED_ORIGINS",
    "REQUEST_TIMEOUT_SECONDS",
    "AUTHZ_MAX_STALENESS_SECONDS",
    "RBAC_CACHE_MAX_USERS",
    "TRUSTED_PROXIES",
    "AUDIT_FSYNC",
    "AUDIT_FAIL_OPEN",
    "AUDIT_JOURNAL_MAX_BYTES",
    "AUDIT_JOURNAL_KEEP",
    "AUDIT_RETENTION_DAYS",
    "DATABASE_TIMEOUT_SECONDS",
];

#[test]
fn the_example_environment_names_every_variable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    let example = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let names: Vec<&str> = example
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .map(|(name, _)| name.trim())
        .collect();
    let missing: Vec<&&str> = VARIABLES.iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty(), "not in .env.example: {missing:?}");
}

#[tokio::test]
async fn what_can_not_be_read_stops_the_start() {
    let _slot = slot().await;
    for (name, value) in [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("HOST", "not a host"),
        ("WORKERS", "many"),
        ("JWT_ALGORITHM", "none"),
        ("JWT_ALGORITHM", "HS1024"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "soon"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
        ("REFRESH_TOKEN_EXPIRE_DAYS", "-1"),
        ("ENABLE_AUTHENTICATION", "maybe"),
        ("ENABLE_AUDIT_LOGGING", "maybe"),
        ("PASSWORD_BCRYPT_COST", "9"),
        ("PASSWORD_BCRYPT_COST", "17"),
        ("PASSWORD_MIN_LENGTH", "x"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "nonsense"),
        ("AUDIT_FSYNC", "sometimes"),
        ("SESSION_MAX_DAYS", "x"),
        ("REQUEST_TIMEOUT_SECONDS", "x"),
        ("DEFAULT_ROLE", "Not A Role"),
    ] {
        Database::sqlite().app().env(name, value).serve_to_end().refused(name);
    }
}

#[tokio::test]
async fn a_short_secret_or_a_placeholder_stops_the_start() {
    let _slot = slot().await;
    let secret = |bytes: usize| SECRET.chars().take(bytes).collect::<String>();
    for (algorithm, bytes) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let launch = |bytes: usize| {
            let launch = Database::sqlite().app().env("JWT_ALGORITHM", algorithm);
            launch.env("JWT_SECRET_KEY", &secret(bytes)).command_line(&["config", "check"], "")
        };
        launch(bytes - 1).refused("JWT_SECRET_KEY");
        let exit = launch(bytes);
        assert_eq!(exit.code, Some(0), "{algorithm} {bytes}: {exit:?}");
    }
    for placeholder in ["your-secret-key-here", "changeme", "secret"] {
        let exit = Database::sqlite().app().env("JWT_SECRET_KEY", placeholder).serve_to_end();
        exit.refused("JWT_SECRET_KEY");
        assert!(!exit.stderr.contains(&SECRET[..20]), "{exit:?}");
    }
    // The refusal does not tell the secret.
    let exit = Database::sqlite().app().env("JWT_SECRET_KEY", "tell-nobody-of-this").serve_to_end();
    assert!(!exit.stderr.contains("tell-nobody-of-this"), "{exit:?}");
}

#[tokio::test]
async fn half_a_bootstrap_administrator_stops_the_start() {
    let _slot = slot().await;
    for missing in ["BOOTSTRAP_ADMIN_USERNAME", "BOOTSTRAP_ADMIN_EMAIL", "BOOTSTRAP_ADMIN_PASSWORD"] {
        Database::sqlite().app().without(missing).serve_to_end().refused("BOOTSTRAP_ADMIN_");
        // An empty one is no more than none.
        Database::sqlite().app().env(missing, "").serve_to_end().refused("BOOTSTRAP_ADMIN_");
    }
    let exit = Database::sqlite().app().env("BOOTSTRAP_ADMIN_PASSWORD", "short").serve_to_end();
    exit.refused("BOOTSTRAP_ADMIN_PASSWORD");
}

#[tokio::test]
async fn a_secret_is_made_and_kept_on_sqlite() {
    use std::os::unix::fs::PermissionsExt;
    let _slot = slot().await;
    let database = Database::sqlite();
    let app = database.app().without("JWT_SECRET_KEY").start().await;
    let john = app.user("johndoe").await;
    app.has_logged("JWT_SECRET_KEY").await;
    assert!(app.log().lines().any(|line| line.contains("WARN") && line.contains("JWT_SECRET_KEY")), "{}", app.log());
    let mut secrets = 0;
    for entry in std::fs::read_dir(app.launch.data_dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["secret", "key", "jwt"].iter().any(|word| name.contains(word)) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
            secrets += 1;
        }
    }
    assert!(secrets > 0, "no key file");
    let launch = app.launch.clone();
    drop(app);
    launch.start().await.me(&john.access).await.expect(200);
}

#[tokio::test]
async fn on_postgresql_a_secret_must_be_given() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    database.app().without("JWT_SECRET_KEY").serve_to_end().refused("JWT_SECRET_KEY");
}

on_both_databases! {
    async fn a_default_role_that_is_none_or_too_mighty_stops_the_start(database: Database) {
        for role in ["admin", "no-such-role"] {
            database.app().env("DEFAULT_ROLE", role).serve_to_end().refused("DEFAULT_ROLE");
        }
        let app = database.app().env("DEFAULT_ROLE", "analyst").start().await;
        let john = app.user("johndoe").await;
        assert_eq!(app.me(&john.access).await.json()["roles"], serde_json::json!(["analyst"]));
    }

    async fn a_database_newer_than_the_binary_stops_every_command(database: Database) {
        drop(database.app().start().await);
        database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99990101000000')").await;
        let before = database.scalar("SELECT count(*) FROM users").await;
        for command in [
            &["serve"][..],
            &["migrate"],
            &["admin", "create", "--username", "x_y", "--email", "x@example.com", "--password-stdin"],
        ] {
            let exit = database.app().command_line(command, "kq7-Vw2.zR9_tb4\n");
            assert_eq!(exit.code, Some(78), "{command:?}: {exit:?}");
            exit.refused("newer");
        }
        assert_eq!(database.scalar("SELECT count(*) FROM users").await, before);
    }

    async fn a_database_with_others_tables_of_our_names_stops_the_start(database: Database) {
        std::fs::create_dir_all(database.app().data_dir()).unwrap();
        database.execute("CREATE TABLE users (name text)").await;
        database.execute("INSERT INTO users VALUES ('theirs')").await;
        for command in ["serve", "migrate"] {
            let exit = database.app().command_line(&[command], "");
            exit.refused("users");
        }
        assert_eq!(database.scalar("SELECT name FROM users").await.as_deref(), Some("theirs"));
    }

    async fn a_bootstrap_administrator_is_made_once_and_only_in_an_empty_table(database: Database) {
        drop(database.app().start().await);
        let app = database
            .app()
            .env("BOOTSTRAP_ADMIN_USERNAME", "second_admin")
            .env("BOOTSTRAP_ADMIN_PASSWORD", "kq7-Vw2.zR9_tb4")
            .start()
            .await;
        app.try_login("second_admin", "kq7-Vw2.zR9_tb4").await.problem(401, "invalid_credentials");
        app.login("root_admin", "correct-horse-battery").await;
    }
}

#[tokio::test]
async fn the_file_of_settings_is_read_and_the_environment_wins() {
    let _slot = slot().await;
    let database = Database::sqlite();
    let launch = database.app().without("JWT_SECRET_KEY");
    let settings =
        format!("JWT_SECRET_KEY={SECRET}\nACCESS_TOKEN_EXPIRE_MINUTES=7\nREFRESH_TOKEN_EXPIRE_DAYS=3\nPORT=1\n");
    std::fs::write(launch.home.path().join(".env"), settings).unwrap();
    let app = launch.env("REFRESH_TOKEN_EXPIRE_DAYS", "2").start().await;
    let john = app.user("johndoe").await;
    let answer = app.try_login("johndoe", &john.password).await.json();
    assert_eq!(answer["expires_in"], 420);
    let refresh = crate::support::claims(&john.refresh);
    assert!((refresh["exp"].as_i64().unwrap() - crate::support::now() - 2 * 86_400).abs() < 120, "{refresh}");
    app.me(&john.forge().token()).await.expect(200);
}

#[tokio::test]
async fn an_empty_variable_is_an_unset_one() {
    let _slot = slot().await;
    let launch =
        Database::sqlite().app().env("DATABASE_URL", "").env("JWT_ALGORITHM", "").env("CORS_ALLOWED_ORIGINS", "");
    let app = launch.env("ACCESS_TOKEN_EXPIRE_MINUTES", "").env("ENABLE_REGISTRATION", "").start().await;
    app.user("johndoe").await;
}

#[tokio::test]
async fn a_sqlite_database_may_stand_elsewhere() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    let file = launch.home.path().join("elsewhere.db");
    let app = launch.env("DATABASE_URL", &format!("sqlite://{}", file.display())).start().await;
    app.user("johndoe").await;
    assert!(file.exists());
}

#[tokio::test]
async fn a_socket_takes_the_place_of_the_host() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    // Only the private server of the tests is known to have one.
    let Some(rest) = database.url().and_then(|url| url.strip_prefix("postgres:///")) else { return };
    let url = format!("postgres://postgres@localhost/{rest}");
    database.app().env("DATABASE_URL", &url).start().await.user("johndoe").await;
}

/// The records of one database's users would else stand in another one's log.
#[tokio::test]
async fn a_journal_of_another_database_stops_the_start() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let app = Database::sqlite().app().start().await;
    app.register("johndoe").await;
    let launch = app.launch.clone();
    drop(app);
    let elsewhere = launch.clone().env("DATABASE_URL", database.url().unwrap());
    elsewhere.serve_to_end().refused("DATA_DIR");
    let create = ["admin", "create", "--username", "jane", "--email", "jane@example.com", "--password-stdin"];
    elsewhere.command_line(&create, "correct-horse-battery\n").refused("DATA_DIR");
    assert_eq!(database.scalar("SELECT count(*) FROM users WHERE username = 'jane'").await.as_deref(), Some("0"));
    let app = launch.start().await;
    assert_eq!(app.audit("action=REGISTER").await.len(), 1);
}

#[tokio::test]
async fn a_check_of_the_configuration_writes_nothing() {
    let _slot = slot().await;
    let launch = Database::sqlite().app().without("JWT_SECRET_KEY");
    let exit = launch.command_line(&["config", "check"], "");
    assert!(exit.code == Some(0) && exit.stdout.contains("would be made"), "{exit:?}");
    assert!(!launch.data_dir().exists());
}
