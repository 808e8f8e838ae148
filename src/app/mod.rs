//! The composition root: starts the actors, serves, drains.
//!
//! Shutdown in order: stop accepting, drain the workers, flush the audit, stop
//! the arbiters.

mod portcullis;
mod start;
mod waiting;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use portcullis::Portcullis;
pub use start::{check_audit_key, claim_journal, find_sealer, open_sealer};

use crate::config::{Config, ServerSettings};
use crate::store::{OpenError, Store};
use waiting::StandIn;

/// How long the workers may take to answer what they have begun.
const DRAIN_SECONDS: u64 = 6;

/// How long what has begun may take whose client has gone; before the workers end.
const UNFINISHED_PATIENCE: Duration = Duration::from_secs(3);

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Something that was configured can't be: exit 78.
    #[error("{0}")]
    Configuration(String),
    /// Something that was needed failed: exit 1.
    #[error("{0}")]
    Failed(String),
}

impl AppError {
    fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    fn unbound(settings: &ServerSettings, error: &std::io::Error) -> Self {
        Self::Failed(format!("HOST={} PORT={}: {error}; PORT=0 takes a free port", settings.host, settings.port))
    }
}

impl From<OpenError> for AppError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Newer(_) | OpenError::Foreign(_) => Self::Configuration(error.to_string()),
            OpenError::Away(_) | OpenError::Unreachable(_) | OpenError::Migration(_) => Self::Failed(error.to_string()),
        }
    }
}

/// A service that is ready to run.
struct Application {
    server: Server,
    address: SocketAddr,
    portcullis: Portcullis,
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, AppError> {
        let listen = |kind| signal(kind).map_err(|error| AppError::failed("signals", error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next of them.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => log::info!("SIGTERM: no more connections are accepted"),
            _ = self.interrupt.recv() => log::info!("SIGINT: no more connections are accepted"),
        }
    }
}

/// Builds the service and runs it until it is told to stop; within an actix system. While the server of
/// the database is away it waits for it, and says so to whoever asks.
///
/// # Errors
/// It can't be started, or not be drained.
pub async fn serve(config: Config) -> Result<(), AppError> {
    let cause = match Store::open(config.store.clone()).await {
        Ok(store) => {
            let application = Application::build(store, config, None).await?;
            return application.run_until_stopped(Signals::listen()?).await;
        }
        Err(OpenError::Away(cause)) => cause,
        Err(error) => return Err(error.into()),
    };
    let mut signals = Signals::listen()?;
    let stand_in = StandIn::start(&config.server, &cause)?;
    let building = async {
        let store = waiting::open(&config.store).await?;
        Application::build(store, config, Some(stand_in.listener()?)).await
    };
    let application = tokio::select! {
        () = signals.next() => None,
        application = building => Some(application?),
    };
    match application {
        None => {
            stand_in.stop().await;
            log::info!("stopped");
            Ok(())
        }
        Some(application) => {
            // What comes while neither of them accepts waits in the socket, which stays open.
            actix::spawn(stand_in.stop());
            application.run_until_stopped(signals).await
        }
    }
}

impl Application {
    /// Starts the actors, and binds the address unless there is a socket already.
    async fn build(store: Store, config: Config, listener: Option<TcpListener>) -> Result<Self, AppError> {
        let settings = config.server.clone();
        let portcullis = Portcullis::start_on(store, config, None).await?;
        let inside = portcullis.clone();
        let server = HttpServer::new(move || {
            App::new()
                .wrap(inside.cors())
                .wrap(inside.http_metrics())
                .wrap(inside.recorder())
                .configure(|cfg| inside.configure(cfg))
        })
        .workers(settings.workers)
        .disable_signals()
        .shutdown_timeout(DRAIN_SECONDS)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(Duration::from_secs(75));
        let server = match listener {
            Some(listener) => server.listen(listener),
            None => server.bind((settings.host, settings.port)),
        };
        let server = server.map_err(|error| AppError::unbound(&settings, &error))?;
        let address = server.addrs().first().copied().ok_or_else(|| AppError::Failed("no address is bound".into()))?;
        Ok(Self { server: server.run(), address, portcullis })
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    async fn run_until_stopped(self, signals: Signals) -> Result<(), AppError> {
        log::info!("portcullis {} is listening on http://{}", env!("CARGO_PKG_VERSION"), self.address);
        stop_on_signal(self.server.handle(), self.portcullis.clone(), signals);
        let served = self.server.await;
        log::info!("draining");
        self.portcullis.stop().await;
        log::info!("stopped");
        served.map_err(|error| AppError::failed("the server", error))
    }
}

fn stop_on_signal(server: ServerHandle, portcullis: Portcullis, mut signals: Signals) {
    actix::spawn(async move {
        signals.next().await;
        // The workers take handles with them, and with the last one its actor ends.
        portcullis.lifecycle().draining();
        server.pause().await;
        let (unfinished, begun) = (portcullis.unfinished(), Instant::now());
        while !unfinished.is_none() && begun.elapsed() < UNFINISHED_PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.stop(true).await;
    });
}
