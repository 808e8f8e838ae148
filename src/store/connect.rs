//! Connections to the two databases, set up the one way.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, ConnectionResult, SqliteConnection};
use diesel_async::AsyncPgConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use secrecy::{ExposeSecret, SecretString};

/// SQLite behind an async face: its calls run on blocking threads.
pub(crate) type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;

/// How long a statement waits for SQLite's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a SQLite file, making it and its folder for this user alone.
pub(crate) fn sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    make_private(path).map_err(|error| ConnectionError::BadConnection(format!("{}: {error}", path.display())))?;
    let text = path.to_str().ok_or_else(|| ConnectionError::InvalidConnectionUrl("the path is not UTF-8".into()))?;
    let mut connection = SqliteConnection::establish(text)?;
    let setup = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
        BUSY_TIMEOUT.as_millis()
    );
    connection.batch_execute(&setup).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
        && !folder.exists()
    {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The same, for async use; on a tokio runtime.
pub(crate) async fn async_sqlite(path: &Path) -> ConnectionResult<AsyncSqlite> {
    let path = path.to_owned();
    let connection = tokio::task::spawn_blocking(move || sqlite(&path))
        .await
        .map_err(|error| ConnectionError::BadConnection(error.to_string()))??;
    Ok(SyncConnectionWrapper::new(connection))
}

/// Connects to PostgreSQL; the task that drives the connection lives on the
/// present runtime. With `sslmode=require`, `verify-ca` or `verify-full` by
/// TLS, the server's certificate and name verified against the system's
/// authorities or `sslrootcert`; without `sslmode`, plain.
pub(crate) async fn postgres(url: &SecretString, timeout: Duration) -> ConnectionResult<AsyncPgConnection> {
    let bad = |error: &dyn std::fmt::Display| ConnectionError::BadConnection(error.to_string());
    let Target { url, tls } = Target::parse(url.expose_secret());
    // The parser's error could repeat the password.
    let mut config: tokio_postgres::Config =
        url.parse().map_err(|_| ConnectionError::InvalidConnectionUrl("DATABASE_URL is no PostgreSQL URL".into()))?;
    let options =
        format!("-c statement_timeout={} -c default_transaction_isolation=read\\ committed", timeout.as_millis());
    config
        .connect_timeout(timeout)
        .application_name("portcullis")
        .options(options)
        .keepalives_idle(Duration::from_secs(30));
    let connecting = async {
        match tls {
            None => {
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                let (client, connection) =
                    config.connect(tokio_postgres::NoTls).await.map_err(|error| bad(&describe(&error)))?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            Some(root) => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let connector = tokio_postgres_rustls::MakeRustlsConnect::new(tls_config(root.as_deref())?);
                let (client, connection) = config.connect(connector).await.map_err(|error| bad(&describe(&error)))?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
        }
    };
    tokio::time::timeout(timeout, connecting).await.map_err(|_| bad(&"no connection in time"))?
}

/// An error with its causes: the driver's own text says only "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A URL without the parameters that the driver does not know.
struct Target {
    url: String,
    /// `Some`: by TLS, with this file of authorities or the system's.
    tls: Option<Option<String>>,
}

impl Target {
    fn parse(url: &str) -> Self {
        let Some((base, query)) = url.split_once('?') else { return Self { url: url.to_owned(), tls: None } };
        let (mut is_tls, mut root) = (false, None);
        let mut kept = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => is_tls = matches!(&*value, "require" | "verify-ca" | "verify-full"),
                "sslrootcert" => root = Some(value.into_owned()),
                _ => {
                    kept.append_pair(&name, &value);
                }
            }
        }
        let query = kept.finish().replace('+', "%20");
        let url = if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") };
        Self { url, tls: is_tls.then_some(root) }
    }
}

fn tls_config(root: Option<&str>) -> ConnectionResult<rustls::ClientConfig> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let bad = |error: String| ConnectionError::BadConnection(error);
    let mut roots = rustls::RootCertStore::empty();
    match root {
        Some(file) => {
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| bad(format!("sslrootcert {file}: {error}")))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| bad(format!("sslrootcert {file}: {error}")))?;
                roots.add(certificate).map_err(|error| bad(format!("sslrootcert {file}: {error}")))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
