//! The guards in somebody else's actix app.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, HttpResponse, web};
use portcullis::actors::{
    Accounts, Algorithm, CacheSettings, Freshness, Keys, Lifecycle, NewAccount, PasswordSettings, Passwords, Rbac,
    RbacService, TokenSettings, Tokens,
};
use portcullis::clock::{MockClock, SharedClock};
use portcullis::domain::{Authority, Email, NewPassword, PasswordPolicy, RoleName, Timestamp, User, Username};
use portcullis::guard::{GuardSettings, Guards, Principal, require_authentication, require_permission, require_role};
use portcullis::metrics::Metrics;
use portcullis::store::{Database, Store, StoreSettings};
use secrecy::{ExposeSecret, SecretString};

struct Parts {
    guards: Guards,
    accounts: Accounts,
    rbac: RbacService,
    clock: Arc<MockClock>,
    _home: tempfile::TempDir,
}

async fn parts() -> Parts {
    let home = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        database: Database::Sqlite(home.path().join("portcullis.db")),
        timeout: Duration::from_secs(5),
        pool_size: 2,
        default_role: RoleName::parse("viewer").unwrap(),
    };
    let store = Store::open(settings).await.unwrap();
    let (here, lifecycle) = (actix::Arbiter::current(), Lifecycle::default());
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let caches = CacheSettings { max_users: 10, max_staleness: Duration::from_secs(30) };
    let freshness = Freshness::new(caches.max_staleness);
    let source = Arc::new(store.clone());
    let rbac = Rbac::start(source, caches, freshness.clone(), metrics.clone(), &here, &lifecycle).await.unwrap();
    let day = Duration::from_secs(86_400);
    let tokens = TokenSettings {
        secret: SecretString::from("0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned()),
        previous_secret: None,
        algorithm: Algorithm::Hs256,
        private_key_pem: None,
        previous_key_pems: Vec::new(),
        issuer: "portcullis".into(),
        audience: "portcullis".into(),
        access_lifetime: Duration::from_secs(1800),
        refresh_lifetime: 7 * day,
        session_lifetime: 90 * day,
        reuse_grace: Duration::from_secs(10),
    };
    let clock = Arc::new(MockClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let shared: SharedClock = clock.clone();
    let keys = Keys::new(&tokens).unwrap();
    let tokens =
        Tokens::start(keys, tokens, store.clone(), rbac.clone(), shared, freshness, metrics.clone(), &here, &lifecycle);
    let passwords = Passwords::start(PasswordSettings { cost: 4, threads: 1 }, &lifecycle).unwrap();
    let accounts = Accounts::new(store.clone(), passwords, rbac.clone(), tokens.clone());
    let guard_settings =
        GuardSettings { is_authentication_enabled: true, requires_loopback_host: false, trusted_proxies: Vec::new() };
    let guards = Guards::new(tokens, rbac.clone(), guard_settings, metrics);
    Parts { guards, accounts, rbac: RbacService::new(store, rbac, clock.clone()), clock, _home: home }
}

impl Parts {
    async fn user(&self, name: &str) -> (User, String) {
        let username = Username::parse(name).unwrap();
        let secret: SecretString = "securepassword123".to_owned().into();
        let policy = PasswordPolicy { min_length: 8 };
        let account = NewAccount {
            password: NewPassword::parse(&secret, policy, Some(&username), None).unwrap(),
            username,
            email: Email::parse(&format!("{name}@example.com")).unwrap(),
            full_name: None,
            roles: vec![RoleName::parse("viewer").unwrap()],
            is_superuser: false,
        };
        let user = self.accounts.create(account).await.unwrap();
        let (pair, ..) = self.accounts.log_in(name, &secret, None, None).await.unwrap();
        (user, pair.access_token.expose_secret().to_owned())
    }
}

async fn create_project(principal: Principal) -> HttpResponse {
    HttpResponse::Created().body(principal.username().to_string())
}

macro_rules! app {
    ($parts:expr) => {
        init_service(
            App::new()
                .app_data(web::Data::new($parts.guards.clone()))
                .route("/open", web::get().to(HttpResponse::Ok))
                .route("/own", web::get().to(|principal: Principal| async move { principal.username().to_string() }))
                .service(
                    web::scope("/api")
                        .wrap(require_authentication())
                        .route("/projects", web::post().to(create_project).wrap(require_permission("projects:create")))
                        .route("/users", web::delete().to(HttpResponse::NoContent).wrap(require_role("admin"))),
                ),
        )
        .await
    };
}

macro_rules! status {
    ($app:expr, $request:expr, $token:expr) => {{
        let request = $request.insert_header(("authorization", format!("Bearer {}", $token)));
        call_service(&$app, request.to_request()).await.status()
    }};
}

#[actix_web::test]
async fn a_route_lets_in_who_may_and_tells_the_others_why_not() {
    let parts = parts().await;
    let app = app!(parts);
    let (john, token) = parts.user("johndoe").await;
    assert_eq!(call_service(&app, TestRequest::get().uri("/open").to_request()).await.status(), StatusCode::OK);
    let bare = TestRequest::post().uri("/api/projects").to_request();
    assert_eq!(call_service(&app, bare).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(status!(app, TestRequest::post().uri("/api/projects"), token), StatusCode::FORBIDDEN);
    assert_eq!(status!(app, TestRequest::delete().uri("/api/users"), token), StatusCode::FORBIDDEN);
    // An extractor alone asks who it is.
    assert_eq!(status!(app, TestRequest::get().uri("/own"), token), StatusCode::OK);
    let unknown = TestRequest::get().uri("/own").to_request();
    assert_eq!(call_service(&app, unknown).await.status(), StatusCode::UNAUTHORIZED);

    // A role that is assigned holds for the next request, and one that is taken away too.
    parts.rbac.assign_role(john.id, "analyst", Authority::System).await.unwrap();
    assert_eq!(status!(app, TestRequest::post().uri("/api/projects"), token), StatusCode::CREATED);
    parts.rbac.remove_role(john.id, "analyst", Authority::System).await.unwrap();
    assert_eq!(status!(app, TestRequest::post().uri("/api/projects"), token), StatusCode::FORBIDDEN);
}

#[actix_web::test]
async fn a_token_ends_at_its_second_although_it_was_verified_before() {
    let parts = parts().await;
    let app = app!(parts);
    let (_, token) = parts.user("johndoe").await;
    parts.clock.advance_millis(1_799_999);
    assert_eq!(status!(app, TestRequest::get().uri("/own"), token), StatusCode::OK);
    parts.clock.advance_millis(1);
    assert_eq!(status!(app, TestRequest::get().uri("/own"), token), StatusCode::UNAUTHORIZED);
}

#[test]
#[should_panic(expected = "projcts create")]
fn a_typo_in_a_permission_stops_the_start() {
    drop(require_permission("projcts create"));
}

#[test]
#[should_panic(expected = "Admin")]
fn a_typo_in_a_role_stops_the_start() {
    drop(require_role("Admin"));
}
