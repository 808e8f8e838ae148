//! Somebody's app that keeps no accounts: it asks the service at `PORTCULLIS_URL`.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use portcullis::guard::RemoteSettings;
use portcullis::{Allowed, ApiError, Guards, Principal, require_any, require_permission, require_role};

portcullis::requirement!(ExportReports = all "reports:read", "reports:export");

async fn me(caller: Principal) -> HttpResponse {
    HttpResponse::Ok().json([caller.id().to_string(), caller.username().to_string()])
}

async fn export(_: Allowed<ExportReports>) -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// A check that depends on data.
async fn remove(caller: Principal, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    if path.as_str() == "precious" {
        caller.require("projects:delete").await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = RemoteSettings::new(std::env::var("PORTCULLIS_URL")?);
    settings.max_age = Duration::from_millis(std::env::var("MAX_AGE_MS")?.parse()?);
    let guards = web::Data::new(Guards::remote(settings)?);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(guards.clone())
            .route("/me", web::get().to(me))
            .route("/reports", web::get().to(HttpResponse::Ok).wrap(require_permission("reports:read")))
            .route("/reports/export", web::get().to(export))
            .route("/edit", web::post().to(HttpResponse::Ok).wrap(require_any(["projects:create", "projects:update"])))
            .route("/admin", web::get().to(HttpResponse::Ok).wrap(require_role("admin")))
            .route("/typo", web::get().to(HttpResponse::Ok).wrap(require_permission("raports:read")))
            .route("/projects/{id}", web::delete().to(remove))
    })
    .workers(2)
    .bind(("127.0.0.1", 0))?;
    println!("listening on {}", server.addrs()[0]);
    Ok(server.run().await?)
}
