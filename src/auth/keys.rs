//! The keys that tokens are checked with: reading them, refusing those that cannot be used, the algorithm
//! of each, and which one fits a token.

use std::{
    fmt::{self, Display},
    fs, io,
    path::PathBuf,
};

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Header,
    crypto::rust_crypto::DEFAULT_PROVIDER,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use rsa::{BigUint, RsaPublicKey, traits::PublicKeyParts};
use serde_json::Value;
use thiserror::Error;

use crate::settings::{AuthSettings, Secret};

/// The smallest RSA key that is not weak, in bits (RFC 7518, section 3.3). The largest that tokens can be
/// checked with has 4096.
const MIN_RSA_BITS: usize = 2048;

/// The file of a key is no larger than this, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A key, and the one algorithm it is for.
#[derive(Debug, Clone)]
pub struct Key {
    /// By which a token may name it.
    id: Option<String>,
    pub(super) decoding: DecodingKey,
    pub(super) algorithm: Algorithm,
}

/// The keys of a service: one, or those of a JWK Set. No two have the same id and algorithm.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

/// The file that holds the keys.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The setting that names the file.
    setting: &'static str,
    path: PathBuf,
    /// The keys in its text; `Err` says why it is not fit.
    parse: Parse,
}

type Parse = fn(&str) -> Result<KeySet, String>;

/// What a file holds.
struct KeySet {
    keys: Vec<Key>,
    /// Why others are not used.
    ignored: Vec<String>,
}

impl From<Key> for KeySet {
    fn from(key: Key) -> Self {
        Self {
            keys: vec![key],
            ignored: Vec::new(),
        }
    }
}

/// Keys that cannot be used. The message names the setting, and shows no secret.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct KeysError(String);

impl Keys {
    /// Reads the keys that `settings` have or name.
    pub fn load(settings: &AuthSettings) -> Result<Self, KeysError> {
        match KeyFile::of(settings) {
            Some(file) => file.keys(&file.text()?),
            None if settings.secret.is_set() => Ok(Self(vec![secret_key(&settings.secret)])),
            None => Err(KeysError(
                "auth.mode: \"jwt\" needs a key to check tokens with".to_owned(),
            )),
        }
    }

    /// The key that fits a token with this header: the one with its `alg` and its `kid`, or else the one
    /// with its `alg` and without a `kid`. A token without a `kid` must leave no choice.
    pub(super) fn find(&self, header: &Header) -> Option<&Key> {
        let of_algorithm = || self.0.iter().filter(|key| key.algorithm == header.alg);
        if header.kid.is_some() {
            let with_id = |id: &Option<String>| of_algorithm().find(|key| key.id == *id);
            return with_id(&header.kid).or_else(|| with_id(&None));
        }
        let mut fitting = of_algorithm();
        fitting.next().filter(|_| fitting.next().is_none())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl KeyFile {
    /// The file that `settings` name; nothing if they have the secret itself.
    pub(super) fn of(settings: &AuthSettings) -> Option<Self> {
        let files: [(&'static str, &PathBuf, Parse); 3] = [
            ("auth.secret_file", &settings.secret_file, secret_of_file),
            (
                "auth.public_key_file",
                &settings.public_key_file,
                public_key,
            ),
            ("auth.jwks_file", &settings.jwks_file, key_set),
        ];
        files
            .into_iter()
            .find(|(_, path, _)| !path.as_os_str().is_empty())
            .map(|(setting, path, parse)| Self {
                setting,
                path: path.clone(),
                parse,
            })
    }

    /// What it holds now.
    pub(super) fn text(&self) -> Result<String, KeysError> {
        let read = || {
            if fs::metadata(&self.path)?.len() > MAX_FILE_BYTES {
                let refused = format!("it has more than {MAX_FILE_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, refused));
            }
            fs::read_to_string(&self.path)
        };
        let path = self.path.display();
        read().map_err(|error| self.refused(&format!("cannot read {path}: {error}")))
    }

    /// The keys in its `text`. Logs which of a set are not used; a set without any other is refused.
    pub(super) fn keys(&self, text: &str) -> Result<Keys, KeysError> {
        let set = (self.parse)(text)
            .map_err(|problem| self.refused(&format!("{}: {problem}", self.path.display())))?;
        for reason in set.ignored {
            log::warn!("{self}: {reason}. This key is not used.");
        }
        Ok(Keys(set.keys))
    }

    fn refused(&self, problem: &str) -> KeysError {
        KeysError(format!("{}: {problem}", self.setting))
    }
}

impl Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.path.display())
    }
}

fn secret_key(secret: &Secret) -> Key {
    Key {
        id: None,
        decoding: DecodingKey::from_secret(secret.reveal()),
        algorithm: Algorithm::HS256,
    }
}

fn secret_of_file(text: &str) -> Result<KeySet, String> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let secret = Secret::new(line).map_err(|error| error.to_string())?;
    Ok(secret_key(&secret).into())
}

fn public_key(text: &str) -> Result<KeySet, String> {
    const ALLOWED: &str =
        "allowed is one PEM public key: RSA of 2048 to 4096 bits, P-256 or Ed25519";
    if text.contains("PRIVATE KEY-----") {
        return Err(format!("it holds a private key, {ALLOWED}"));
    }
    if text.matches("-----BEGIN ").count() != 1 || !text.contains("PUBLIC KEY-----") {
        return Err(format!("it does not hold one public key, {ALLOWED}"));
    }
    let pem = text.trim().as_bytes();
    let found = [
        (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
        (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
        (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
    ]
    .into_iter()
    .find_map(|(key, algorithm)| Some((key.ok()?, algorithm)));
    let (decoding, algorithm) = found.ok_or_else(|| format!("it is not understood, {ALLOWED}"))?;
    let key = checked_key(None, decoding, algorithm)
        .map_err(|problem| format!("{problem}, {ALLOWED}"))?;
    Ok(key.into())
}

/// The keys of a JWK Set. As RFC 7517, section 5, has it, a key that is not understood or cannot be used
/// is ignored.
fn key_set(text: &str) -> Result<KeySet, String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let listed = set.get("keys").and_then(Value::as_array);
    let listed = listed.ok_or("not a JWK Set, which has a list \"keys\"")?;
    let mut keys: Vec<Key> = Vec::new();
    let mut ignored = Vec::new();
    for (number, jwk) in (1..).zip(listed) {
        let problem = match read_jwk(jwk) {
            Ok(None) => continue,
            Ok(Some(new)) => {
                let is_alike = |key: &Key| key.id == new.id && key.algorithm == new.algorithm;
                if !keys.iter().any(is_alike) {
                    keys.push(new);
                    continue;
                }
                "a key with the same \"kid\", or also without one, and for the same algorithm comes \
                 before it"
                    .to_owned()
            }
            Err(problem) => problem,
        };
        let id = jwk.get("kid").map(|id| format!(" (kid {id})"));
        ignored.push(format!("key {number}{}: {problem}", id.unwrap_or_default()));
    }
    if keys.is_empty() {
        ignored.insert(
            0,
            "it has no key for signatures that can be used".to_owned(),
        );
        return Err(ignored.join("; "));
    }
    Ok(KeySet { keys, ignored })
}

/// A key of a set; `None` if it is not for checking signatures.
fn read_jwk(raw: &Value) -> Result<Option<Key>, String> {
    const ALLOWED: &str = "allowed are RSA for RS256, P-256 for ES256 and Ed25519 for EdDSA";
    let jwk: Jwk = serde_json::from_value(raw.clone()).map_err(|_| "it is not a JWK".to_owned())?;
    let common = jwk.common.clone();
    if common
        .public_key_use
        .is_some_and(|of| of != PublicKeyUse::Signature)
        || common
            .key_operations
            .is_some_and(|all| !all.contains(&KeyOperations::Verify))
    {
        return Ok(None);
    }
    if ["d", "k"].iter().any(|part| raw.get(part).is_some()) {
        return Err("it is secret, and only public keys belong here".to_owned());
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return Err(format!("its kind or curve is not supported, {ALLOWED}")),
    };
    if common
        .key_algorithm
        .is_some_and(|named| named != KeyAlgorithm::from(algorithm))
    {
        return Err(format!("its \"alg\" is not supported, {ALLOWED}"));
    }
    let id = common.key_id.filter(|id| !id.is_empty());
    DecodingKey::from_jwk(&jwk)
        .map_err(|_| "it cannot be decoded".to_owned())
        .and_then(|decoding| checked_key(id, decoding, algorithm))
        .map(Some)
        .map_err(|problem| format!("{problem}, {ALLOWED}"))
}

/// Refuses at the start a key with which every token would be refused later.
fn checked_key(
    id: Option<String>,
    decoding: DecodingKey,
    algorithm: Algorithm,
) -> Result<Key, String> {
    if algorithm == Algorithm::RS256 {
        let utils = &DEFAULT_PROVIDER.key_utils;
        let (n, e) = match decoding.kind() {
            DecodingKeyKind::SecretOrDer(der) => (utils.rsa_pub_components_from_public_key)(der)
                .map_err(|_| "it is not an RSA public key of a usual size")?,
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        let key = RsaPublicKey::new(BigUint::from_bytes_be(&n), BigUint::from_bytes_be(&e));
        if !key.is_ok_and(|key| key.n().bits() >= MIN_RSA_BITS) {
            return Err("it is an RSA key of another size".to_owned());
        }
    }
    // This checks that the point lies on the curve.
    (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &decoding)
        .map_err(|_| "it is not a point of the curve")?;
    Ok(Key {
        id,
        decoding,
        algorithm,
    })
}

#[cfg(test)]
mod tests;
