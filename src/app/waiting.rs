//! Before the service: who answers in its place while the server of the database is away at the start.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::{App, HttpServer};
use tokio::net::TcpSocket;

use super::{AppError, HEAD_TIMEOUT};
use crate::api;
use crate::config::ServerSettings;
use crate::store::{OpenError, Store, StoreSettings};

/// From the first to the longest time between two attempts.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Connections that wait in the socket: as many as actix lets.
const BACKLOG: u32 = 1024;

/// How long it goes on with the connections that it has, once it takes no more.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Opens the store once its server is there.
///
/// # Errors
/// What waiting does not mend.
pub(super) async fn open(settings: &StoreSettings) -> Result<Store, AppError> {
    let (mut pause, longest) = RETRY_AFTER;
    loop {
        tokio::time::sleep(pause).await;
        match Store::open(settings.clone()).await {
            Ok(store) => {
                log::info!("the database is there");
                return Ok(store);
            }
            Err(OpenError::Away(cause)) => log::debug!("the database is still away: {cause}"),
            Err(error) => return Err(error.into()),
        }
        pause = longest.min(pause * 2);
    }
}

/// A server that says that there is no service yet, on the socket that the service will have.
pub(super) struct StandIn {
    listener: TcpListener,
    server: ServerHandle,
}

impl StandIn {
    /// Binds the address, and answers there; `cause`: why it is needed.
    pub(super) fn start(settings: &ServerSettings, cause: &str) -> Result<Self, AppError> {
        let unbound = |error: std::io::Error| AppError::unbound(settings, &error);
        let listener = bind((settings.host, settings.port).into()).map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let server = HttpServer::new(|| App::new().configure(api::configure_without_database))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .client_request_timeout(HEAD_TIMEOUT)
            // Whoever asks again asks the service, if it is there by then.
            .keep_alive(KeepAlive::Disabled)
            .listen(listener.try_clone().map_err(unbound)?)
            .map_err(unbound)?
            .run();
        let handle = server.handle();
        actix::spawn(server);
        log::error!(
            "portcullis {} is listening on http://{address}, but the database can't be reached: {cause}; \
             until it can be, all but /healthz is 503",
            env!("CARGO_PKG_VERSION")
        );
        Ok(Self { listener, server: handle })
    }

    /// The socket, for the service.
    pub(super) fn listener(&self) -> Result<TcpListener, AppError> {
        self.listener.try_clone().map_err(|error| AppError::failed("the socket", error))
    }

    /// Answers those that have come, and ends; the socket stays open for whoever has it too.
    pub(super) async fn stop(self) {
        self.server.pause().await;
        // A worker that is told to stop cuts the connections that it has been given and not read from yet.
        tokio::time::sleep(LAST_ANSWERS).await;
        self.server.stop(true).await;
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
