//! The provider's keys, made once for all tests of a process.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key pair, under the name that the key set gives it.
pub(crate) struct Key {
    pub(crate) kid: &'static str,
    pub(crate) algorithm: Algorithm,
    pub(crate) private: EncodingKey,
    pub(crate) public_pem: String,
    pub(crate) public_der: Vec<u8>,
    pub(super) jwk: Value,
}

/// All of them; published are the first, the curve's and the one for encryption, later the second too.
pub(crate) struct Keys {
    pub(crate) first: Key,
    pub(crate) second: Key,
    /// Published, of the other type (EC P-256).
    pub(crate) curve: Key,
    /// Published, but not for signatures.
    pub(crate) encryption: Key,
    /// Of someone who is not the provider.
    pub(crate) forger: Key,
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    first: rsa("first", "sig"),
    second: rsa("second", "sig"),
    curve: curve("curve"),
    encryption: rsa("encryption", "enc"),
    forger: rsa("forger", "sig"),
});

fn rsa(kid: &'static str, usage: &str) -> Key {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let private: Pkcs8V1Der<'_> = pair.as_der().expect("PKCS #8");
    let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).expect("a private key");
    key(kid, usage, Algorithm::RS256, private, pair.public_key())
}

fn curve(kid: &'static str) -> Key {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let private = pair.to_pkcs8v1().expect("PKCS #8");
    let private = EncodingKey::from_ec_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).expect("a private key");
    key(kid, "sig", Algorithm::ES256, private, pair.public_key())
}

fn key(
    kid: &'static str,
    usage: &str,
    algorithm: Algorithm,
    private: EncodingKey,
    public: &impl AsDer<PublicKeyX509Der<'static>>,
) -> Key {
    let jwk = Jwk::from_encoding_key(&private, algorithm).expect("a public half");
    let mut jwk = serde_json::to_value(jwk).expect("JSON");
    // Microsoft names no algorithm, and none is needed.
    jwk.as_object_mut().expect("an object").remove("alg");
    jwk["kid"] = json!(kid);
    jwk["use"] = json!(usage);
    let public_der = public.as_der().expect("DER").as_ref().to_vec();
    Key { kid, algorithm, private, public_pem: pem("PUBLIC KEY", &public_der), public_der, jwk }
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}
