//! Connections to the two databases, set up the one way.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, ConnectionResult, SqliteConnection};
use diesel_async::AsyncPgConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::OpenError;

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

/// Why there is no connection to PostgreSQL.
pub(super) enum Unconnected {
    /// The server is not there, or not yet.
    Away(String),
    /// What we were told is wrong, or the server refuses us.
    Refused(ConnectionError),
}

impl From<Unconnected> for ConnectionError {
    fn from(unconnected: Unconnected) -> Self {
        match unconnected {
            Unconnected::Away(why) => Self::BadConnection(why),
            Unconnected::Refused(error) => error,
        }
    }
}

impl From<Unconnected> for OpenError {
    fn from(unconnected: Unconnected) -> Self {
        match unconnected {
            Unconnected::Away(why) => Self::Away(why),
            Unconnected::Refused(error) => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<ConnectionError> for Unconnected {
    fn from(error: ConnectionError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Unconnected {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = describe(&error);
        if is_away(&error) { Self::Away(why) } else { Self::Refused(ConnectionError::BadConnection(why)) }
    }
}

/// Whether waiting may help: nobody listens there, or who does says that it is no time yet.
fn is_away(error: &tokio_postgres::Error) -> bool {
    use std::io::ErrorKind;
    if let Some(refusal) = error.as_db_error() {
        let code = refusal.code().code();
        // Connection exceptions (a pooler's, too), too few resources, starting and stopping, and a database that
        // is closed for a while.
        return code.starts_with("08") || code.starts_with("53") || code.starts_with("57P") || code == "55000";
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let Some(cause) = cause else { return error.is_closed() };
    let is_passing = matches!(
        cause.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            // The socket's file, which goes with the server.
            | ErrorKind::NotFound
    );
    // A name that is not known has no kind of its own; in a network of containers it comes with the server.
    is_passing || cause.to_string().starts_with("failed to lookup address")
}

/// Connects to PostgreSQL, for those who ask again anyway.
pub(crate) async fn postgres(url: &SecretString, timeout: Duration) -> ConnectionResult<AsyncPgConnection> {
    Ok(reach(url, timeout).await?)
}

/// Connects to PostgreSQL; the task that drives the connection lives on the
/// present runtime. With `sslmode=require`, `verify-ca` or `verify-full` by
/// TLS, the server's certificate and name verified against the system's
/// authorities or `sslrootcert`; without `sslmode`, plain.
pub(super) async fn reach(url: &SecretString, timeout: Duration) -> Result<AsyncPgConnection, Unconnected> {
    let (config, tls) = configure(url, timeout)?;
    within(timeout, async {
        match tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
            }
        }
    })
    .await
}

/// The same without diesel, which knows no COPY.
pub(crate) async fn postgres_client(url: &SecretString, timeout: Duration) -> ConnectionResult<Client> {
    let (config, tls) = configure(url, timeout)?;
    let connected = within(timeout, async {
        match tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    });
    Ok(connected.await?)
}

async fn within<T>(
    timeout: Duration,
    connecting: impl Future<Output = Result<T, Unconnected>>,
) -> Result<T, Unconnected> {
    let late = |_| Unconnected::Away("no connection in time".into());
    tokio::time::timeout(timeout, connecting).await.map_err(late)?
}

/// What to connect to, and how: without TLS where there is none.
fn configure(url: &SecretString, timeout: Duration) -> ConnectionResult<(Config, Option<MakeRustlsConnect>)> {
    let Target { url, tls } = Target::parse(url.expose_secret())
        .ok_or_else(|| ConnectionError::InvalidConnectionUrl("DATABASE_URL: unknown sslmode".into()))?;
    // The parser's error could repeat the password.
    let mut config: Config =
        url.parse().map_err(|_| ConnectionError::InvalidConnectionUrl("DATABASE_URL is no PostgreSQL URL".into()))?;
    // At the default of 4, of the days of turning disks, a question for what used to be frequent goes through all
    // records that are newer instead of along its index.
    let options = format!(
        "-c statement_timeout={} -c default_transaction_isolation=read\\ committed -c random_page_cost=1.1",
        timeout.as_millis()
    );
    config
        .connect_timeout(timeout)
        .application_name("portcullis")
        .options(options)
        .keepalives_idle(Duration::from_secs(30))
        .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
    let tls = tls.map(|root| tls_config(root.as_deref()).map(MakeRustlsConnect::new)).transpose()?;
    Ok((config, tls))
}

/// An error with its causes: the driver's own text says only "db error".
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
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
    /// `None` for an `sslmode` that there is not: a typo must not mean plain text.
    fn parse(url: &str) -> Option<Self> {
        let Some((base, query)) = url.split_once('?') else { return Some(Self { url: url.to_owned(), tls: None }) };
        let (mut is_tls, mut root, mut has_host) = (false, None, false);
        let mut kept = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => {
                    is_tls = match &*value {
                        "require" | "verify-ca" | "verify-full" => true,
                        "disable" | "allow" | "prefer" => false,
                        _ => return None,
                    };
                }
                "sslrootcert" => root = Some(value.into_owned()),
                _ => {
                    has_host |= name == "host";
                    kept.append_pair(&name, &value);
                }
            }
        }
        let mut base = base.to_owned();
        if has_host && let Some((without, port)) = without_host(&base) {
            base = without;
            if let Some(port) = port {
                kept.append_pair("port", &port);
            }
        }
        let query = kept.finish().replace('+', "%20");
        let url = if query.is_empty() { base } else { format!("{base}?{query}") };
        Some(Self { url, tls: is_tls.then_some(root) })
    }
}

/// A URL without its host, and the port: a host in the query takes its place
/// (as libpq has it), where the driver would try one after the other.
fn without_host(base: &str) -> Option<(String, Option<String>)> {
    let (scheme, rest) = base.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let port = host.rsplit_once(':').map(|(_, port)| port.to_owned()).filter(|port| !port.is_empty());
    let at = if user.is_empty() { "" } else { "@" };
    Some((format!("{scheme}://{user}{at}/{path}"), port))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_in_the_query_takes_the_place_of_the_one_before_the_path() {
        let url = |text: &str| Target::parse(text).map(|target| target.url);
        assert_eq!(url("postgres://me@localhost/db").as_deref(), Some("postgres://me@localhost/db"));
        assert_eq!(
            url("postgres://me:pw@localhost:5433/db?host=/run/pg").as_deref(),
            Some("postgres://me:pw@/db?host=%2Frun%2Fpg&port=5433")
        );
        assert_eq!(url("postgres:///db?host=/run/pg").as_deref(), Some("postgres:///db?host=%2Frun%2Fpg"));
    }

    #[test]
    fn an_unknown_sslmode_is_refused() {
        let tls = |mode: &str| Target::parse(&format!("postgres://h/db?sslmode={mode}")).map(|it| it.tls.is_some());
        assert_eq!(tls("require"), Some(true));
        assert_eq!(tls("verify-full"), Some(true));
        assert_eq!(tls("disable"), Some(false));
        assert_eq!(tls("verify-ful"), None);
    }
}
