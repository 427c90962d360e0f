//! Which key files are read, as keys for which algorithm, why others are refused, and which key fits which
//! token.

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
    let Keys(mut keys) = keys.unwrap();
    let key = keys.pop().unwrap();
    assert!(keys.is_empty());
    key
}

/// The header of a token.
fn header(algorithm: Algorithm, kid: Option<&str>) -> Header {
    Header {
        kid: kid.map(str::to_owned),
        ..Header::new(algorithm)
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
    assert_eq!(refused, "it is a key or a certificate, not a secret");
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

fn ec(kid: &str) -> Value {
    let pem = KeyPair::generate().unwrap().public_key_pem();
    curve_jwk(&DecodingKey::from_ec_pem(pem.as_bytes()).unwrap(), kid)
}

fn ed(kid: &str) -> Value {
    let pem = KeyPair::generate_for(&PKCS_ED25519)
        .unwrap()
        .public_key_pem();
    curve_jwk(&DecodingKey::from_ed_pem(pem.as_bytes()).unwrap(), kid)
}

/// `jwk` with these members; null takes one away.
fn with(jwk: &Value, members: &Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk.as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    jwk
}

#[test]
fn a_token_is_checked_with_the_one_key_that_fits() {
    use Algorithm::{ES256, EdDSA, HS256, RS256};
    let key = rsa(2048);
    let nameless = json!({ "kid": null });
    let keys = |jwks: &[Value]| load("auth.jwks_file", &set(jwks)).unwrap();
    let named = keys(&[
        rsa_jwk(&key, "a"),
        with(
            &rsa_jwk(&key, "b"),
            &json!({ "alg": "RS256", "key_ops": ["verify"] }),
        ),
        ec("a"),
        ed("d"),
    ]);
    let one_nameless = keys(&[with(&ec(""), &nameless)]);
    let both = keys(&[ec("a"), with(&ec(""), &nameless)]);
    for (set, algorithm, kid, fits) in [
        (&named, RS256, Some("a"), true),
        (&named, RS256, Some("b"), true),
        (&named, ES256, Some("a"), true),
        (&named, EdDSA, Some("d"), true),
        (&named, RS256, Some("d"), false),
        (&named, HS256, Some("a"), false),
        (&named, RS256, Some("e"), false),
        (&named, RS256, Some(""), false),
        (&named, RS256, None, false),
        (&named, ES256, None, true),
        (&named, HS256, None, false),
        (&one_nameless, ES256, None, true),
        (&one_nameless, ES256, Some("a"), true),
        (&one_nameless, RS256, None, false),
        (&both, ES256, None, false),
        (&both, ES256, Some("a"), true),
        (&both, ES256, Some("b"), true),
    ] {
        let found = set.find(&header(algorithm, kid));
        assert_eq!(found.is_some(), fits, "{algorithm:?} {kid:?}");
        assert!(found.is_none_or(|key| key.algorithm == algorithm));
    }
    let found = both.find(&header(ES256, Some("a"))).unwrap();
    assert_eq!(found.id.as_deref(), Some("a"));
}

/// RFC 7517, section 5.
#[test]
fn keys_of_a_set_that_cannot_be_used_are_ignored() {
    let key = rsa(2048);
    let good = ec("good");
    let changed = |members: Value| with(&rsa_jwk(&key, "a"), &members);
    let curve = |x: &str| json!({ "kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": x });
    let kind = "key 1 (kid \"a\"): its kind or curve is not supported";
    let algorithm = "key 1 (kid \"a\"): its \"alg\" is not supported";
    let point = "key 1 (kid \"a\"): it is not a point of the curve";
    let size = "key 1 (kid \"a\"): it is an RSA key of another size";
    for (bad, problem) in [
        (json!(7), "key 1: it is not a JWK"),
        (json!({}), "key 1: its kind or curve is not supported"),
        (
            changed(json!({ "kid": 7 })),
            "key 1 (kid 7): it is not a JWK",
        ),
        (
            changed(json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AQ" })),
            kind,
        ),
        (with(&curve("AQ"), &json!({ "crv": "P-384" })), kind),
        (with(&curve("AQ"), &json!({ "crv": "secp256k1" })), kind),
        (with(&ed("a"), &json!({ "crv": "X25519" })), kind),
        (changed(json!({ "n": null })), kind),
        (changed(json!({ "alg": "PS256" })), algorithm),
        (changed(json!({ "alg": "RS512" })), algorithm),
        (changed(json!({ "alg": "HS256" })), algorithm),
        (changed(json!({ "alg": "new" })), algorithm),
        (
            changed(json!({ "d": "AQ" })),
            "key 1 (kid \"a\"): it is secret",
        ),
        (
            json!({ "kty": "oct", "k": base64(SECRET.as_bytes()) }),
            "key 1: it is secret",
        ),
        (changed(json!({ "n": "AQAB" })), size),
        (changed(json!({ "e": "AQ" })), size),
        (
            changed(json!({ "n": "!" })),
            "key 1 (kid \"a\"): it cannot be decoded",
        ),
        (curve("AQ"), point),
        (curve(&base64(&[7; 32])), point),
    ] {
        let read = key_set(&set(&[bad.clone(), good.clone()])).unwrap();
        assert_eq!(read.keys.len(), 1);
        assert!(read.ignored[0].starts_with(problem), "{:?}", read.ignored);
        let refused = load("auth.jwks_file", &set(&[bad])).unwrap_err();
        let none = "it has no key for signatures that can be used; ";
        assert!(
            refused.starts_with(&format!("{none}{problem}")),
            "{refused}"
        );
    }
}

#[test]
fn of_two_keys_that_no_token_can_tell_apart_the_first_is_used() {
    let nameless = json!({ "kid": null });
    for twice in [
        [ec("a"), ec("a")],
        [with(&ec(""), &nameless), with(&ec(""), &nameless)],
    ] {
        let read = key_set(&set(&twice)).unwrap();
        let ignored = &read.ignored[0];
        assert!(
            ignored.starts_with("key 2") && ignored.contains("comes before it"),
            "{ignored}"
        );
        assert_eq!(read.keys.len(), 1);
    }
}

#[test]
fn keys_that_are_not_for_checking_signatures_are_passed_over() {
    for members in [
        json!({ "use": "enc" }),
        json!({ "use": "tls" }),
        json!({ "key_ops": ["sign", "encrypt"] }),
        json!({ "key_ops": [] }),
        json!({ "use": "sig", "key_ops": ["encrypt"] }),
    ] {
        let other = with(&ec("a"), &members);
        let read = key_set(&set(&[other.clone(), ec("b")])).unwrap();
        assert!(read.ignored.is_empty() && read.keys.len() == 1, "{members}");
        let refused = load("auth.jwks_file", &set(&[other])).unwrap_err();
        assert_eq!(refused, "it has no key for signatures that can be used");
    }
}

#[test]
fn what_is_no_set_is_refused() {
    for (text, problem) in [
        ("", "not JSON"),
        ("[]", "not a JWK Set"),
        ("{\"keys\":{}}", "not a JWK Set"),
        ("{\"keys\":[]}", "it has no key for signatures"),
    ] {
        let refused = load("auth.jwks_file", text).unwrap_err();
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
    assert!(refused.to_string().starts_with("auth.mode: "));
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
        let found = keys.find(&header(Algorithm::RS256, Some("a"))).unwrap();
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
