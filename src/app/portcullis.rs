//! Everything but the server: the store and the actors, for our own server and
//! for host applications.

use std::sync::Arc;

use actix::Arbiter;
use actix_cors::Cors;
use actix_web::http::{Method, header};
use actix_web::middleware::Condition;
use actix_web::web;
use actix_web_prom::{PrometheusMetrics, PrometheusMetricsBuilder};

use super::AppError;
use super::start::{bootstrap, check_audit_key, check_default_role, check_fingerprint, claim_journal, open_sealer};
use crate::actors::{
    Accounts, Audit, Feed, Freshness, Identities, IdentitySettings, Keys, Lifecycle, Passwords, Rbac, RbacService,
    Retention, RetentionSettings, ServiceError, Tokens,
};
use crate::api::{self, ApiSettings, Services};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::domain::{Authority, Conflict, FieldError, Permission, PolicyChange, parse_description};
use crate::guard::{AuditLog, Guards, LoopbackOnly, Naming, Recorder, RecorderSettings, Unfinished};
use crate::journal::WorkerJournal;
use crate::metrics::Metrics;
use crate::oidc::Providers;
use crate::store::Store;

/// Portcullis inside an actix app: one for the whole process, cheap to clone
/// into each worker's app.
///
/// ```no_run
/// use actix_web::{App, HttpResponse, HttpServer, web};
/// use portcullis::config::Config;
/// use portcullis::{Portcullis, Principal, require_permission};
///
/// async fn create_project(caller: Principal) -> HttpResponse {
///     HttpResponse::Created().body(format!("made by {}", caller.username()))
/// }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let portcullis = Portcullis::start(Config::from_env()?).await?;
/// let inside = portcullis.clone();
/// HttpServer::new(move || {
///     App::new()
///         .wrap(inside.recorder())
///         .service(
///             web::resource("/api/projects")
///                 .route(web::post().to(create_project).wrap(require_permission("projects:create"))),
///         )
///         .configure(|cfg| inside.configure(cfg))
/// })
/// .bind(("127.0.0.1", 8080))?
/// .run()
/// .await?;
/// portcullis.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Portcullis(Arc<Inner>);

struct Inner {
    services: web::Data<Services>,
    rbac: RbacService,
    guards: Guards,
    /// JSON, written once. The wrapper tells it from bytes of the host application's own.
    description: web::Data<web::Json<web::Bytes>>,
    http_metrics: PrometheusMetrics,
    api: ApiSettings,
    trusted_proxies: Vec<ipnet::IpNet>,
    is_recording: bool,
    is_loopback_only: bool,
    unfinished: Unfinished,
    fails_open: bool,
    feed: Feed,
    retention: Retention,
    lifecycle: Lifecycle,
    arbiter: Arbiter,
}

impl Portcullis {
    /// Opens the store and starts the actors; within an actix system.
    ///
    /// # Errors
    /// Whatever of it can't be done.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        let store = Store::open(config.store.clone()).await?;
        Self::start_on(store, config, None).await
    }

    /// As [`Portcullis::start`], with the host application's own API in `/openapi.json` and `/docs`.
    ///
    /// # Errors
    /// Whatever of it can't be done.
    pub async fn start_with_api(config: Config, api: utoipa::openapi::OpenApi) -> Result<Self, AppError> {
        let store = Store::open(config.store.clone()).await?;
        Self::start_on(store, config, Some(api)).await
    }

    /// The same on a store that is open already.
    pub(super) async fn start_on(
        store: Store,
        config: Config,
        host_api: Option<utoipa::openapi::OpenApi>,
    ) -> Result<Self, AppError> {
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

        let keys = Keys::new(&config.tokens).map_err(|error| AppError::Configuration(error.to_string()))?;
        check_fingerprint(&store, &keys).await?;
        let sealer = open_sealer(&store, &config.tokens).await?;

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
        let installation =
            store.installation_id().await.map_err(|error| AppError::failed("the installation's id", error))?;
        claim_journal(&config.journal.folder, installation)?;
        check_audit_key(&config.journal.folder, &sealer)?;
        let retention = RetentionSettings::of_days(config.audit.retention_days);
        Retention::prepare(&store, &clock, &retention).await;
        let seals = (sealer.clone(), installation);
        let audit = Audit::start(&store, config.journal, Arc::clone(&clock), seals, &registry, &lifecycle)
            .await
            .map_err(|error| AppError::failed("the audit log can't be started", error))?;
        let retention = Retention::start(
            store.clone(),
            sealer,
            installation,
            Arc::clone(&clock),
            retention,
            audit.metrics().clone(),
            &arbiter.handle(),
            &lifecycle,
        );
        if !config.audit.is_enabled {
            log::warn!("ENABLE_AUDIT_LOGGING=false: no request is recorded");
        }

        let trusted_proxies = config.guard.trusted_proxies.clone();
        let is_loopback_only = config.guard.requires_loopback_host;
        let guards = Guards::new(tokens.clone(), rbac.clone(), config.guard, metrics.clone());
        let providers = Providers::new(config.providers.oidc, Arc::clone(&clock))
            .map_err(|error| AppError::failed("sign-in by providers", error))?;
        let identities = Identities::new(
            store.clone(),
            tokens.clone(),
            providers,
            IdentitySettings {
                registers_with: config.providers.is_auto_registration_enabled.then(|| config.api.default_role.clone()),
                is_link_by_email_enabled: config.providers.is_link_by_email_enabled,
                redirect_allowlist: config.providers.redirect_allowlist,
            },
        );
        let rbac_service = RbacService::new(store, rbac.clone(), clock);
        let recorded =
            if config.audit.is_enabled { rbac_service.recorded(audit.clone()) } else { rbac_service.clone() };
        let services = web::Data::new(Services {
            accounts,
            audit,
            freshness,
            identities,
            metrics,
            rbac,
            rbac_service,
            registry,
            settings: config.api.clone(),
            tokens,
        });
        let description = serde_json::to_vec(&api::openapi(&api::endpoints(), host_api))
            .map_err(|error| AppError::failed("the API's description", error))?;
        Ok(Self(Arc::new(Inner {
            services,
            rbac: recorded,
            guards,
            description: web::Data::new(web::Json(description.into())),
            http_metrics,
            api: config.api,
            trusted_proxies,
            is_recording: config.audit.is_enabled,
            is_loopback_only,
            unfinished: Unfinished::default(),
            fails_open: config.audit.fail_open,
            feed,
            retention,
            lifecycle,
            arbiter,
        })))
    }

    /// Roles, permissions, and who has them. Each change is an audit record.
    pub fn rbac(&self) -> &RbacService {
        &self.0.rbac
    }

    /// Users and their sign-in.
    pub fn accounts(&self) -> &Accounts {
        &self.0.services.accounts
    }

    /// The audit log, for code that serves no request; handlers take an [`AuditLog`] as an argument.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.0.is_recording.then(|| self.0.services.audit.clone()))
    }

    /// Makes sure that there is a permission of the host application's own. Call it before the
    /// routes are made: a route that requires what there is not stops the start.
    ///
    /// # Errors
    /// The name is no `resource:action`, or the database is away.
    pub async fn declare_permission(&self, name: &str, description: &str) -> Result<(), AppError> {
        let name: Permission = name.parse().map_err(|error: FieldError| AppError::Configuration(error.message))?;
        if self.0.services.rbac.policy().permission(&name).is_some() {
            return Ok(());
        }
        let description = parse_description(description).map_err(|error| AppError::Configuration(error.message))?;
        let change = PolicyChange::CreatePermission(name, description);
        match self.rbac().change_one(change, Authority::System).await {
            // Another instance was faster.
            Ok(_) | Err(ServiceError::Conflict(Conflict::PermissionExists)) => Ok(()),
            Err(error) => Err(AppError::failed("a permission can't be declared", error)),
        }
    }

    /// The outermost middleware: request ids, problem bodies, and one audit
    /// record for each request. Call it in the app's factory, once for each worker.
    pub fn recorder(&self) -> Recorder {
        self.recorder_named(api::naming())
    }

    /// As [`Portcullis::recorder`], with names for routes of the host
    /// application that its methods and patterns don't give: `naming` starts from our own.
    pub fn recorder_with(&self, name: impl FnOnce(&mut Naming)) -> Recorder {
        let mut naming = api::naming();
        name(&mut naming);
        self.recorder_named(naming)
    }

    fn recorder_named(&self, naming: Naming) -> Recorder {
        let inner = &self.0;
        let audit = &inner.services.audit;
        let settings = RecorderSettings {
            trusted_proxies: inner.trusted_proxies.clone(),
            naming,
            journal: inner.is_recording.then(|| attach(audit)),
            lost: inner.fails_open.then(|| audit.metrics().lost.clone()),
            answers_preflights: !inner.api.allowed_origins.is_empty(),
            unfinished: inner.unfinished.clone(),
            loopback_only: inner
                .is_loopback_only
                .then(|| LoopbackOnly { allowed_origins: inner.api.allowed_origins.clone() }),
        };
        Recorder::new(inner.services.rbac.clone(), settings)
    }

    /// HTTP metrics, for `/metrics`: middleware around everything that is to be counted.
    pub fn http_metrics(&self) -> PrometheusMetrics {
        self.0.http_metrics.clone()
    }

    /// Answers preflights by `CORS_ALLOWED_ORIGINS`; inside the recorder.
    pub fn cors(&self) -> Condition<Cors> {
        Condition::new(!self.0.api.allowed_origins.is_empty(), cors(&self.0.api))
    }

    /// Mounts what guards and handlers ask, and our own endpoints. Mount it
    /// after the app's own services: what none of them takes is answered here,
    /// with 401 without credentials and 404 with them.
    ///
    /// From here on an actor that dies ends the process, until [`Portcullis::stop`]: a restart
    /// beats a half-dead service.
    pub fn configure(&self, cfg: &mut web::ServiceConfig) {
        self.0.lifecycle.serving();
        cfg.app_data(self.0.services.clone())
            .app_data(self.0.description.clone())
            .app_data(web::Data::new(self.0.guards.clone()))
            .app_data(web::Data::new(self.audit_log()))
            .configure(api::configure);
    }

    pub(super) fn unfinished(&self) -> Unfinished {
        self.0.unfinished.clone()
    }

    pub(super) fn lifecycle(&self) -> Lifecycle {
        self.0.lifecycle.clone()
    }

    /// Writes what is still to be written, and ends the actors; after the server has stopped.
    pub async fn stop(&self) {
        self.0.lifecycle.draining();
        self.0.feed.stop();
        self.0.retention.stop();
        if let Err(error) = self.0.services.tokens.write_uses().await {
            log::warn!("last uses of sessions were not written: {error}");
        }
        self.0.services.audit.shutdown().await;
        self.0.arbiter.stop();
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
