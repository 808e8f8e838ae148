//! An application of its own with Portcullis inside: projects, runs, reports and models, each behind
//! the permission that it needs. One process, one command:
//!
//! ```sh
//! BOOTSTRAP_ADMIN_USERNAME=root BOOTSTRAP_ADMIN_EMAIL=root@example.com \
//! BOOTSTRAP_ADMIN_PASSWORD=correct-horse-battery cargo run --example projects
//! ```
//!
//! Register and sign in at `/auth/register` and `/auth/login`, as with the service itself; the API of
//! both is at <http://127.0.0.1:8080/docs>, and `/audit/logs` has `CREATE_PROJECT` beside `LOGIN`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use actix_web::{App, HttpResponse, HttpServer, web};
use portcullis::config::Config;
use portcullis::domain::UserId;
use portcullis::{
    Allowed, ApiError, AuditEvent, AuditLog, Portcullis, Principal, require_any, require_authentication,
    require_permission, require_role,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// What this application keeps: projects by their number.
#[derive(Default)]
struct Projects(Mutex<BTreeMap<u32, Project>>);

#[derive(Clone, Serialize, ToSchema)]
struct Project {
    id: u32,
    name: String,
    #[schema(value_type = String, format = Uuid)]
    owner: UserId,
}

#[derive(Deserialize, ToSchema)]
struct ProjectCreate {
    #[schema(example = "Bridge survey")]
    name: String,
}

impl Projects {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<u32, Project>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// --- Projects: the route names the permission, as a decorator would. ---

#[utoipa::path(post, path = "/api/projects", tag = "Projects", request_body = ProjectCreate,
    responses((status = 201, description = "The project", body = Project)))]
async fn create_project(
    caller: Principal,
    projects: web::Data<Projects>,
    body: web::Json<ProjectCreate>,
) -> HttpResponse {
    let project = projects.with(|all| {
        let id = all.keys().next_back().map_or(1, |last| last + 1);
        let project = Project { id, name: body.into_inner().name, owner: caller.id() };
        all.insert(id, project.clone());
        project
    });
    HttpResponse::Created().json(project)
}

#[utoipa::path(get, path = "/api/projects", tag = "Projects",
    responses((status = 200, description = "All projects", body = [Project])))]
async fn list_projects(projects: web::Data<Projects>) -> HttpResponse {
    HttpResponse::Ok().json(projects.with(|all| all.values().cloned().collect::<Vec<_>>()))
}

/// Whoever may update projects may delete their own; other people's need `projects:delete`.
#[utoipa::path(delete, path = "/api/projects/{id}", tag = "Projects", params(("id" = u32, Path)),
    responses((status = 204, description = "It is gone")))]
async fn delete_project(
    caller: Principal,
    audit: AuditLog,
    projects: web::Data<Projects>,
    id: web::Path<u32>,
) -> Result<HttpResponse, ApiError> {
    let project = projects.with(|all| all.get(&id).cloned()).ok_or(ApiError::NotFound("No such project"))?;
    if project.owner != caller.id() {
        caller.require("projects:delete").await?;
    }
    projects.with(|all| all.remove(&id));
    let event = AuditEvent::custom("PROJECT_ARCHIVED").by(&caller).resource("project", project.id);
    audit.log(event.metadata("name", project.name)).await?;
    Ok(HttpResponse::NoContent().finish())
}

// --- Runs and reports: the handler's argument is the guard. ---

portcullis::requirement!(ReadRuns = permission "runs:read");
portcullis::requirement!(ReadReports = permission "reports:read");
portcullis::requirement!(ExportReports = all "reports:read", "reports:export");

#[utoipa::path(get, path = "/api/runs", tag = "Runs", responses((status = 200, description = "All runs")))]
async fn list_runs(_: Allowed<ReadRuns>) -> HttpResponse {
    HttpResponse::Ok().json(["run 1"])
}

#[utoipa::path(get, path = "/api/reports", tag = "Reports", responses((status = 200, description = "All reports")))]
async fn list_reports(_: Allowed<ReadReports>) -> HttpResponse {
    HttpResponse::Ok().json(["report 7"])
}

#[utoipa::path(get, path = "/api/reports/{id}/export", tag = "Reports", params(("id" = u32, Path)),
    responses((status = 200, description = "The report", body = String)))]
async fn export_report(_: Allowed<ExportReports>, id: web::Path<u32>) -> String {
    format!("report {id}\n")
}

// --- Models and users: one of several permissions, and a role. ---

#[utoipa::path(get, path = "/api/models", tag = "Models", responses((status = 200, description = "All models")))]
async fn list_models() -> HttpResponse {
    HttpResponse::Ok().json(["model 1"])
}

#[utoipa::path(delete, path = "/users/{user_id}", tag = "Users", params(("user_id" = String, Path)),
    responses((status = 204, description = "The account is gone")))]
async fn delete_user(
    caller: Principal,
    portcullis: web::Data<Portcullis>,
    user_id: web::Path<UserId>,
) -> Result<HttpResponse, ApiError> {
    portcullis.accounts().delete(caller.authority(), *user_id).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Projects", description = "An application with Portcullis inside."),
    paths(
        create_project,
        list_projects,
        delete_project,
        list_runs,
        list_reports,
        export_report,
        list_models,
        delete_user
    )
)]
struct Api;

fn routes(cfg: &mut web::ServiceConfig) {
    // The scope asks for a token before any route is looked for: without one, every path and method
    // below `/api` is 401, also those that there are not. What else is needed stands at each route.
    let api = web::scope("/api")
        .wrap(require_authentication())
        .service(
            web::resource("/projects")
                .route(web::post().to(create_project).wrap(require_permission("projects:create")))
                .route(web::get().to(list_projects).wrap(require_permission("projects:read"))),
        )
        .service(
            web::resource("/projects/{id}")
                .route(web::delete().to(delete_project).wrap(require_permission("projects:update"))),
        )
        .service(web::resource("/runs").get(list_runs))
        .service(web::resource("/reports").get(list_reports))
        .service(web::resource("/reports/{id}/export").get(export_report))
        .service(
            web::resource("/models")
                .route(web::get().to(list_models).wrap(require_any(["models:read", "models:manage"]))),
        );
    cfg.service(api).route("/users/{user_id}", web::delete().to(delete_user).wrap(require_role("admin")));
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let config = Config::from_env()?;
    let address = (config.server.host, config.server.port);
    let portcullis = Portcullis::start_with_api(config, Api::openapi()).await?;
    let projects = web::Data::new(Projects::default());
    let inside = portcullis.clone();
    let server = HttpServer::new(move || {
        App::new()
            .wrap(inside.cors())
            .wrap(inside.http_metrics())
            // The last wrap is the outermost: what the others answer is recorded too.
            .wrap(inside.recorder())
            .app_data(projects.clone())
            .app_data(web::Data::new(inside.clone()))
            .configure(routes)
            // Last: it answers whatever no route above took.
            .configure(|cfg| inside.configure(cfg))
    })
    .bind(address)?;
    println!("listening on http://{}", server.addrs()[0]);
    server.run().await?;
    portcullis.stop().await;
    Ok(())
}
