//! `portcullis keys generate`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use clap::{Args, ValueEnum};
use pem::{EncodeConfig, LineEnding, Pem};
use secrecy::{ExposeSecret, SecretString};

use super::CliError;
use super::output::say;
use crate::actors::{Algorithm, Keys};

/// RSA's 2048 bits are worth 112, which NIST allows until 2030 (SP 800-57 part
/// 1), and a key may outlive that; 3072 are worth 128, as P-256 and Ed25519
/// are. A signature takes some milliseconds at most, beside a password hash of
/// some hundred; who signs a lot takes EdDSA.
const RSA_SIZE: KeySize = KeySize::Rsa3072;

#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// What it signs with; EdDSA is the fastest, RS256 what every client reads
    #[arg(long)]
    algorithm: KeyAlgorithm,
    /// The file to make; one that is there is never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The algorithms with a key of their own, named as in `JWT_ALGORITHM`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyAlgorithm {
    /// Ed25519
    #[value(name = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256
    #[value(name = "ES256")]
    Es256,
    /// RSA with 3072 bits
    #[value(name = "RS256")]
    Rs256,
}

pub(super) fn generate(arguments: &GenerateArguments) -> Result<(), CliError> {
    let out = &arguments.out;
    let (name, algorithm) = match arguments.algorithm {
        KeyAlgorithm::EdDsa => ("EdDSA", Algorithm::EdDsa),
        KeyAlgorithm::Es256 => ("ES256", Algorithm::Es256),
        KeyAlgorithm::Rs256 => ("RS256", Algorithm::Rs256),
    };
    // The service may run in another folder than this.
    let path = std::path::absolute(out).map_err(|error| CliError::Failed(format!("{}: {error}", out.display())))?;
    let pem = make(algorithm).map_err(|error| CliError::Failed(format!("no key could be made: {error}")))?;
    // Read as the service will read it: what it could not use is not written.
    let key_id = Keys::key_id(algorithm, &pem).map_err(|error| CliError::Failed(error.to_string()))?;
    write(&path, &pem).map_err(|error| {
        CliError::Failed(match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{} is there already, and is not overwritten: name another file", path.display())
            }
            _ => format!("{} can't be written: {error}", path.display()),
        })
    })?;
    let path = path.display();
    say(format_args!("Made {path}, a private key with the kid {key_id}: keep it secret. To sign with it, set"))?;
    say(format_args!("JWT_ALGORITHM={name}"))?;
    say(format_args!("JWT_PRIVATE_KEY_FILE={path}"))
}

/// A new key as PKCS#8 of version 1 in PEM, which every reader knows (RFC 5958, 7468).
fn make(algorithm: Algorithm) -> Result<SecretString, Unspecified> {
    let der = match algorithm {
        Algorithm::Rs256 => rsa::KeyPair::generate(RSA_SIZE)?.as_der()?.as_ref().to_vec(),
        Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec(),
        Algorithm::EdDsa => Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref().to_vec(),
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(Unspecified),
    };
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    Ok(pem::encode_config(&Pem::new("PRIVATE KEY", der), config).into())
}

/// Nobody else can read the file at any time, and it is on the disk when this returns.
fn write(path: &Path, pem: &SecretString) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(pem.expose_secret().as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        // The name too, which stands in the folder.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    });
    if written.is_err() {
        // Half a key is of no use, and would be in the way of the next attempt.
        let _ = std::fs::remove_file(path);
    }
    written
}
