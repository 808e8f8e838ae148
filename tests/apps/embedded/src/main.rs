//! Somebody's app with everything in one process.

use actix_web::{App, HttpResponse, HttpServer, web};
use portcullis::config::Config;
use portcullis::{ApiError, AuditEvent, AuditLog, Portcullis, Principal, require_permission, require_role};

async fn create_project(caller: Principal, audit: AuditLog) -> Result<HttpResponse, ApiError> {
    audit.log(AuditEvent::custom("BUDGET_SET").by(&caller).resource("project", 42).metadata("euros", 1000)).await?;
    Ok(HttpResponse::Created().finish())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let required = std::env::var("REQUIRED").unwrap_or_else(|_| "projects:create".into());
    let portcullis = Portcullis::start(Config::from_env()?).await?;
    if let Ok(own) = std::env::var("DECLARED") {
        portcullis.declare_permission(&own, "The app's own").await?;
    }
    let inside = portcullis.clone();
    let server = HttpServer::new(move || {
        App::new()
            .wrap(inside.recorder())
            .service(
                web::resource("/api/projects")
                    .route(web::post().to(create_project).wrap(require_permission(&required))),
            )
            .route("/users/{user_id}", web::delete().to(HttpResponse::NoContent).wrap(require_role("admin")))
            .configure(|cfg| inside.configure(cfg))
    })
    .workers(2)
    .bind(("127.0.0.1", 0))?;
    println!("listening on {}", server.addrs()[0]);
    server.run().await?;
    portcullis.stop().await;
    Ok(())
}
