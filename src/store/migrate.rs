//! Migrations, embedded: run at start and by `portcullis migrate`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use secrecy::SecretString;

use super::OpenError;
use super::connect;
use super::settings::Database;

static SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
static SQLITE_AUDIT: EmbeddedMigrations = embed_migrations!("migrations/sqlite_audit");
static POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgresql");

const MAIN_TABLES: &[&str] = &[
    "users",
    "roles",
    "permissions",
    "user_roles",
    "role_permissions",
    "role_wildcards",
    "role_includes",
    "refresh_tokens",
    "change_clocks",
    "changes",
    "settings",
];
const AUDIT_TABLES: &[&str] = &["audit_logs", "audit_logs_default", "audit_writers", "audit_checkpoints"];

/// The lock that instances which start at once take in turn; its number means nothing.
const ADVISORY_LOCK: i64 = 7_205_759_403_792_794;

/// The file of the audit log, beside the main one and named after it, as SQLite names its own companions.
pub(super) fn audit_path(main: &Path) -> PathBuf {
    let mut path = main.as_os_str().to_owned();
    path.push("-audit");
    path.into()
}

/// Brings a database up to date; gives the names of the migrations that ran.
pub(super) async fn migrate(database: &Database, timeout: Duration) -> Result<Vec<String>, OpenError> {
    match database {
        Database::Sqlite(path) => {
            let path = path.clone();
            blocking(move || {
                let mut ran = migrate_sqlite(&path, &SQLITE, MAIN_TABLES)?;
                ran.extend(migrate_sqlite(&audit_path(&path), &SQLITE_AUDIT, AUDIT_TABLES)?);
                Ok(ran)
            })
            .await
        }
        Database::Postgres(url) => migrate_postgres(url, timeout).await,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| OpenError::Migration(error.to_string()))?
}

fn migrate_sqlite(path: &Path, migrations: &EmbeddedMigrations, ours: &[&str]) -> Result<Vec<String>, OpenError> {
    let mut connection = connect::sqlite(path).map_err(|error| OpenError::Unreachable(error.to_string()))?;
    let tables = "SELECT name AS name FROM sqlite_master WHERE type IN ('table', 'view')";
    // Two processes that start at once migrate in turn.
    connection.immediate_transaction(|connection| {
        check_sqlite(connection, migrations, tables, ours)?;
        run::<Sqlite, SqliteConnection>(connection, migrations)
    })
}

fn check_sqlite(
    connection: &mut SqliteConnection,
    migrations: &EmbeddedMigrations,
    tables: &str,
    ours: &[&str],
) -> Result<(), OpenError> {
    let present = diesel::sql_query(tables).load::<Named>(connection).map_err(failed)?;
    if check_owner(&present, ours)? {
        check_versions::<Sqlite, _>(connection, migrations)?;
    }
    Ok(())
}

async fn migrate_postgres(url: &SecretString, timeout: Duration) -> Result<Vec<String>, OpenError> {
    // A migration may take longer than a request's statement.
    let connection = connect::reach(url, timeout).await?;
    blocking(move || {
        let mut connection = AsyncConnectionWrapper::<AsyncPgConnection>::from(connection);
        let lock = format!("SET statement_timeout = 0; SELECT pg_advisory_lock({ADVISORY_LOCK})");
        connection.batch_execute(&lock).map_err(failed)?;
        let present = diesel::sql_query(
            "SELECT relname::text AS name FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'f') \
             AND relnamespace = current_schema()::regnamespace",
        )
        .load::<Named>(&mut connection)
        .map_err(failed)?;
        let all: Vec<&str> = MAIN_TABLES.iter().chain(AUDIT_TABLES).copied().collect();
        let ran = check_owner(&present, &all).and_then(|is_ours| {
            if is_ours {
                check_versions::<diesel::pg::Pg, _>(&mut connection, &POSTGRES)?;
            }
            run::<diesel::pg::Pg, _>(&mut connection, &POSTGRES)
        });
        // The lock ends with the connection, whatever came of it.
        drop(connection);
        ran
    })
    .await
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Whether the database has our migrations; without them none of our tables may stand there.
fn check_owner(present: &[Named], ours: &[&str]) -> Result<bool, OpenError> {
    if present.iter().any(|table| table.name == "__diesel_schema_migrations") {
        return Ok(true);
    }
    match present.iter().find(|table| ours.contains(&table.name.as_str())) {
        Some(foreign) => Err(OpenError::Foreign(foreign.name.clone())),
        None => Ok(false),
    }
}

fn known<DB: diesel::backend::Backend>(migrations: &EmbeddedMigrations) -> Result<Vec<String>, OpenError> {
    let known =
        MigrationSource::<DB>::migrations(migrations).map_err(|error| OpenError::Migration(error.to_string()))?;
    Ok(known.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn check_versions<DB, C>(connection: &mut C, migrations: &EmbeddedMigrations) -> Result<(), OpenError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
{
    let known = known::<DB>(migrations)?;
    let applied = connection.applied_migrations().map_err(|error| OpenError::Migration(error.to_string()))?;
    match applied.iter().find(|version| !known.contains(&version.to_string())) {
        Some(newer) => Err(OpenError::Newer(newer.to_string())),
        None => Ok(()),
    }
}

fn run<DB, C>(connection: &mut C, migrations: &EmbeddedMigrations) -> Result<Vec<String>, OpenError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
{
    let ran = connection
        .run_pending_migrations(Borrowed(migrations))
        .map_err(|error| OpenError::Migration(error.to_string()))?;
    Ok(ran.iter().map(ToString::to_string).collect())
}

/// The source by reference, for the harness wants one that it owns.
struct Borrowed<'a>(&'a EmbeddedMigrations);

impl<DB: diesel::backend::Backend> MigrationSource<DB> for Borrowed<'_> {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<DB>>>> {
        self.0.migrations()
    }
}

fn failed(error: diesel::result::Error) -> OpenError {
    OpenError::Migration(error.to_string())
}

impl From<diesel::result::Error> for OpenError {
    fn from(error: diesel::result::Error) -> Self {
        failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_databases_in_one_folder_have_each_their_audit_log() {
        let home = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for name in ["audit.db", "portcullis.db"] {
            let database = Database::Sqlite(home.path().join(name));
            let migrated = |database| runtime.block_on(migrate(database, Duration::from_secs(5))).unwrap();
            assert!(!migrated(&database).is_empty());
            assert_eq!(migrated(&database), Vec::<String>::new());
            assert!(home.path().join(format!("{name}-audit")).exists());
        }
    }
}
