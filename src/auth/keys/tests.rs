//! Which key files are read, as keys for which algorithm, and why others stop the start.

use std::fs;

use jsonwebtoken::{EncodingKey, Header, encode, jws};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rsa::{
    RsaPrivateKey,
    pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey, LineEnding},
    pkcs8::EncodePublicKey,
    rand_core::OsRng,
    traits::PublicKeyParts,
};
use serde_json::json;

use super::*;
use crate::settings::Settings;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn rsa(bits: usize) -> RsaPrivateKey {
    RsaPrivateKey::new(&mut OsRng, bits).unwrap()
}

/// Reads `text` as the file that the setting `key` names.
fn load(key: &str, text: &str) -> Result<Keys, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, text).unwrap();
    let mut settings = Settings::default().auth;
    match key {
        "auth.secret_file" => settings.secret_file.clone_from(&file),
        "auth.public_key_file" => settings.public_key_file.clone_from(&file),
        "auth.jwks_file" => settings.jwks_file.clone_from(&file),
        other => panic!("{other}"),
    }
    Keys::load(&settings).map_err(|error| {
        let message = error.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        let start = format!("{key}: {}: ", file.display());
        message
            .strip_prefix(&start)
            .unwrap_or_else(|| panic!("{message}"))
            .to_owned()
    })
}

fn one(keys: Result<Keys, String>) -> Key {
    match keys.unwrap() {
        Keys::One(key) => key,
        Keys::ById(_) => panic!("a set"),
    }
}

/// base64url of `bytes`, as in a JWK.
fn base64(bytes: &[u8]) -> String {
    let key = DecodingKey::from_secret(bytes);
    let jwk = Jwk::from_decoding_key(&key, None).unwrap();
    match jwk.algorithm {
        AlgorithmParameters::OctetKey(octets) => octets.value,
        other => panic!("{other:?}"),
    }
}

fn rsa_jwk(key: &RsaPrivateKey, kid: &str) -> Value {
    json!({ "kty": "RSA", "use": "sig", "kid": kid,
            "n": base64(&key.n().to_bytes_be()), "e": base64(&key.e().to_bytes_be()) })
}

/// The JWK of a public key in PEM on a curve.
fn curve_jwk(key: &DecodingKey, kid: &str) -> Value {
    let jwk = Jwk::from_decoding_key(key, None).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

#[test]
fn a_secret_file_may_end_its_line() {
    for text in [
        SECRET.to_owned(),
        format!("{SECRET}\n"),
        format!("{SECRET}\r\n"),
    ] {
        let key = one(load("auth.secret_file", &text));
        assert_eq!(key.algorithm, Algorithm::HS256);
        assert_eq!(key.decoding.try_get_as_bytes().unwrap(), SECRET.as_bytes());
    }
    for text in ["", "\n", &SECRET[1..], &format!("{}\n", &SECRET[1..])] {
        let refused = load("auth.secret_file", text).unwrap_err();
        assert!(refused.contains("at least 32 bytes"), "{refused}");
        assert!(text.trim().is_empty() || !refused.contains(text.trim()));
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let pem = KeyPair::generate().unwrap().public_key_pem();
    let refused = load("auth.secret_file", &pem).unwrap_err();
    assert_eq!(refused, "it holds a PEM key, not a secret");
}

#[test]
fn the_kind_of_a_public_key_says_the_algorithm() {
    let key = rsa(2048).to_public_key();
    let curve = |kind| KeyPair::generate_for(kind).unwrap().public_key_pem();
    for (pem, algorithm) in [
        (
            key.to_public_key_pem(LineEnding::LF).unwrap(),
            Algorithm::RS256,
        ),
        (
            key.to_pkcs1_pem(LineEnding::CRLF).unwrap(),
            Algorithm::RS256,
        ),
        (curve(&PKCS_ECDSA_P256_SHA256), Algorithm::ES256),
        (curve(&PKCS_ED25519), Algorithm::EdDSA),
    ] {
        assert_eq!(one(load("auth.public_key_file", &pem)).algorithm, algorithm);
    }
}

#[test]
fn what_is_not_one_fit_public_key_is_refused() {
    let own = KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&own)
        .unwrap()
        .pem();
    let weak = rsa(1024);
    for (pem, problem) in [
        (String::new(), "it does not hold one public key"),
        ("garbage".into(), "it does not hold one public key"),
        (SECRET.into(), "it does not hold one public key"),
        (certificate, "it does not hold one public key"),
        (own.serialize_pem(), "it holds a private key"),
        (
            weak.to_pkcs1_pem(LineEnding::LF).unwrap().to_string(),
            "it holds a private key",
        ),
        (
            own.public_key_pem() + &own.public_key_pem(),
            "it does not hold one public key",
        ),
        (
            weak.to_public_key()
                .to_public_key_pem(LineEnding::LF)
                .unwrap(),
            "it is an RSA key of another size",
        ),
        (
            KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)
                .unwrap()
                .public_key_pem(),
            "it is not a point of the curve",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(),
            "it is not understood",
        ),
    ] {
        let refused = load("auth.public_key_file", &pem).unwrap_err();
        assert!(refused.starts_with(problem), "{refused}");
        assert!(
            refused.contains("allowed is one PEM public key"),
            "{refused}"
        );
    }
}

#[test]
fn a_set_has_its_keys_by_id() {
    let pem = |kind| KeyPair::generate_for(kind).unwrap().public_key_pem();
    let (ec, ed) = (pem(&PKCS_ECDSA_P256_SHA256), pem(&PKCS_ED25519));
    let (ec, ed) = (
        DecodingKey::from_ec_pem(ec.as_bytes()).unwrap(),
        DecodingKey::from_ed_pem(ed.as_bytes()).unwrap(),
    );
    let rsa = rsa(2048);
    let mut named = rsa_jwk(&rsa, "b");
    named["alg"] = "RS256".into();
    let encryption = json!({ "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "n": "AQ", "e": "AQ" });
    let text = set(&[
        rsa_jwk(&rsa, "a"),
        named,
        curve_jwk(&ec, "c"),
        curve_jwk(&ed, "d"),
        encryption,
    ]);
    let keys = load("auth.jwks_file", &text).unwrap();
    for (kid, algorithm) in [
        ("a", Algorithm::RS256),
        ("b", Algorithm::RS256),
        ("c", Algorithm::ES256),
        ("d", Algorithm::EdDSA),
    ] {
        assert_eq!(keys.find(Some(kid)).unwrap().algorithm, algorithm);
    }
    assert!(keys.find(None).is_none() && keys.find(Some("e")).is_none());
}

#[test]
fn what_is_not_a_set_of_fit_public_keys_is_refused() {
    let rsa = rsa(2048);
    let changed = |change: Value| {
        let mut jwk = rsa_jwk(&rsa, "a");
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => jwk.as_object_mut().unwrap().remove(name),
                value => jwk
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        set(&[jwk])
    };
    let ec = |x: &str| json!({ "kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": x });
    for (text, problem) in [
        (String::new(), "not JSON"),
        ("[]".into(), "not a JWK Set"),
        ("{\"keys\":[]}".into(), "it has no key for signatures"),
        (
            changed(json!({ "use": "enc" })),
            "it has no key for signatures",
        ),
        (set(&[json!(7)]), "key 1: it is not a JWK"),
        (changed(json!({ "kid": null })), "key 1: it has no \"kid\""),
        (changed(json!({ "kid": "" })), "key 1: it has no \"kid\""),
        (
            set(&[rsa_jwk(&rsa, "a"), rsa_jwk(&rsa, "a")]),
            "key 2: its \"kid\" is another key's, too",
        ),
        (
            changed(json!({ "alg": "RS512" })),
            "key 1: its \"alg\" is not supported",
        ),
        (
            changed(json!({ "alg": "HS256" })),
            "key 1: its \"alg\" is not supported",
        ),
        (changed(json!({ "d": "AQ" })), "key 1: it is secret"),
        (
            set(&[json!({ "kty": "oct", "kid": "a", "k": base64(SECRET.as_bytes()) })]),
            "key 1: it is secret",
        ),
        (
            changed(json!({ "n": "AQAB" })),
            "key 1: it is an RSA key of another size",
        ),
        (
            changed(json!({ "e": "AQ" })),
            "key 1: it is an RSA key of another size",
        ),
        (changed(json!({ "n": "!" })), "key 1: it cannot be decoded"),
        (set(&[ec("AQ")]), "key 1: it is not a point of the curve"),
        (
            set(&[ec(&base64(&[7; 32]))]),
            "key 1: it is not a point of the curve",
        ),
        (
            changed(json!({ "kty": "XYZ" })),
            "key 1: its \"kty\" is not supported",
        ),
    ] {
        let refused = load("auth.jwks_file", &text).unwrap_err();
        assert!(refused.starts_with(problem), "{refused}");
    }
}

#[test]
fn a_file_that_is_missing_or_huge_is_named() {
    let mut settings = Settings::default().auth;
    settings.jwks_file = "/nowhere/keys.json".into();
    let refused = Keys::load(&settings).unwrap_err().to_string();
    assert!(
        refused.starts_with("auth.jwks_file: cannot read /nowhere/keys.json: "),
        "{refused}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MAX_FILE_BYTES + 1).unwrap();
    settings.jwks_file = file.path().into();
    let refused = Keys::load(&settings).unwrap_err().to_string();
    assert!(
        refused.contains("it has more than 1048576 bytes"),
        "{refused}"
    );
}

#[test]
fn there_is_never_an_empty_secret() {
    let refused = Keys::load(&Settings::default().auth).unwrap_err();
    assert!(matches!(refused, KeysError::Missing));
}

#[test]
fn a_key_checks_what_was_signed_with_its_other_half() {
    let key = rsa(2048);
    let pem = key.to_pkcs1_pem(LineEnding::LF).unwrap();
    let signing = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let claims = json!({ "exp": u32::MAX });
    for (setting, text) in [
        (
            "auth.public_key_file",
            key.to_public_key()
                .to_public_key_pem(LineEnding::LF)
                .unwrap(),
        ),
        ("auth.jwks_file", set(&[rsa_jwk(&key, "a")])),
    ] {
        let keys = load(setting, &text).unwrap();
        let found = keys.find(Some("a")).unwrap();
        let rules = jsonwebtoken::Validation::new(found.algorithm);
        let token = encode(&Header::new(Algorithm::RS256), &claims, &signing).unwrap();
        assert!(jsonwebtoken::decode::<Value>(&token, &found.decoding, &rules).is_ok());
        let signed = jws::encode(&Header::new(Algorithm::RS256), Some(&claims), &signing).unwrap();
        let tampered = format!(
            "{}.{}.{}",
            signed.protected,
            base64(b"{}"),
            signed.signature
        );
        assert!(jsonwebtoken::decode::<Value>(&tampered, &found.decoding, &rules).is_err());
    }
}
