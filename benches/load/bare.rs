//! The bare server: what actix itself costs on this machine.

use std::io::Read;

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::Failure;

/// 60 bytes.
const BODY: &str = r#"{"status":"ok","message":"sixty bytes of JSON, and no more"}"#;

const _: () = assert!(BODY.len() == 60, "the bare answer has 60 bytes");

/// Serves until its standard input ends, which it does however the benchmark ends.
pub(crate) fn serve() -> Result<(), Failure> {
    std::thread::spawn(|| {
        // Nobody writes; an error is an end as well.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(|| App::new().route("/", web::get().to(answer)))
            .workers(super::service::WORKERS)
            .bind(("127.0.0.1", 0))?;
        for address in server.addrs() {
            eprintln!("listening on http://{address}");
        }
        server.run().await?;
        Ok(())
    })
}

async fn answer() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(BODY)
}
