//! The log as a file: what the service holds of it in memory meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portcullis::domain::Timestamp;

use crate::log::Place;
use crate::processor::resident_megabytes;
use crate::records::SPAN_MS;
use crate::report::{Report, whole};
use crate::{Failure, http, progress};

/// Of the newest, at most.
const RECORDS: u64 = 1_000_000;
const MOST_MEGABYTES: f64 = 20.0;
/// Between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A part that does not come for so long never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Exports a million records in each format, and reports the growth of the service.
///
/// # Errors
/// The log can't be filled, or the file breaks off.
pub(crate) fn measure(place: &Place<'_>, report: &mut Report) -> Result<(), Failure> {
    let log = place.log(place.options.records)?;
    let count = RECORDS.min(log.records.count);
    let since = log.records.end_ms - SPAN_MS / log.records.count * count;
    let since = Timestamp::from_millis(i64::try_from(since)?);
    report.heading(format!("Export from {}: some {} records", place.backend.name(), whole(count as f64)));
    for format in ["csv", "ndjson"] {
        progress(&format!("an export as {format}"));
        let server = log.serve()?;
        let token = server.token()?;
        // What any question leaves behind.
        http::fetch(server.address, &http::get("/audit/logs?limit=1000", Some(&token)))?;
        let before = resident_megabytes(server.pid())?;
        let mut stream = TcpStream::connect(server.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&http::get(&format!("/audit/export?format={format}&since={since}"), Some(&token)))?;
        let (begun, mut looked, mut peak) = (Instant::now(), Instant::now(), before);
        let (mut part, mut tail, mut bytes, mut lines) = (vec![0; 64 << 10], Vec::new(), 0, 0);
        while !tail.ends_with(b"\r\n0\r\n\r\n") {
            let read = stream.read(&mut part)?;
            if read == 0 {
                return Err("the export broke off".into());
            }
            bytes += read;
            lines += part[..read].iter().filter(|byte| **byte == b'\n').count();
            tail.extend_from_slice(&part[..read]);
            tail.drain(..tail.len().saturating_sub(16));
            if looked.elapsed() >= LOOK_EVERY {
                peak = peak.max(resident_megabytes(server.pid())?);
                looked = Instant::now();
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let grown = peak - before;
        let size = format!("{}, {:.0} MB", whole(lines as f64), bytes as f64 / 1e6);
        report.figure(format!("{format}: lines"), size);
        report.figure(format!("{format}: records/s"), whole(lines as f64 / seconds));
        let target = format!("< {MOST_MEGABYTES} MB");
        report.judged(
            format!("{format}: memory of the service, from {before:.1} MB by"),
            format!("{grown:.1} MB"),
            target,
            grown < MOST_MEGABYTES,
        );
    }
    Ok(())
}
