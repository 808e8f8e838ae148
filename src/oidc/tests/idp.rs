//! A provider of any dialect: paths, and what is answered there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::clock::MockClock;
use crate::domain::{Provider, ProviderIdentity, Refusal, Timestamp};
use crate::oidc::*;

pub(super) const NOW: i64 = 1_800_000_000;

pub(super) struct Key {
    pub(super) id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

fn pem(der: &[u8]) -> Vec<u8> {
    pem::encode(&pem::Pem::new("PRIVATE KEY", der)).into_bytes()
}

fn rsa(id: &'static str) -> Key {
    let der = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    Key { id, algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_pem(&pem(der.as_ref())).unwrap() }
}

pub(super) static RSA: LazyLock<Key> = LazyLock::new(|| rsa("rsa"));
pub(super) static OTHER_RSA: LazyLock<Key> = LazyLock::new(|| rsa("other"));
pub(super) static EC: LazyLock<Key> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = EncodingKey::from_ec_pem(&pem(pair.to_pkcs8v1().unwrap().as_ref())).unwrap();
    Key { id: "ec", algorithm: Algorithm::ES256, key }
});

impl Key {
    pub(super) fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = self.id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(claims, self.id, "JWT")
    }

    pub(super) fn sign_as(&self, claims: &Value, key_id: &str, kind: &str) -> String {
        let header = Header { kid: Some(key_id.to_owned()), typ: Some(kind.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// Status, headers, body.
pub(super) type Answer = (u16, &'static str, String);

pub(super) fn ok(value: &Value) -> Answer {
    (200, "Content-Type: application/json", value.to_string())
}

#[derive(Clone)]
pub(super) struct Idp {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Idp {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let idp = Self { address: listener.local_addr().unwrap(), answers: Arc::default(), seen: Arc::default() };
        let server = idp.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        idp
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let path = line.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        self.seen.lock().unwrap().push((path.clone(), String::from_utf8(body).unwrap()));
        let found = self.answers.lock().unwrap().get(&path).cloned();
        let (status, header, body) = found.unwrap_or((404, "X: x", String::new()));
        let head =
            format!("HTTP/1.1 {status} X\r\n{header}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // Who has read enough hangs up.
        let _ = reader.get_mut().write_all(head.as_bytes()).and_then(|()| reader.get_mut().write_all(body.as_bytes()));
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn at(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(super) fn seen(&self, path: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|(seen, _)| seen == path).map(|(_, body)| body.clone()).collect()
    }

    /// The documents of an issuer at this path.
    pub(super) fn issuer(&self, path: &str) -> String {
        let metadata = json!({
            "issuer": self.url(path), "authorization_endpoint": self.url("/authorize?x=y"),
            "token_endpoint": self.url("/token"), "userinfo_endpoint": self.url("/userinfo"),
            "introspection_endpoint": self.url("/introspect"), "jwks_uri": self.url("/keys"),
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
        });
        self.at(&format!("{path}/.well-known/openid-configuration"), ok(&metadata));
        self.keys(&[&RSA, &EC]);
        self.url(path)
    }

    pub(super) fn keys(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.at("/keys", ok(&json!({ "keys": keys })));
    }

    pub(super) fn google(&self) -> OidcSettings {
        let google = GoogleSettings {
            client_ids: vec!["app".into(), "app2".into()],
            client_secret: Some("secret".into()),
            hosted_domain: None,
            issuer: self.issuer(""),
            tokeninfo_url: self.url("/tokeninfo"),
        };
        OidcSettings { google: Some(google), public_url: "https://auth.example".into(), ..OidcSettings::default() }
    }
}

pub(super) fn providers(settings: OidcSettings) -> Providers {
    Providers::new(settings, Arc::new(MockClock::at(Timestamp::from_millis(NOW * 1000)))).unwrap()
}

pub(super) fn access(provider: Provider, token: &str) -> Credential {
    Credential { provider, okta_domain: None, token: ProviderToken::Access(SecretString::from(token)) }
}

pub(super) fn id(provider: Provider, token: &str) -> Credential {
    Credential { provider, okta_domain: None, token: ProviderToken::Id { token: token.into(), nonce: None } }
}

pub(super) async fn identity(providers: &Providers, credential: Credential) -> ProviderIdentity {
    providers.verify(credential).await.unwrap().identity
}

pub(super) async fn refusal(providers: &Providers, credential: Credential) -> Refusal {
    match providers.verify(credential).await.unwrap_err() {
        OidcError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

/// Claims with some changed; null takes one away.
pub(super) fn with(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}
