//! Who may what by the tables alone: one query, written by hand, on a connection of its own.

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::instance::{Answer, Answers};
use crate::support::Database;

/// What is asked for: those of every installation that matter here, and some that come and go.
pub(crate) const PERMISSIONS: [&str; 9] = [
    "projects:read",
    "runs:read",
    "users:manage",
    "docs:read",
    "docs:write",
    // Not of the resource `docs`, although it looks like it.
    "docs-2:read",
    "docs_:read",
    "d:read",
    "none:read",
];
/// Built in: the first three.
pub(crate) const ROLES: [&str; 8] = ["admin", "viewer", "analyst", "one", "two", "three", "four", "chief"];

/// Every answer, a row each: the user, what kind of answer it is, and what it is about; and first, of no user, what
/// there is.
const QUERY: &str = "
    WITH RECURSIVE
    held (user_id, assigned, role) AS (
        SELECT user_id, role_name, role_name FROM user_roles
        UNION
        SELECT held.user_id, held.assigned, role_includes.included_name
        FROM held JOIN role_includes ON role_includes.role_name = held.role
    ),
    given (user_id, assigned, permission) AS (
        SELECT held.user_id, held.assigned, role_permissions.permission_name
        FROM held JOIN role_permissions ON role_permissions.role_name = held.role
        UNION
        -- A wildcard's pattern without its star is what the names begin with.
        SELECT held.user_id, held.assigned, permissions.name
        FROM held JOIN role_wildcards ON role_wildcards.role_name = held.role
        JOIN permissions ON substr(permissions.name, 1, length(role_wildcards.pattern) - 1)
                          = substr(role_wildcards.pattern, 1, length(role_wildcards.pattern) - 1)
        UNION
        SELECT held.user_id, held.assigned, permissions.name FROM held, permissions WHERE held.role = 'admin'
    )
    SELECT '' AS username, 'role' AS kind, name, '' AS assigned FROM roles
    UNION ALL
    SELECT '', 'permission', name, '' FROM permissions
    UNION ALL
    SELECT username, 'known', '', '' FROM users
    UNION ALL
    SELECT username, 'superuser', '', '' FROM users WHERE is_active AND is_superuser
    UNION ALL
    SELECT username, 'everything', '', '' FROM users
    WHERE is_active AND EXISTS (
        SELECT 1 FROM held LEFT JOIN role_wildcards ON role_wildcards.role_name = held.role
        WHERE held.user_id = users.id AND (held.role = 'admin' OR role_wildcards.pattern = '*'))
    UNION ALL
    SELECT username, 'superuser gives', permissions.name, '' FROM users, permissions WHERE is_active AND is_superuser
    UNION ALL
    SELECT username, 'gives', permission, assigned FROM given JOIN users ON users.id = user_id WHERE is_active
    UNION ALL
    SELECT username, 'holds', role, '' FROM held JOIN users ON users.id = user_id WHERE is_active";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    assigned: String,
}

/// A look at the tables that no code of the product is part of.
pub(crate) struct Tables {
    database: Database,
    connection: Looking,
}

enum Looking {
    Sqlite(SqliteConnection),
    Postgres(tokio_postgres::Client),
}

impl Tables {
    pub(crate) async fn open(database: Database) -> Self {
        let connection = match database.url() {
            None => {
                let path = database.app().data_dir().join("portcullis.db");
                let mut connection = SqliteConnection::establish(path.to_str().unwrap()).expect("opens");
                connection.batch_execute("PRAGMA busy_timeout = 10000").expect("a pragma");
                Looking::Sqlite(connection)
            }
            Some(url) => {
                let client = connect(&url.parse().unwrap()).await;
                // Compiling the small query takes longer than running it.
                client.batch_execute("SET jit = off").await.expect("a setting");
                Looking::Postgres(client)
            }
        };
        Self { database, connection }
    }

    async fn rows(&mut self) -> Vec<Row> {
        match &mut self.connection {
            Looking::Sqlite(connection) => diesel::sql_query(QUERY).load(connection).expect("a query that holds"),
            Looking::Postgres(client) => {
                let messages = client.simple_query(QUERY).await.expect("a query that holds");
                let rows = messages.into_iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                rows.map(|row| {
                    let [username, kind, name, assigned] = [0, 1, 2, 3].map(|at| row.get(at).unwrap().to_owned());
                    Row { username, kind, name, assigned }
                })
                .collect()
            }
        }
    }

    /// What holds, by the tables.
    pub(crate) async fn answers(&mut self) -> Answers {
        let mut answers = Answers::default();
        for Row { username, kind, name, assigned } in self.rows().await {
            if username.is_empty() {
                let there_are = if kind == "role" { &mut answers.roles } else { &mut answers.permissions };
                there_are.insert(name);
                continue;
            }
            let answer = answers.users.entry(username).or_default();
            let all = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
            match kind.as_str() {
                "known" => {}
                "superuser" => {
                    answer.permitted.extend(all(&PERMISSIONS));
                    answer.passed.extend(all(&ROLES));
                }
                "everything" => answer.permitted.extend(all(&PERMISSIONS)),
                "superuser gives" => {
                    answer.through.entry(name).or_default();
                }
                "gives" => {
                    answer.through.entry(name).or_default().insert(assigned);
                }
                "holds" => {
                    answer.held.insert(name);
                }
                other => panic!("a row of kind {other}"),
            }
        }
        answers.users.values_mut().for_each(Answer::complete);
        answers
    }

    /// How many active superusers there are, and how many active users who pass the check for `admin`.
    pub(crate) async fn administrators(&mut self) -> (usize, usize) {
        let superusers = self.rows().await.iter().filter(|row| row.kind == "superuser").count();
        let admins = self.answers().await.users.values().filter(|answer| answer.passed.contains("admin")).count();
        (superusers, admins)
    }

    /// Drops the database: a long run would else leave thousands of them.
    pub(crate) async fn close(self) {
        if let Some(url) = self.database.url() {
            let mut config: tokio_postgres::Config = url.parse().unwrap();
            let name = config.get_dbname().unwrap().to_owned();
            let client = connect(config.dbname("postgres")).await;
            client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.expect("drops");
        }
    }
}

impl Answer {
    /// What follows from what the rows say.
    fn complete(&mut self) {
        self.listed = self.through.keys().cloned().collect();
        self.permitted.extend(self.listed.iter().filter(|name| PERMISSIONS.contains(&name.as_str())).cloned());
        self.passed.extend(self.held.iter().cloned());
    }
}

/// A connection of its own.
pub(crate) async fn connect(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.expect("connects");
    // Ends with the client, or with its database.
    actix::spawn(async move { drop(connection.await) });
    client
}
