//! Serves the page beside it on `http://localhost:3000`: `cargo run --example browser`.
//!
//! Any server of static files does the same; the page needs no building. `PORTCULLIS_URL` names a service that is
//! not at `http://localhost:8080`, and `PORT` another port for the page.

use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};

const PAGE: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("app.js");

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let service = variable("PORTCULLIS_URL", "http://localhost:8080");
    let port = variable("PORT", "3000").parse().map_err(std::io::Error::other)?;
    let page = PAGE.replace("http://localhost:8080", &service);
    // Scripts of this page alone, and requests to the service alone.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; connect-src {service}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let server = HttpServer::new(move || {
        let (page, policy) = (page.clone(), policy.clone());
        let html = move || {
            let (page, policy) = (page.clone(), policy.clone());
            async move {
                HttpResponse::Ok()
                    .content_type("text/html; charset=utf-8")
                    .insert_header((header::CONTENT_SECURITY_POLICY, policy))
                    .body(page)
            }
        };
        let script = || async { HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(SCRIPT) };
        App::new().route("/", web::get().to(html)).route("/app.js", web::get().to(script))
    })
    .workers(1)
    .bind(("127.0.0.1", port))?;
    for address in server.addrs() {
        println!("http://localhost:{}", address.port());
    }
    server.run().await
}
