//! What is held in memory against what the database says: over random histories of changes, on both databases,
//! every cached answer is the answer of one plain SQL query, on the instance that made the change at once, and on
//! a second one within a second.
//!
//! `PORTCULLIS_HISTORIES=100 cargo test --test policy` is the long form; the short one has six for each database.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "other suites use the rest")]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use portcullis::Portcullis;
use portcullis::actors::{NewAccount, ServiceError, ServiceResult};
use portcullis::config::Config;
use portcullis::domain::{
    Authority, Email, Grant, NewPassword, PasswordPolicy, PolicyChange, RoleName, UserChange, UserId, Username,
};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestCaseError, TestRunner};

use support::{Backend, Database, SECRET};

const USERS: [&str; 3] = ["anna", "bert", "cara"];
const ROLES: [&str; 6] = ["viewer", "admin", "one", "two", "three", "four"];
const PERMISSIONS: [&str; 5] = ["projects:read", "runs:read", "own:first", "own:second", "own:third"];
const GRANTS: [&str; 8] =
    ["projects:read", "runs:read", "own:first", "own:second", "own:third", "own:*", "projects:*", "*"];
/// What api.md gives another instance to hear of a change.
const SOON: Duration = Duration::from_secs(1);

/// One change, by the places of what it is about.
#[derive(Debug, Clone)]
enum Step {
    CreateRole(usize),
    DeleteRole(usize),
    Grant(usize, usize),
    Revoke(usize, usize),
    Include(usize, usize),
    Exclude(usize, usize),
    CreatePermission(usize),
    DeletePermission(usize),
    Assign(usize, usize),
    Remove(usize, usize),
    Activate(usize, bool),
    Promote(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let (role, user, grant, own) = (0..ROLES.len(), 0..USERS.len(), 0..GRANTS.len(), 2..PERMISSIONS.len());
    prop_oneof![
        3 => role.clone().prop_map(Step::CreateRole),
        1 => role.clone().prop_map(Step::DeleteRole),
        4 => (role.clone(), grant.clone()).prop_map(|(role, grant)| Step::Grant(role, grant)),
        2 => (role.clone(), grant).prop_map(|(role, grant)| Step::Revoke(role, grant)),
        4 => (role.clone(), role.clone()).prop_map(|(role, other)| Step::Include(role, other)),
        2 => (role.clone(), role.clone()).prop_map(|(role, other)| Step::Exclude(role, other)),
        3 => own.clone().prop_map(Step::CreatePermission),
        1 => own.prop_map(Step::DeletePermission),
        4 => (user.clone(), role.clone()).prop_map(|(user, role)| Step::Assign(user, role)),
        2 => (user.clone(), role).prop_map(|(user, role)| Step::Remove(user, role)),
        1 => (user.clone(), any::<bool>()).prop_map(|(user, is)| Step::Activate(user, is)),
        1 => (user, any::<bool>()).prop_map(|(user, is)| Step::Promote(user, is)),
    ]
}

/// One instance, in this process.
struct Instance {
    portcullis: Portcullis,
    users: Vec<UserId>,
    _home: tempfile::TempDir,
}

impl Instance {
    async fn start(database: &Database) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().display().to_string();
        let file = database.app().data_dir().join("portcullis.db").display().to_string();
        let url = database.url().map_or_else(|| format!("sqlite://{file}"), ToOwned::to_owned);
        let config = Config::from_vars(&|name| match name {
            "DATA_DIR" => Some(folder.clone()),
            "DATABASE_URL" => Some(url.clone()),
            "JWT_SECRET_KEY" => Some(SECRET.to_owned()),
            "PASSWORD_BCRYPT_COST" => Some("10".into()),
            _ => None,
        });
        let portcullis = Portcullis::start(config.expect("settings")).await.expect("starts");
        Self { portcullis, users: Vec::new(), _home: home }
    }

    async fn make_users(&mut self) {
        for name in ["root"].iter().chain(&USERS) {
            let username = Username::parse(name).unwrap();
            let password = "securepassword123".to_owned().into();
            let policy = PasswordPolicy { min_length: 8 };
            let account = NewAccount {
                password: NewPassword::parse(&password, policy, Some(&username), None).unwrap(),
                username,
                email: Email::parse(&format!("{name}@example.com")).unwrap(),
                full_name: None,
                roles: vec![RoleName::parse("viewer").unwrap()],
                // An administrator who stays, so that no demotion is refused.
                is_superuser: *name == "root",
            };
            let user = self.portcullis.accounts().create(account).await.expect("made");
            if *name != "root" {
                self.users.push(user.id);
            }
        }
    }

    async fn make(&self, step: &Step) -> ServiceResult<()> {
        let rbac = self.portcullis.rbac();
        let role = |at: usize| RoleName::parse(ROLES[at]).unwrap();
        let grant = |at: usize| Grant::parse(GRANTS[at]).unwrap();
        let change = match *step {
            Step::CreateRole(at) => PolicyChange::CreateRole(role(at), String::new()),
            Step::DeleteRole(at) => PolicyChange::DeleteRole(role(at)),
            Step::Grant(at, what) => PolicyChange::Grant(role(at), grant(what)),
            Step::Revoke(at, what) => PolicyChange::Revoke(role(at), grant(what)),
            Step::Include(at, other) => PolicyChange::Include(role(at), role(other)),
            Step::Exclude(at, other) => PolicyChange::Exclude(role(at), role(other)),
            Step::CreatePermission(at) => {
                PolicyChange::CreatePermission(PERMISSIONS[at].parse().unwrap(), String::new())
            }
            Step::DeletePermission(at) => PolicyChange::DeletePermission(PERMISSIONS[at].parse().unwrap()),
            Step::Assign(user, at) => {
                return rbac.assign_role(self.users[user], ROLES[at], Authority::System).await.map(drop);
            }
            Step::Remove(user, at) => {
                return rbac.remove_role(self.users[user], ROLES[at], Authority::System).await.map(drop);
            }
            Step::Activate(user, is) => {
                let change = UserChange { is_active: Some(is), ..UserChange::default() };
                return self.update(user, change).await;
            }
            Step::Promote(user, is) => {
                let change = UserChange { is_superuser: Some(is), ..UserChange::default() };
                return self.update(user, change).await;
            }
        };
        rbac.change_one(change, Authority::System).await.map(drop)
    }

    async fn update(&self, user: usize, change: UserChange) -> ServiceResult<()> {
        self.portcullis.accounts().update(Authority::System, self.users[user], change, None).await.map(drop)
    }

    /// `anna projects:read`, and `anna viewer`: everything that holds, by what is in memory.
    async fn answers(&self, users: &[UserId]) -> BTreeSet<String> {
        let rbac = self.portcullis.rbac();
        let mut answers = BTreeSet::new();
        for (id, name) in users.iter().zip(USERS) {
            let listed = rbac.get_user_permissions(*id).await.expect("known");
            for permission in PERMISSIONS {
                let has = rbac.has_permission(*id, permission).await.expect("known");
                let is_listed = listed.contains_key(&permission.parse().unwrap());
                // One who has everything has also what was never made.
                assert!(has || !is_listed, "{name} {permission}: listed, and refused");
                if is_listed {
                    answers.insert(format!("{name} {permission}"));
                }
            }
            for role in ROLES {
                if rbac.has_role(*id, role).await.expect("known") {
                    answers.insert(format!("{name} {role}"));
                }
            }
        }
        answers
    }
}

/// The same by one query on the tables.
async fn by_sql(database: &Database) -> BTreeSet<String> {
    let (settings, list) = match database.backend() {
        Backend::Sqlite => ("", "group_concat(line, ',')"),
        // Without compiling each of these small queries, which takes longer than all of them.
        Backend::Postgresql => ("SET jit = off;", "string_agg(line, ',')"),
    };
    let query = format!(
        "{settings} WITH RECURSIVE held (user_id, role) AS (
             SELECT user_id, role_name FROM user_roles
             UNION
             SELECT held.user_id, included_name FROM held JOIN role_includes ON role_name = held.role
         ),
         permitted (user_id, name) AS (
             SELECT user_id, name FROM held, permissions
             WHERE role = 'admin'
                OR EXISTS (SELECT 1 FROM role_permissions WHERE role_name = role AND permission_name = name)
                OR EXISTS (SELECT 1 FROM role_wildcards WHERE role_name = role
                           AND substr(name, 1, length(pattern) - 1) = substr(pattern, 1, length(pattern) - 1))
             UNION
             SELECT id, name FROM users, permissions WHERE is_superuser
         ),
         all_roles (user_id, name) AS (
             SELECT user_id, role FROM held
             UNION
             SELECT id, name FROM users, roles WHERE is_superuser
         )
         SELECT {list} FROM (
             SELECT username || ' ' || name AS line FROM permitted JOIN users ON id = user_id WHERE is_active
             UNION
             SELECT username || ' ' || name FROM all_roles JOIN users ON id = user_id WHERE is_active
         ) AS lines"
    );
    let text = database.scalar(&query).await.unwrap_or_default();
    let is_about = |line: &&str| {
        line.split_once(' ')
            .is_some_and(|(user, name)| USERS.contains(&user) && (PERMISSIONS.contains(&name) || ROLES.contains(&name)))
    };
    text.split(',').filter(is_about).map(str::to_owned).collect()
}

/// A superuser passes the check for a role that is not there; the tables know none.
fn comparable(
    mut answers: BTreeSet<String>,
    by_sql: &BTreeSet<String>,
    present: &BTreeSet<String>,
) -> BTreeSet<String> {
    answers.retain(|line| {
        by_sql.contains(line)
            || line.split_once(' ').is_none_or(|(_, name)| !ROLES.contains(&name) || present.contains(name))
    });
    answers
}

async fn present_roles(database: &Database) -> BTreeSet<String> {
    let list = match database.backend() {
        Backend::Sqlite => "SELECT group_concat(name, ',') FROM roles",
        Backend::Postgresql => "SELECT string_agg(name, ',') FROM roles",
    };
    database.scalar(list).await.unwrap_or_default().split(',').map(str::to_owned).collect()
}

async fn check(instance: &Instance, users: &[UserId], database: &Database) -> Result<(), String> {
    let expected = by_sql(database).await;
    let present = present_roles(database).await;
    let answers = comparable(instance.answers(users).await, &expected, &present);
    if answers == expected {
        return Ok(());
    }
    let (wrong, missing): (Vec<_>, Vec<_>) =
        (answers.difference(&expected).collect(), expected.difference(&answers).collect());
    Err(format!("held but not so: {wrong:?}; so but not held: {missing:?}"))
}

async fn run(backend: Backend, steps: &[Step]) -> Result<(), String> {
    let Some(database) = Database::fresh(backend).await else { return Ok(()) };
    let mut one = Instance::start(&database).await;
    let other = Instance::start(&database).await;
    one.make_users().await;
    let users = one.users.clone();
    // What the other instance holds is what has to change.
    other.answers(&users).await;
    for (number, step) in steps.iter().enumerate() {
        // What does not fit is refused, and then nothing has changed.
        if let Err(ServiceError::Unavailable(error)) = one.make(step).await {
            return Err(format!("{step:?}: {error}"));
        }
        check(&one, &users, &database).await.map_err(|error| format!("after {number} {step:?}: {error}"))?;
    }
    let begun = Instant::now();
    while let Err(error) = check(&other, &users, &database).await {
        if begun.elapsed() > SOON {
            return Err(format!("the other instance: {error}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    one.portcullis.stop().await;
    other.portcullis.stop().await;
    Ok(())
}

fn histories(backend: Backend) {
    let cases = std::env::var("PORTCULLIS_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let runs = Runs { cases, failure_persistence: None, max_shrink_iters: 64, ..Runs::default() };
    let outcome = TestRunner::new(runs).run(&proptest::collection::vec(step(), 1..80), |steps| {
        actix::System::new().block_on(run(backend, &steps)).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_cached_answer_is_the_answer_of_the_tables_on_sqlite() {
    histories(Backend::Sqlite);
}

#[test]
fn the_cached_answer_is_the_answer_of_the_tables_on_postgresql() {
    histories(Backend::Postgresql);
}
