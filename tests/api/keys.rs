//! Signing keys: made by the command line, published, changed without logging anyone out, and no way around them.

use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::support::{Account, Database, Launch, TestApp, base64url, claims, slot};

const ALGORITHMS: [&str; 3] = ["EdDSA", "ES256", "RS256"];

/// Makes a key in the home folder, where commands and service run; gives its `kid`.
fn generate(launch: &Launch, algorithm: &str, file: &str) -> String {
    let exit = launch.command_line(&["keys", "generate", "--algorithm", algorithm, "--out", file], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let path = launch.home.path().join(file).display().to_string();
    assert!(exit.stdout.contains(&path), "{exit:?}");
    for setting in [format!("JWT_ALGORITHM={algorithm}"), format!("JWT_PRIVATE_KEY_FILE={path}")] {
        assert!(exit.stdout.lines().any(|line| line == setting), "{setting}: {exit:?}");
    }
    let body = read(launch, file);
    for line in body.lines() {
        assert!(!exit.stdout.contains(line) && !exit.stderr.contains(line), "tells the key: {exit:?}");
    }
    let (_, after) = exit.stdout.split_once("kid ").unwrap_or_else(|| panic!("no kid: {exit:?}"));
    after.chars().take_while(|c| c.is_ascii_alphanumeric() || ['-', '_'].contains(c)).collect()
}

fn read(launch: &Launch, file: &str) -> String {
    std::fs::read_to_string(launch.home.path().join(file)).unwrap()
}

fn write(launch: &Launch, file: &str, text: &str) {
    std::fs::write(launch.home.path().join(file), text).unwrap();
}

fn signing(launch: &Launch, algorithm: &str, file: &str) -> Launch {
    launch.clone().env("JWT_ALGORITHM", algorithm).env("JWT_PRIVATE_KEY_FILE", file)
}

fn public_pem(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem::encode(&pem::Pem::new("PUBLIC KEY", key.as_der().unwrap().as_ref()))
}

/// The public half of a key file, as `openssl pkey -pubout` would give it.
fn public_half(pem_text: &str) -> String {
    let der = pem::parse(pem_text).unwrap().into_contents();
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(&der) {
        public_pem(pair.public_key())
    } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der) {
        public_pem(pair.public_key())
    } else {
        public_pem(RsaKeyPair::from_pkcs8(&der).unwrap().public_key())
    }
}

fn private_pem(der: impl AsRef<[u8]>) -> String {
    pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()))
}

async fn key_set(app: &TestApp) -> Value {
    app.get("/.well-known/jwks.json").send().await.expect(200).json()
}

async fn key_ids(app: &TestApp) -> Vec<String> {
    crate::support::names(key_set(app).await["keys"].as_array().unwrap(), "kid")
}

fn key_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).unwrap().kid
}

async fn refreshed(app: &TestApp, account: &Account) -> (String, String) {
    let pair = app.refresh(&account.refresh).await.expect(200).json();
    ["access_token", "refresh_token"].map(|name| pair[name].as_str().unwrap().to_owned()).into()
}

/// RFC 7638: the SHA-256 of the required members, sorted, without blanks.
fn thumbprint(jwk: &Value) -> String {
    let members: &[&str] = match jwk["kty"].as_str().unwrap() {
        "OKP" => &["crv", "kty", "x"],
        "EC" => &["crv", "kty", "x", "y"],
        _ => &["e", "kty", "n"],
    };
    let members: Vec<String> = members.iter().map(|name| format!("\"{name}\":{}", jwk[name])).collect();
    let text = format!("{{{}}}", members.join(","));
    base64url(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

#[tokio::test]
async fn a_made_key_signs_and_who_has_the_key_set_can_verify() {
    let _slot = slot().await;
    for algorithm in ALGORITHMS {
        let launch = Database::sqlite().app();
        let made = generate(&launch, algorithm, "key.pem");
        let app = signing(&launch, algorithm, "key.pem").start().await;
        let john = app.user("johndoe").await;
        app.me(&john.access).await.expect(200);

        let header = jsonwebtoken::decode_header(&john.access).unwrap();
        assert_eq!(format!("{:?}", header.alg), algorithm);
        assert_eq!(header.kid.as_deref(), Some(made.as_str()), "{algorithm}");

        let set = key_set(&app).await;
        assert_eq!(set["keys"].as_array().unwrap().len(), 1, "{set}");
        let published = &set["keys"][0];
        let mut members: Vec<&str> = published.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        let expected: &[&str] = match algorithm {
            "EdDSA" => &["alg", "crv", "kid", "kty", "use", "x"],
            "ES256" => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            _ => &["alg", "e", "kid", "kty", "n", "use"],
        };
        assert_eq!(members, expected, "more or less than a public key");
        assert_eq!((published["alg"].as_str(), published["use"].as_str()), (Some(algorithm), Some("sig")));
        assert_eq!(published["kid"], made.as_str());
        assert_eq!(thumbprint(published), made);

        // As another service would: by the key set, and nothing else.
        let set: JwkSet = serde_json::from_value(set).unwrap();
        let jwk: &Jwk = set.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&["portcullis"]);
        validation.set_audience(&["portcullis"]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let verified = jsonwebtoken::decode::<Value>(&john.access, &key, &validation).unwrap();
        assert_eq!(verified.claims["sub"], john.id.as_str());
        // A refresh token is signed by no published key.
        assert_eq!(jsonwebtoken::decode_header(&john.refresh).unwrap().alg, Algorithm::HS256);
        app.me(&john.refresh).await.problem(401, "token_invalid");
    }
}

#[tokio::test]
async fn the_key_set_is_cached_for_a_while_and_known_again() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    let [first, second] = ["first.pem", "second.pem"].map(|file| generate(&launch, "EdDSA", file));
    let app = signing(&launch, "EdDSA", "first.pem").start().await;
    let answer = app.get("/.well-known/jwks.json").send().await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let tag = answer.header("etag").unwrap().to_owned();
    let ask = |app: &TestApp, tags: &str| app.get("/.well-known/jwks.json").header("if-none-match", tags).send();
    for tags in [tag.as_str(), "*", &format!("\"other\", {tag}")] {
        let answer = ask(&app, tags).await.expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    }
    for tags in ["\"other\"", "nonsense", "", "W/\"\""] {
        ask(&app, tags).await.expect(200);
    }
    drop(app);
    let app = signing(&launch, "EdDSA", "second.pem").env("JWT_PREVIOUS_KEY_FILES", "first.pem").start().await;
    let answer = ask(&app, &tag).await.expect(200);
    assert_ne!(answer.header("etag"), Some(tag.as_str()));
    assert_eq!(key_ids(&app).await, [second, first]);
}

#[tokio::test]
async fn keys_are_changed_without_logging_anyone_out() {
    let _slot = slot().await;
    for (from, to, is_public) in
        [("EdDSA", "EdDSA", false), ("RS256", "EdDSA", true), ("ES256", "RS256", true), ("EdDSA", "ES256", true)]
    {
        let launch = Database::sqlite().app();
        let old = generate(&launch, from, "old.pem");
        let new = generate(&launch, to, "new.pem");
        let previous = if is_public { "old.pub.pem" } else { "old.pem" };
        write(&launch, "old.pub.pem", &public_half(&read(&launch, "old.pem")));
        let app = signing(&launch, from, "old.pem").start().await;
        let john = app.user("johndoe").await;
        let jane = app.user("janedoe").await;
        drop(app);

        let app = signing(&launch, to, "new.pem").env("JWT_PREVIOUS_KEY_FILES", previous).start().await;
        assert_eq!(key_ids(&app).await, [new.clone(), old.clone()]);
        app.me(&john.access).await.expect(200);
        let (access, refresh) = refreshed(&app, &john).await;
        assert_eq!(key_id(&access), Some(new.clone()));
        app.me(&access).await.expect(200);
        assert_eq!(key_id(&app.login("johndoe", &john.password).await.access), Some(new.clone()));
        drop(app);

        // The old key is taken away before its tokens have expired: a refresh mends it.
        let app = signing(&launch, to, "new.pem").start().await;
        assert_eq!(key_ids(&app).await, std::slice::from_ref(&new));
        app.me(&jane.access).await.problem(401, "token_invalid");
        app.me(&access).await.expect(200);
        app.refresh(&refresh).await.expect(200);
        let (access, _) = refreshed(&app, &jane).await;
        app.me(&access).await.expect(200);
    }
}

#[tokio::test]
async fn a_key_is_published_and_verifies_before_it_signs() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    let old = generate(&launch, "EdDSA", "old.pem");
    let new = generate(&launch, "ES256", "new.pem");
    // The first step of a change: of two instances, the other may sign with the new key already.
    let app = signing(&launch, "EdDSA", "old.pem").env("JWT_PREVIOUS_KEY_FILES", "new.pem").start().await;
    let john = app.user("johndoe").await;
    assert_eq!(key_id(&john.access), Some(old.clone()));
    assert_eq!(key_ids(&app).await, [old.clone(), new.clone()]);
    let header = Header { kid: Some(new), ..Header::new(Algorithm::ES256) };
    let theirs = EncodingKey::from_ec_pem(read(&launch, "new.pem").as_bytes()).unwrap();
    app.me(&jsonwebtoken::encode(&header, &claims(&john.access), &theirs).unwrap()).await.expect(200);
    drop(app);
    // The key that signs may stand in the list as well: it is one key.
    let app = signing(&launch, "EdDSA", "old.pem").env("JWT_PREVIOUS_KEY_FILES", "old.pem, old.pem").start().await;
    assert_eq!(key_ids(&app).await, [old]);
}

#[tokio::test]
async fn from_a_shared_secret_to_a_key_and_back_a_refresh_is_enough() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    let made = generate(&launch, "EdDSA", "key.pem");
    let app = launch.clone().start().await;
    let john = app.user("johndoe").await;
    drop(app);

    // The secret no longer signs access tokens, so what it signed, or would sign, is not taken.
    let app = signing(&launch, "EdDSA", "key.pem").start().await;
    app.me(&john.access).await.problem(401, "token_invalid");
    app.me(&john.forge().token()).await.problem(401, "token_invalid");
    let (access, refresh) = refreshed(&app, &john).await;
    assert_eq!(key_id(&access), Some(made.clone()));
    app.me(&access).await.expect(200);
    drop(app);

    let app = launch.clone().env("JWT_PREVIOUS_KEY_FILES", "key.pem").start().await;
    assert_eq!(key_ids(&app).await, [made]);
    app.me(&access).await.expect(200);
    app.refresh(&refresh).await.expect(200);
    app.user("janedoe").await;
    drop(app);
    launch.start().await.me(&access).await.problem(401, "token_invalid");
}

#[tokio::test]
async fn a_token_of_a_confused_algorithm_or_key_is_invalid() {
    let _slot = slot().await;
    for algorithm in ALGORITHMS {
        let launch = Database::sqlite().app();
        let made = generate(&launch, algorithm, "key.pem");
        let previous = generate(&launch, "EdDSA", "previous.pem");
        let strange = generate(&launch, "EdDSA", "strange.pem");
        let app = signing(&launch, algorithm, "key.pem").env("JWT_PREVIOUS_KEY_FILES", "previous.pem").start().await;
        let john = app.user("johndoe").await;

        let own = read(&launch, "key.pem");
        let own_key = match algorithm {
            "EdDSA" => EncodingKey::from_ed_pem(own.as_bytes()),
            "ES256" => EncodingKey::from_ec_pem(own.as_bytes()),
            _ => EncodingKey::from_rsa_pem(own.as_bytes()),
        }
        .unwrap();
        let own_algorithm: Algorithm = algorithm.parse().unwrap();
        let ed_key = |file: &str| EncodingKey::from_ed_pem(read(&launch, file).as_bytes()).unwrap();
        let public = public_half(&own);
        let public_der = pem::parse(&public).unwrap().into_contents();
        let published = key_set(&app).await["keys"][0].clone();
        let raw = published.get("x").or(published.get("n")).unwrap().as_str().unwrap().to_owned();
        let secrets = [public.as_bytes(), public.trim_end().as_bytes(), &public_der, own.as_bytes(), raw.as_bytes()];

        let signed = |alg: Algorithm, kid: Option<&str>, key: &EncodingKey| {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(alg) };
            jsonwebtoken::encode(&header, &claims(&john.access), key).unwrap()
        };
        let mut tokens = Vec::new();
        for secret in secrets {
            for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                for kid in [Some(made.as_str()), None] {
                    tokens.push(("a public key as a secret", signed(alg, kid, &EncodingKey::from_secret(secret))));
                }
            }
        }
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            tokens.push(("no signature", john.forge().unsigned(alg)));
            let header = json!({"alg": alg, "typ": "JWT", "kid": made}).to_string();
            let payload = base64url(claims(&john.access).to_string().as_bytes());
            tokens.push(("no signature, under a kid", format!("{}.{payload}.", base64url(header.as_bytes()))));
        }
        let strange_key = ed_key("strange.pem");
        let strange_jwk = Jwk::from_encoding_key(&strange_key, Algorithm::EdDSA).unwrap();
        let with_key = Header { jwk: Some(strange_jwk.clone()), ..Header::new(Algorithm::EdDSA) };
        let with_both = Header { jwk: Some(strange_jwk), kid: Some(made.clone()), ..Header::new(Algorithm::EdDSA) };
        let bent = |header: &Header| jsonwebtoken::encode(header, &claims(&john.access), &strange_key).unwrap();
        tokens.extend([
            ("the kid of another key", signed(own_algorithm, Some(&previous), &own_key)),
            ("the kid of the key that signs", signed(Algorithm::EdDSA, Some(&made), &ed_key("previous.pem"))),
            ("an unknown kid", signed(own_algorithm, Some("2026-01"), &own_key)),
            ("an unknown kid", signed(own_algorithm, Some(&strange), &own_key)),
            ("an empty kid", signed(own_algorithm, Some(""), &own_key)),
            ("no kid", signed(own_algorithm, None, &own_key)),
            ("an unknown key", signed(Algorithm::EdDSA, Some(&strange), &strange_key)),
            ("a key that the token brings", bent(&with_key)),
            ("a key that the token brings, under a kid of ours", bent(&with_both)),
        ]);
        if algorithm == "RS256" {
            for alg in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
                tokens.push(("another algorithm of the key", signed(alg, Some(&made), &own_key)));
            }
        }
        for (what, token) in &tokens {
            let answer = app.me(token).await;
            assert_eq!(answer.status, 401, "{algorithm}, {what}: {}", answer.text());
            answer.problem(401, "token_invalid");
        }
        // What was bent above is all that was wrong.
        app.me(&signed(own_algorithm, Some(&made), &own_key)).await.expect(200);
        app.me(&signed(Algorithm::EdDSA, Some(&previous), &ed_key("previous.pem"))).await.expect(200);
    }
}

#[tokio::test]
async fn a_made_key_is_its_owners_alone_and_never_overwritten() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    for algorithm in ALGORITHMS {
        let file = format!("{algorithm}.pem");
        generate(&launch, algorithm, &file);
        let path = launch.home.path().join(&file);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = read(&launch, &file);
        assert!(before.starts_with("-----BEGIN PRIVATE KEY-----\n"), "not PKCS#8");
        let exit = launch.command_line(&["keys", "generate", "--algorithm", algorithm, "--out", &file], "");
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert_eq!(exit.stderr.lines().count(), 1, "{exit:?}");
        assert!(exit.stderr.contains(&file) && exit.stderr.contains("overwritten"), "{exit:?}");
        assert!(exit.stdout.is_empty(), "{exit:?}");
        assert_eq!(read(&launch, &file), before);
    }
    std::os::unix::fs::symlink("elsewhere.pem", launch.home.path().join("link.pem")).unwrap();
    for (out, code) in [("link.pem", 1), ("no/folder/key.pem", 1), ("/dev/null", 1), (".", 1), ("", 2)] {
        let exit = launch.command_line(&["keys", "generate", "--algorithm", "EdDSA", "--out", out], "");
        assert_eq!(exit.code, Some(code), "{out}: {exit:?}");
    }
    assert!(!launch.home.path().join("elsewhere.pem").exists(), "wrote through a link");
    for arguments in [
        &["--algorithm", "HS256", "--out", "x.pem"][..],
        &["--algorithm", "ES384", "--out", "x.pem"],
        &["--algorithm", "none", "--out", "x.pem"],
        &["--algorithm", "", "--out", "x.pem"],
        &["--algorithm", "EdDSA"],
        &["--out", "x.pem"],
    ] {
        let exit = launch.command_line(&[&["keys", "generate"], arguments].concat(), "");
        assert_eq!(exit.code, Some(2), "{arguments:?}: {exit:?}");
    }
    assert!(!launch.home.path().join("x.pem").exists());
    assert_eq!(launch.command_line(&["keys"], "").code, Some(2));
    for arguments in [&["keys", "--help"][..], &["keys", "generate", "--help"]] {
        let exit = launch.command_line(arguments, "");
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(exit.stdout.contains("generate"), "{exit:?}");
    }
    assert!(!launch.data_dir().exists(), "making a key needs no data");
}

#[tokio::test]
async fn a_key_file_that_can_not_be_used_stops_the_start() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    for algorithm in ALGORITHMS {
        generate(&launch, algorithm, algorithm);
    }
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let k256 = EcdsaKeyPair::generate(&ECDSA_P256K1_SHA256_FIXED_SIGNING).unwrap();
    let good = read(&launch, "EdDSA");
    for (file, text) in [
        ("empty", ""),
        ("text", "no key"),
        ("half", &good[..good.len() / 2]),
        ("encrypted", ENCRYPTED),
        ("small", SMALL_RSA),
        ("small-public", SMALL_RSA_PUBLIC),
        ("p384", &private_pem(p384.to_pkcs8v1().unwrap())),
        ("p384-public", &public_pem(p384.public_key())),
        ("k256", &private_pem(k256.to_pkcs8v1().unwrap())),
        ("k256-public", &public_pem(k256.public_key())),
        ("EdDSA-public", &public_half(&good)),
    ] {
        write(&launch, file, text);
    }
    std::fs::write(launch.home.path().join("binary"), [0xff; 64]).unwrap();
    std::fs::create_dir(launch.home.path().join("folder")).unwrap();
    write(&launch, "locked", &good);
    std::fs::set_permissions(launch.home.path().join("locked"), std::fs::Permissions::from_mode(0o000)).unwrap();
    let is_locked = std::fs::read(launch.home.path().join("locked")).is_err(); // root reads everything

    let never = ["missing", "folder", "binary", "empty", "text", "half", "encrypted", "small", "small-public"];
    let others = ["p384", "p384-public", "k256", "k256-public"];
    for file in never.iter().chain(&others).chain(is_locked.then_some(&"locked")) {
        for algorithm in ALGORITHMS {
            let exit = signing(&launch, algorithm, file).serve_to_end();
            exit.refused("JWT_PRIVATE_KEY_FILE: ");
        }
        let list = format!("ES256,{file}");
        let exit = signing(&launch, "EdDSA", "EdDSA").env("JWT_PREVIOUS_KEY_FILES", &list).serve_to_end();
        exit.refused("JWT_PREVIOUS_KEY_FILES: file 2 of the list");
    }
    for algorithm in ALGORITHMS {
        for file in ALGORITHMS.iter().filter(|file| **file != algorithm).chain(&["EdDSA-public"]) {
            signing(&launch, algorithm, file).serve_to_end().refused("JWT_PRIVATE_KEY_FILE: ");
        }
    }
    signing(&launch, "RS256", "small").serve_to_end().refused("2048");
    signing(&launch, "RS256", "RS256").env("JWT_PREVIOUS_KEY_FILES", "small").serve_to_end().refused("2048");
    // A key in place of its file is not told to the log.
    for name in ["JWT_PRIVATE_KEY_FILE", "JWT_PREVIOUS_KEY_FILES"] {
        let exit = signing(&launch, "EdDSA", "EdDSA").env(name, &good).serve_to_end();
        exit.refused(name);
        assert!(good.lines().all(|line| !exit.stderr.contains(line)), "{exit:?}");
    }
    // The least that is taken.
    let least: aws_lc_rs::encoding::Pkcs8V1Der<'static> =
        RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    write(&launch, "least", &private_pem(least.as_ref()));
    let exit = signing(&launch, "RS256", "least").command_line(&["config", "check"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!launch.data_dir().exists(), "a start that was refused made a folder");
}

/// An Ed25519 key with a password.
const ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjgSeMNMdsjgAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFFZGK0s8V2Lgot3EMGJ130EQK4l
0l6/A+i4yvWkcYgNKL1HGAns75VXKhRJtEYAyKgQ3YnDzmoWyJDEFyfZkNMEP6CY
c19I9FwY4I2WVQ6avyE=
-----END ENCRYPTED PRIVATE KEY-----
";

/// RSA with 1024 bits, which the library does not make.
const SMALL_RSA: &str = "\
-----BEGIN PRIVATE KEY-----
MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAMMgI7McmkjIel9X
aqJq+gccZAXHbbHkmAZuGghw+idwHFCbdnFC6Glw9x2kjXFxWTby9ejyMzUjBpu/
RbylF7t7EZtHHlGh6SbEtJ/2b9lI+tXO2z55iVjagD90Y0umE2IG1Ed/OZ7urwLL
Z1oic+d3pa5kZDt/c+9isLI9CCD5AgMBAAECgYBXqJ6hHp5pSDdBkcIECU8d1rFQ
r1Emc+2gJeJoHGklQoZV6CGDrG1AwVEi7gPlDOjpeKjk57n9iyiy23D22KwZ8bC8
6bdV9qrDU60/Dxc1KUJZX+nr7ixoimDGjnGrmeL/uMaE/CGYnxWMr3e/UJh7LopZ
yJfyTe9anHoyW4vLIQJBAPiokwCMO/Btgb+TTHGFBzjz1IdW477zzd+TGUhlJF+R
A8uqr+IPGmw275OVlH0Y443vNLJKhwDDZjhuGh8BLWUCQQDI4vMA68koylFM15F+
oxn77btMmd4KdDwOlUk8s+WvCTtdqZF4NP9QEivDmPOjys0JyMRX4f8m1nEHcCYp
fGYFAkAYmPxpunWXdA24uMaAGEu9m4kzlinTUuTTsAZ5PeAaQAsjE5BwiVPwzoJm
lA5rTZH9EWOiG3M9ZRbwkBuvY3ttAkEAjn5lLpcRtmxkZORYIQLikJAeFoTiOnoe
i52bOILG/nTG9nYsaJ73Jz3say8YS2u0KyeNFmWJTmw3+rWzbCQAXQJAfwqdPT/L
bmRlbnK22ULoSAJIBQ0wg9qOyfI9fgJQkacLZUdsdBIyeVtj/QZvjtBPzlZB7XUK
a+2hSHyTexc6uw==
-----END PRIVATE KEY-----
";

/// Its public half.
const SMALL_RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDDICOzHJpIyHpfV2qiavoHHGQF
x22x5JgGbhoIcPoncBxQm3ZxQuhpcPcdpI1xcVk28vXo8jM1Iwabv0W8pRe7exGb
Rx5RoekmxLSf9m/ZSPrVzts+eYlY2oA/dGNLphNiBtRHfzme7q8Cy2daInPnd6Wu
ZGQ7f3PvYrCyPQgg+QIDAQAB
-----END PUBLIC KEY-----
";
