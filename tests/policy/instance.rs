//! Two instances on one database, in this process, and what they answer from memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Arbiter;
use portcullis::actors::{
    Accounts, Algorithm, CacheSettings, Feed, Freshness, Keys, Lifecycle, NewAccount, PasswordSettings, Passwords,
    Rbac, RbacService, ServiceResult, TokenSettings, Tokens,
};
use portcullis::clock::{SharedClock, SystemClock};
use portcullis::domain::{Authority, Email, NewPassword, PasswordPolicy, Permission, RoleName, UserId, Username};
use portcullis::metrics::Metrics;
use portcullis::store::{self, Store, StoreSettings};

use crate::support::{Backend, Database, SECRET};
use crate::tables::{PERMISSIONS, ROLES, Tables};

/// The accounts, by their places.
pub(crate) const USERS: [&str; 4] = ["root", "anna", "bert", "cara"];

/// What api.md gives another instance to hear of a change.
const SOON: Duration = Duration::from_secs(1);

/// What one user may.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Of all that is asked for, what is permitted, whether it exists or not.
    pub(crate) permitted: BTreeSet<String>,
    /// The list, each with the assigned roles through which it comes.
    pub(crate) through: BTreeMap<String, BTreeSet<String>>,
    /// The list by itself.
    pub(crate) listed: Vec<String>,
    /// Of all that is asked for, the roles whose check is passed, whether they exist or not.
    pub(crate) passed: BTreeSet<String>,
    /// The roles that are held, directly or by inclusion.
    pub(crate) held: BTreeSet<String>,
}

/// What there is, and what each user may.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) roles: BTreeSet<String>,
    pub(crate) permissions: BTreeSet<String>,
    pub(crate) users: BTreeMap<String, Answer>,
}

/// How a store opens this database.
pub(crate) fn settings(database: &Database) -> StoreSettings {
    let file = database.app().data_dir().join("portcullis.db");
    StoreSettings {
        database: match database.url() {
            None => store::Database::Sqlite(file),
            Some(url) => store::Database::Postgres(url.to_owned().into()),
        },
        timeout: Duration::from_secs(5),
        pool_size: 4,
        default_role: RoleName::parse("viewer").unwrap(),
    }
}

/// One instance without its HTTP face.
pub(crate) struct Instance {
    pub(crate) accounts: Accounts,
    pub(crate) service: RbacService,
    rbac: Rbac,
    feed: Feed,
}

impl Instance {
    async fn start(database: &Database) -> Self {
        let store = Store::open(settings(database)).await.expect("opens");
        let (here, lifecycle) = (Arbiter::current(), Lifecycle::default());
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let caches = CacheSettings { max_users: 100, max_staleness: Duration::from_secs(30) };
        let freshness = Freshness::new(caches.max_staleness);
        let source = Arc::new(store.clone());
        let rbac = Rbac::start(source, caches, freshness.clone(), metrics.clone(), &here, &lifecycle).await.unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let (keys, tokens) = (Keys::new(&tokens()).unwrap(), tokens());
        let tokens = Tokens::start(
            keys,
            tokens,
            store.clone(),
            rbac.clone(),
            clock.clone(),
            freshness.clone(),
            metrics.clone(),
            &here,
            &lifecycle,
        );
        let heard = (store.clone(), rbac.clone(), tokens.clone());
        let feed = Feed::start(heard.0, heard.1, heard.2, freshness, metrics, &here, &lifecycle).await.expect("reads");
        let passwords = Passwords::start(PasswordSettings { cost: 4, threads: 1 }, &lifecycle).unwrap();
        let accounts = Accounts::new(store.clone(), passwords, rbac.clone(), tokens);
        Self { accounts, service: RbacService::new(store, rbac.clone(), clock), rbac, feed }
    }

    /// Makes an account; gives its id.
    pub(crate) async fn make_user(
        &self,
        name: &str,
        roles: &[&str],
        is_superuser: bool,
        by: Authority,
    ) -> ServiceResult<UserId> {
        let username = Username::parse(name).unwrap();
        let password = "securepassword123".to_owned().into();
        let roles: Vec<_> = roles.iter().map(|role| RoleName::parse(role).unwrap()).collect();
        let account = NewAccount {
            password: NewPassword::parse(&password, PasswordPolicy { min_length: 8 }, Some(&username), None).unwrap(),
            username,
            email: Email::parse(&format!("{name}@example.com")).unwrap(),
            full_name: None,
            roles: roles.clone(),
            is_superuser,
        };
        Ok(self.accounts.create_by(by, account, Some(roles)).await?.id)
    }

    /// By what is in memory; who is not there yet is loaded by it.
    pub(crate) async fn answers(&self, users: &[UserId]) -> Answers {
        let policy = self.rbac.policy();
        let mut answers = Answers {
            roles: policy.roles().into_iter().map(|role| role.name.to_string()).collect(),
            permissions: policy.permissions().into_iter().map(|info| info.name.to_string()).collect(),
            users: BTreeMap::new(),
        };
        drop(policy);
        for (id, name) in users.iter().zip(USERS) {
            let Some(user) = self.rbac.find_user(*id).await.expect("the database is there") else { continue };
            // Not forgotten between the questions: one moment's answers.
            let policy = self.rbac.policy();
            let mut answer = Answer {
                through: texts_by_text(policy.permissions_with_roles(&user)),
                listed: policy.permissions_of(&user).iter().map(ToString::to_string).collect(),
                held: policy.roles_of(&user).iter().map(ToString::to_string).collect(),
                ..Answer::default()
            };
            drop(policy);
            for name in PERMISSIONS {
                if self.rbac.has_permission(&user, &Permission::parse(name).unwrap()) {
                    answer.permitted.insert(name.to_owned());
                }
            }
            for name in ROLES {
                if self.rbac.has_role(&user, &RoleName::parse(name).unwrap()) {
                    answer.passed.insert(name.to_owned());
                }
            }
            answers.users.insert(name.to_owned(), answer);
        }
        answers
    }
}

fn texts_by_text(found: BTreeMap<Permission, BTreeSet<RoleName>>) -> BTreeMap<String, BTreeSet<String>> {
    found.into_iter().map(|(name, roles)| (name.to_string(), roles.iter().map(ToString::to_string).collect())).collect()
}

fn tokens() -> TokenSettings {
    let day = Duration::from_secs(86_400);
    TokenSettings {
        secret: SECRET.to_owned().into(),
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
    }
}

/// Two instances on a fresh database, and the way past both of them.
pub(crate) struct Pair {
    pub(crate) instances: [Instance; 2],
    pub(crate) tables: Tables,
    /// Of each name the account that has it, or had it last.
    pub(crate) users: Vec<UserId>,
}

impl Pair {
    /// None where there is no server.
    pub(crate) async fn start(backend: Backend) -> Option<Self> {
        let database = Database::fresh(backend).await?;
        let instances = [Instance::start(&database).await, Instance::start(&database).await];
        Some(Self { instances, tables: Tables::open(database).await, users: Vec::new() })
    }

    /// The authority of the user at that place, or the system's.
    pub(crate) fn authority(&self, place: Option<usize>) -> Authority {
        place.map_or(Authority::System, |place| Authority::User(self.users[place]))
    }

    /// Whether this instance says what the tables say, now.
    pub(crate) async fn agrees(&mut self, at: usize) -> Result<(), String> {
        let expected = self.tables.answers().await;
        let found = self.instances[at].answers(&self.users).await;
        if found == expected {
            return Ok(());
        }
        let mut told = Vec::new();
        if (&found.roles, &found.permissions) != (&expected.roles, &expected.permissions) {
            told.push(format!("in memory: {:?} {:?}", found.roles, found.permissions));
            told.push(format!("in the tables: {:?} {:?}", expected.roles, expected.permissions));
        }
        for name in USERS {
            let (found, expected) = (found.users.get(name), expected.users.get(name));
            if found != expected {
                told.push(format!("{name} in memory: {found:#?}\n{name} in the tables: {expected:#?}"));
            }
        }
        Err(told.join("\n"))
    }

    /// Whether this instance says what the tables say, within the time that it has to hear of a change.
    pub(crate) async fn agrees_soon(&mut self, at: usize) -> Result<(), String> {
        let begun = Instant::now();
        while let Err(difference) = self.agrees(at).await {
            if begun.elapsed() > SOON {
                return Err(format!("after {SOON:?} still: {difference}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends the instances and drops the database.
    pub(crate) async fn end(self) {
        for instance in &self.instances {
            instance.feed.stop();
        }
        self.tables.close().await;
    }
}
