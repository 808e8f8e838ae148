//! The composition root: starts the actors, serves, drains.
//!
//! Shutdown in order: stop accepting, drain the workers, flush the audit, stop
//! the arbiters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use actix_cors::Cors;
use actix_web::dev::{Server, ServerHandle};
use actix_web::http::{Method, header};
use actix_web::middleware::Condition;
use actix_web::{App, HttpServer, web};
use actix_web_prom::PrometheusMetricsBuilder;
use tokio::signal::unix::{SignalKind, signal};

use crate::actors::{
    Accounts, Audit, Feed, Freshness, Keys, Lifecycle, NewAccount, Passwords, Rbac, RbacService, Tokens,
};
use crate::api::{self, ApiSettings, Services};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{BootstrapAdmin, Config};
use crate::domain::{Permission, RoleName};
use crate::guard::{Guards, Recorder};
use crate::journal::WorkerJournal;
use crate::metrics::Metrics;
use crate::store::{OpenError, Store};

/// How long the workers may take to answer what they have begun.
const DRAIN_SECONDS: u64 = 8;

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
    feed: Feed,
    tokens: Tokens,
    audit: Audit,
    lifecycle: Lifecycle,
    arbiter: Arbiter,
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
        for warning in &config.warnings {
            log::warn!("{warning}");
        }
        let registry = prometheus::Registry::new();
        let http_metrics = PrometheusMetricsBuilder::new("portcullis")
            .registry(registry.clone())
            .mask_unmatched_patterns("UNKNOWN")
            .build()
            .map_err(|error| AppError::failed("metrics", error))?;
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .map_err(|error| AppError::failed("metrics", error))?;
        let metrics = Metrics::register(&registry).map_err(|error| AppError::failed("metrics", error))?;
        let clock: SharedClock = Arc::new(SystemClock);
        let lifecycle = Lifecycle::default();
        let arbiter = Arbiter::new();

        let store = Store::open(config.store).await?;
        let keys = Keys::new(&config.tokens).map_err(|error| AppError::Configuration(error.to_string()))?;
        check_fingerprint(&store, &keys).await?;

        let freshness = Freshness::new(config.caches.max_staleness);
        let rbac = Rbac::start(
            Arc::new(store.clone()),
            config.caches,
            freshness.clone(),
            metrics.clone(),
            &arbiter.handle(),
            &lifecycle,
        )
        .await
        .map_err(|error| AppError::failed("the policy can't be loaded", error))?;
        check_default_role(&rbac, &config.api.default_role)?;
        let tokens = Tokens::start(
            keys,
            config.tokens,
            store.clone(),
            rbac.clone(),
            Arc::clone(&clock),
            freshness.clone(),
            metrics.clone(),
            &arbiter.handle(),
            &lifecycle,
        );
        let passwords = Passwords::start(config.passwords, &lifecycle)
            .map_err(|error| AppError::failed("password hashing", error))?;
        let feed = Feed::start(
            store.clone(),
            rbac.clone(),
            tokens.clone(),
            freshness.clone(),
            metrics.clone(),
            &arbiter.handle(),
            &lifecycle,
        )
        .await
        .map_err(|error| AppError::failed("the change feed can't be read", error))?;
        let accounts = Accounts::new(store.clone(), passwords, rbac.clone(), tokens.clone());
        bootstrap(&accounts, config.bootstrap_admin).await?;
        let audit = Audit::start(&store, config.journal, Arc::clone(&clock), &registry, &lifecycle)
            .await
            .map_err(|error| AppError::failed("the audit log can't be started", error))?;
        if !config.audit.is_enabled {
            log::warn!("ENABLE_AUDIT_LOGGING=false: no request is recorded");
        }

        let guards = Guards::new(tokens.clone(), rbac.clone(), config.guard, metrics.clone());
        let services = web::Data::new(Services {
            accounts,
            audit: audit.clone(),
            freshness,
            metrics,
            rbac: rbac.clone(),
            rbac_service: RbacService::new(store, rbac, Arc::clone(&clock)),
            registry,
            settings: config.api.clone(),
            tokens: tokens.clone(),
            users_read: Permission::parse("users:read").map_err(|error| AppError::Failed(error.message))?,
        });
        let description = web::Data::new(api::openapi(&api::endpoints()));
        let is_recorded = config.audit.is_enabled;
        let lost = config.audit.fail_open.then(|| audit.metrics().lost.clone());
        let (worker_audit, api_settings) = (audit.clone(), config.api);
        let server = HttpServer::new(move || {
            let journal = is_recorded.then(|| attach(&worker_audit));
            App::new()
                .app_data(services.clone())
                .app_data(description.clone())
                .app_data(web::Data::new(guards.clone()))
                .wrap(Condition::new(!api_settings.allowed_origins.is_empty(), cors(&api_settings)))
                .wrap(http_metrics.clone())
                .wrap(Recorder::new(
                    guards.clone(),
                    api::naming(),
                    journal,
                    lost.clone(),
                    !api_settings.allowed_origins.is_empty(),
                ))
                .configure(api::configure)
        })
        .workers(config.server.workers)
        .disable_signals()
        .shutdown_timeout(DRAIN_SECONDS)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(Duration::from_secs(75))
        .bind((config.server.host, config.server.port))
        .map_err(|error| {
            AppError::failed(&format!("HOST={} PORT={}", config.server.host, config.server.port), error)
        })?;
        let address = server.addrs().first().copied().ok_or_else(|| AppError::Failed("no address is bound".into()))?;
        lifecycle.serving();
        Ok(Self { server: server.run(), address, feed, tokens, audit, lifecycle, arbiter })
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
        stop_on_signal(self.server.handle(), self.lifecycle.clone())?;
        let served = self.server.await;
        log::info!("draining");
        self.lifecycle.draining();
        self.feed.stop();
        if let Err(error) = self.tokens.write_uses().await {
            log::warn!("last uses of sessions were not written: {error}");
        }
        self.audit.shutdown().await;
        self.arbiter.stop();
        log::info!("stopped");
        served.map_err(|error| AppError::failed("the server", error))
    }
}

/// A worker without a journal could not record: the process ends rather than that.
fn attach(audit: &Audit) -> WorkerJournal {
    match audit.attach_worker() {
        Ok(journal) => journal,
        Err(error) => {
            log::error!("{error}");
            std::process::exit(1);
        }
    }
}

fn stop_on_signal(server: ServerHandle, lifecycle: Lifecycle) -> Result<(), AppError> {
    let listen = |kind| signal(kind).map_err(|error| AppError::failed("signals", error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    actix::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => log::info!("SIGTERM: no more connections are accepted"),
            _ = interrupt.recv() => log::info!("SIGINT: no more connections are accepted"),
        }
        // The workers take handles with them, and with the last one its actor ends.
        lifecycle.draining();
        server.stop(true).await;
    });
    Ok(())
}

async fn check_fingerprint(store: &Store, keys: &Keys) -> Result<(), AppError> {
    let (current, previous) = keys.fingerprints();
    match store.claim_key_fingerprint(current, previous).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(AppError::Configuration(
            "JWT_SECRET_KEY: this database is used with another key: set that one, \
             or name it in JWT_PREVIOUS_SECRET_KEY to change over"
                .into(),
        )),
        Err(error) => Err(AppError::failed("the key's fingerprint can't be compared", error)),
    }
}

/// Whoever registers gets this role: it must be one, and must not administer.
fn check_default_role(rbac: &Rbac, role: &RoleName) -> Result<(), AppError> {
    let problem = match rbac.policy().permissions_of_role(role) {
        None => "is no role of this database",
        Some(grants) if grants.iter().any(|granted| granted.as_str() == "users:manage") => {
            "holds users:manage, so whoever registers could administer"
        }
        Some(_) => return Ok(()),
    };
    Err(AppError::Configuration(format!("DEFAULT_ROLE: {role} {problem}: name another role, as viewer")))
}

async fn bootstrap(accounts: &Accounts, admin: Option<BootstrapAdmin>) -> Result<(), AppError> {
    let Some(BootstrapAdmin { username, email, password }) = admin else { return Ok(()) };
    let account =
        NewAccount { username, email, full_name: None, password, roles: vec![RoleName::admin()], is_superuser: true };
    match accounts.create_first(account).await {
        Ok(Some(user)) => log::info!("BOOTSTRAP_ADMIN_*: the first administrator {} was made", user.username),
        Ok(None) => {}
        Err(error) => return Err(AppError::failed("the first administrator can't be made", error)),
    }
    Ok(())
}

/// Preflights are answered here, before any guard; without allowed origins the recorder refuses them.
fn cors(settings: &ApiSettings) -> Cors {
    let mut cors = Cors::default()
        .allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT])
        .allowed_header("x-request-id")
        .expose_headers(["x-request-id", "retry-after"])
        .supports_credentials()
        .max_age(600);
    for origin in &settings.allowed_origins {
        cors = cors.allowed_origin(origin);
    }
    cors
}
