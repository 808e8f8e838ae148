//! What an administrator does, in a line each.

use serde_json::{Value, json};

use super::{Account, Answer, TestApp, items};

/// The id of no user, role or session.
pub(crate) const NOBODY: &str = "0197f1d0-0000-7000-8000-000000000000";

impl TestApp {
    /// Sends a request without a body, as this user.
    pub(crate) async fn ask(&self, who: &Account, method: &str, path: &str) -> Answer {
        self.call(method, path).bearer(&who.access).send().await
    }

    /// Sends a request with a body, as this user.
    pub(crate) async fn tell(&self, who: &Account, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path).bearer(&who.access).json(body).send().await
    }

    /// As the administrator, to whom a 204 is due.
    pub(crate) async fn administer(&self, method: &str, path: &str) -> Answer {
        self.ask(self.admin().await, method, path).await.expect(204)
    }

    /// Makes a role with these grants, as the administrator.
    pub(crate) async fn make_role(&self, name: &str, permissions: &[&str]) -> Value {
        let body = json!({"name": name, "permissions": permissions});
        self.tell(self.admin().await, "POST", "/admin/roles", &body).await.expect(201).json()
    }

    /// Makes a permission, as the administrator.
    pub(crate) async fn make_permission(&self, name: &str) {
        let body = json!({"name": name, "description": "For a test"});
        self.tell(self.admin().await, "POST", "/admin/permissions", &body).await.expect(201);
    }

    /// Lets a role include another, as the administrator.
    pub(crate) async fn include(&self, role: &str, other: &str) {
        self.administer("PUT", &format!("/admin/roles/{role}/includes/{other}")).await;
    }

    /// Makes a user who can't be told from a registered one, without the default role; gives the id.
    pub(crate) async fn make_user(&self, name: &str, roles: &[&str]) -> String {
        let mut body = Self::registration(name);
        body["roles"] = json!(roles);
        let user = self.tell(self.admin().await, "POST", "/admin/users", &body).await.expect(201).json();
        user["id"].as_str().expect("an id").to_owned()
    }

    /// Makes a user with exactly these roles, and signs in.
    pub(crate) async fn holder(&self, name: &str, roles: &[&str]) -> Account {
        self.make_user(name, roles).await;
        self.login(name, "securepassword123").await
    }

    /// Assigns (`PUT`) or takes (`DELETE`) a role, as this user.
    pub(crate) async fn set_role_as(&self, who: &Account, method: &str, user: &str, role: &str) -> Answer {
        self.ask(who, method, &format!("/admin/users/{user}/roles/{role}")).await
    }

    /// A role as the administrator sees it.
    pub(crate) async fn role(&self, name: &str) -> Value {
        self.ask(self.admin().await, "GET", &format!("/admin/roles/{name}")).await.expect(200).json()
    }

    /// What a user may, and through which roles, as the administrator sees it.
    pub(crate) async fn permissions_of(&self, user: &str) -> Vec<Value> {
        let path = format!("/admin/users/{user}/permissions");
        items(&self.ask(self.admin().await, "GET", &path).await.expect(200).json()).to_vec()
    }

    /// Whether the next request of this user passes the check: `permission=projects:read`, `role=viewer`.
    pub(crate) async fn passes(&self, who: &Account, check: &str) -> bool {
        self.ask(who, "GET", &format!("/auth/verify?{check}")).await.expect_one_of(&[200, 403]).status == 200
    }
}
