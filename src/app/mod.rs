//! The composition root: starts the actors, serves, drains.
//!
//! Shutdown in order: stop accepting, drain the workers, flush the audit, stop
//! the arbiters.

mod portcullis;
mod start;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpServer};
use tokio::signal::unix::{SignalKind, signal};

pub use portcullis::Portcullis;
pub use start::{claim_journal, open_sealer};

use crate::config::Config;
use crate::store::OpenError;

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
}

impl From<OpenError> for AppError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Newer(_) | OpenError::Foreign(_) => Self::Configuration(error.to_string()),
            OpenError::Unreachable(_) | OpenError::Migration(_) => Self::Failed(error.to_string()),
        }
    }
}

/// A service that is ready to run.
pub struct Application {
    server: Server,
    address: SocketAddr,
    portcullis: Portcullis,
}

/// Builds the service and runs it until it is told to stop; within an actix system.
///
/// # Errors
/// It can't be started, or not be drained.
pub async fn serve(config: Config) -> Result<(), AppError> {
    Application::build(config).await?.run_until_stopped().await
}

impl Application {
    /// Opens the store, starts the actors, binds the address.
    ///
    /// # Errors
    /// Whatever of it can't be done.
    pub async fn build(config: Config) -> Result<Self, AppError> {
        let settings = config.server.clone();
        let portcullis = Portcullis::start(config).await?;
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
        .keep_alive(Duration::from_secs(75))
        .bind((settings.host, settings.port))
        .map_err(|error| {
            AppError::Failed(format!(
                "HOST={} PORT={}: {error}; PORT=0 takes a free port",
                settings.host, settings.port
            ))
        })?;
        let address = server.addrs().first().copied().ok_or_else(|| AppError::Failed("no address is bound".into()))?;
        Ok(Self { server: server.run(), address, portcullis })
    }

    /// The address that is served: with `PORT=0` the one that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// The server failed.
    pub async fn run_until_stopped(self) -> Result<(), AppError> {
        log::info!("portcullis {} is listening on http://{}", env!("CARGO_PKG_VERSION"), self.address);
        stop_on_signal(self.server.handle(), self.portcullis.clone())?;
        let served = self.server.await;
        log::info!("draining");
        self.portcullis.stop().await;
        log::info!("stopped");
        served.map_err(|error| AppError::failed("the server", error))
    }
}

fn stop_on_signal(server: ServerHandle, portcullis: Portcullis) -> Result<(), AppError> {
    let listen = |kind| signal(kind).map_err(|error| AppError::failed("signals", error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    actix::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM: no more connections are accepted"),
            _ = interrupt.recv() => log::info!("SIGINT: no more connections are accepted"),
        }
        // The workers take handles with them, and with the last one its actor ends.
        portcullis.lifecycle().draining();
        server.pause().await;
        let (unfinished, begun) = (portcullis.unfinished(), Instant::now());
        while !unfinished.is_none() && begun.elapsed() < UNFINISHED_PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.stop(true).await;
    });
    Ok(())
}
