//! The keys that tokens are checked with: reading them at the start, refusing those that cannot be used,
//! and the algorithm of each.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::rust_crypto::DEFAULT_PROVIDER,
    jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::Value;
use thiserror::Error;

use crate::settings::{AuthSettings, InvalidSecret, Secret};

/// The allowed sizes of RSA keys, in bits: smaller ones are weak (RFC 7518, section 3.3), larger ones are
/// slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The file of a key is no larger than this, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A key, and the one algorithm it is for.
#[derive(Debug, Clone)]
pub struct Key {
    pub(super) decoding: DecodingKey,
    pub(super) algorithm: Algorithm,
}

/// The keys of a service.
#[derive(Debug)]
pub enum Keys {
    /// One for all tokens, whatever `kid` they name.
    One(Key),
    /// The one that a token names by its `kid`.
    ById(HashMap<String, Key>),
}

/// Keys that stop the start. No message shows a secret.
#[derive(Debug, Error)]
pub enum KeysError {
    /// There is none.
    #[error("auth.mode: \"jwt\" needs a key to check tokens with")]
    Missing,
    /// The file cannot be read.
    #[error("{key}: cannot read {file}: {source}")]
    Unreadable {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the file holds is not fit.
    #[error("{key}: {file}: {problem}")]
    Unfit {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not, and what is.
        problem: String,
    },
}

impl Keys {
    /// Reads the keys that `settings` have or name.
    pub fn load(settings: &AuthSettings) -> Result<Self, KeysError> {
        type Read = fn(&str) -> Result<Keys, String>;
        let files: [(&'static str, &Path, Read); 3] = [
            ("auth.secret_file", &settings.secret_file, secret_of_file),
            (
                "auth.public_key_file",
                &settings.public_key_file,
                public_key,
            ),
            ("auth.jwks_file", &settings.jwks_file, key_set),
        ];
        for (key, file, read) in files {
            if file.as_os_str().is_empty() {
                continue;
            }
            let file = file.to_owned();
            return match read_file(&file) {
                Ok(text) => read(&text).map_err(|problem| KeysError::Unfit { key, file, problem }),
                Err(source) => Err(KeysError::Unreadable { key, file, source }),
            };
        }
        match &settings.secret {
            empty if empty.reveal().is_empty() => Err(KeysError::Missing),
            secret => Ok(Self::One(hmac(secret))),
        }
    }

    /// The key for a token that names `kid`.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match self {
            Self::One(key) => Some(key),
            Self::ById(keys) => keys.get(kid?),
        }
    }
}

fn read_file(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > MAX_FILE_BYTES {
        let refused = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, refused));
    }
    fs::read_to_string(file)
}

fn hmac(secret: &Secret) -> Key {
    Key {
        decoding: DecodingKey::from_secret(secret.reveal()),
        algorithm: Algorithm::HS256,
    }
}

fn secret_of_file(text: &str) -> Result<Keys, String> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let secret = Secret::new(line).map_err(|error: InvalidSecret| error.to_string())?;
    Ok(Keys::One(hmac(&secret)))
}

fn public_key(text: &str) -> Result<Keys, String> {
    const ALLOWED: &str =
        "allowed is one PEM public key: RSA of 2048 to 4096 bits, P-256 or Ed25519";
    let labels: Vec<_> = text.matches("-----BEGIN ").collect();
    let is_public = ["PUBLIC KEY", "RSA PUBLIC KEY"]
        .iter()
        .any(|label| text.contains(&format!("-----BEGIN {label}-----")));
    if text.contains("PRIVATE KEY-----") {
        return Err(format!("it holds a private key, {ALLOWED}"));
    }
    if labels.len() != 1 || !is_public {
        return Err(format!("it does not hold one public key, {ALLOWED}"));
    }
    let pem = text.trim().as_bytes();
    let read = [
        (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
        (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
        (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
    ];
    let found = read
        .into_iter()
        .find_map(|(key, algorithm)| key.ok().map(|decoding| (decoding, algorithm)));
    let (decoding, algorithm) = found.ok_or_else(|| format!("it is not understood, {ALLOWED}"))?;
    fit(decoding, algorithm)
        .map(Keys::One)
        .map_err(|problem| format!("{problem}, {ALLOWED}"))
}

fn key_set(text: &str) -> Result<Keys, String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let listed = set.get("keys").and_then(Value::as_array);
    let listed = listed.ok_or("not a JWK Set, which has a list \"keys\"")?;
    let mut keys = HashMap::new();
    for (number, jwk) in listed.iter().enumerate() {
        let refuse = |problem: &str| format!("key {}: {problem}", number + 1);
        let Some((id, key)) = member(jwk).map_err(|problem| refuse(&problem))? else {
            continue;
        };
        if keys.insert(id, key).is_some() {
            return Err(refuse("its \"kid\" is another key's, too"));
        }
    }
    if keys.is_empty() {
        return Err("it has no key for signatures".to_owned());
    }
    Ok(Keys::ById(keys))
}

/// A key of a set with its id; `None` if it is not for signatures.
fn member(raw: &Value) -> Result<Option<(String, Key)>, String> {
    const ALLOWED: &str = "allowed are RSA for RS256, P-256 for ES256 and Ed25519 for EdDSA";
    let jwk: Jwk = serde_json::from_value(raw.clone()).map_err(|_| "it is not a JWK".to_owned())?;
    let common = &jwk.common;
    if common
        .public_key_use
        .as_ref()
        .is_some_and(|of| *of != PublicKeyUse::Signature)
    {
        return Ok(None);
    }
    if ["d", "k"].iter().any(|part| raw.get(part).is_some()) {
        return Err("it is secret, and only public keys belong here".to_owned());
    }
    let id = common.key_id.clone().filter(|id| !id.is_empty());
    let id = id.ok_or("it has no \"kid\"")?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
        _ => return Err(format!("its \"kty\" is not supported, {ALLOWED}")),
    };
    if common
        .key_algorithm
        .is_some_and(|named| named != KeyAlgorithm::from(algorithm))
    {
        return Err(format!("its \"alg\" is not supported, {ALLOWED}"));
    }
    let key = DecodingKey::from_jwk(&jwk)
        .map_err(|_| "it cannot be decoded".to_owned())
        .and_then(|decoding| fit(decoding, algorithm))
        .map_err(|problem| format!("{problem}, {ALLOWED}"))?;
    Ok(Some((id, key)))
}

/// Refuses at the start a key with which every token would be refused later.
fn fit(decoding: DecodingKey, algorithm: Algorithm) -> Result<Key, String> {
    if algorithm == Algorithm::RS256 {
        let utils = &DEFAULT_PROVIDER.key_utils;
        let parts = match decoding.kind() {
            DecodingKeyKind::SecretOrDer(der) => (utils.rsa_pub_components_from_public_key)(der)
                .map_err(|_| "it is not an RSA public key of a usual size")?,
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        if !is_fit_rsa(&parts.0, &parts.1) {
            return Err("it is an RSA key of another size".to_owned());
        }
    }
    // This checks that the point lies on the curve.
    (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &decoding)
        .map_err(|_| "it is not a point of the curve")?;
    Ok(Key {
        decoding,
        algorithm,
    })
}

/// Whether these are the modulus and the exponent, in big-endian bytes, of a key in use.
fn is_fit_rsa(modulus: &[u8], exponent: &[u8]) -> bool {
    let significant = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes[zeros..].to_vec()
    };
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let bits = modulus.first().map_or(0, |first| {
        modulus.len() * 8 - first.leading_zeros() as usize
    });
    let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    RSA_BITS.contains(&bits)
        && is_odd(&modulus)
        && is_odd(&exponent)
        && exponent != [1]
        && exponent.len() <= 4
}

#[cfg(test)]
mod tests;
