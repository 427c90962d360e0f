//! Who may ask: whether callers need a token, what it is checked with, and what it must say.

use std::{collections::HashSet, net::SocketAddr, path::PathBuf, time::Duration};

use base64::{
    Engine as _,
    prelude::{
        BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD,
    },
};
use clap::ValueEnum;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509_cert::der::{Decode as _, Tag, Tagged as _, asn1::AnyRef};

use super::{
    error::SettingsError,
    value::{self, Seconds},
};

/// The fewest bytes that a secret of HS256 may have: as many as its hash has (RFC 7518, section
/// 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// The fewest different bytes that it may have: one that is random practically always has more.
const MIN_DIFFERENT_BYTES: usize = 8;

/// Who may ask, and what for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// Whether callers need a token.
    #[serde(deserialize_with = "value::choice")]
    pub mode: AuthMode,
    /// Whether the mode none may listen on an address that other machines reach.
    #[serde(deserialize_with = "value::boolean")]
    pub allow_anonymous: bool,
    /// The secret that tokens are signed with by HS256, at least 32 bytes. One of it and the next
    /// three must be set for the mode jwt.
    pub secret: Secret,
    /// A file that holds the secret and nothing else but an end of line.
    #[serde(deserialize_with = "value::path")]
    pub secret_file: PathBuf,
    /// A PEM file with the public key that tokens are checked with: RS256 for an RSA key, ES256 for
    /// one on P-256, `EdDSA` for Ed25519.
    #[serde(deserialize_with = "value::path")]
    pub public_key_file: PathBuf,
    /// A JWK Set with such keys, of which a token names one by its `alg` and `kid`. This file and the two
    /// above are read again when they change.
    #[serde(deserialize_with = "value::path")]
    pub jwks_file: PathBuf,
    /// Who must have issued a token (`iss`); if empty, anybody who has the key.
    #[serde(deserialize_with = "name")]
    pub issuer: String,
    /// Whom a token must be meant for (`aud`); if empty, nobody: the token must not have it.
    #[serde(deserialize_with = "name")]
    pub audience: String,
    /// By how much the issuer's clock may differ.
    #[serde(rename = "leeway_seconds", with = "Seconds::<0, 300>")]
    pub leeway: Duration,
    /// The claim that has the caller's tenant or the list of them: its name, or the path to it, whose
    /// parts are separated by dots.
    #[serde(deserialize_with = "filled_name")]
    pub tenant_claim: String,
    /// The claim that tells an administrator, likewise.
    #[serde(deserialize_with = "filled_name")]
    pub admin_claim: String,
    /// What the claim of an administrator is, or has in its list.
    #[serde(deserialize_with = "filled_name")]
    pub admin_value: String,
    /// A loopback address and port whose requests need no token for what administrators may do.
    #[serde(deserialize_with = "loopback", serialize_with = "or_nothing")]
    pub admin_listen: Option<SocketAddr>,
}

/// Whether callers need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Whoever reaches the service may do everything.
    None,
    /// A JSON Web Token says who asks.
    Jwt,
}

impl AuthSettings {
    /// Refuses what is fine each by itself, but not together.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        // These say what tokens are checked with.
        let all = [
            ("auth.secret", self.secret.is_set()),
            ("auth.secret_file", is_set(&self.secret_file)),
            ("auth.public_key_file", is_set(&self.public_key_file)),
            ("auth.jwks_file", is_set(&self.jwks_file)),
        ];
        let set = all.into_iter().filter(|(_, is_set)| *is_set);
        let keys: Vec<_> = set.map(|(key, _)| key).collect();
        let problem = match (self.mode, keys.as_slice()) {
            (AuthMode::None, []) | (AuthMode::Jwt, [_]) => return Ok(()),
            // Whoever has set a key does not mean to let everybody in.
            (AuthMode::None, [key, ..]) => {
                format!("{key}: it has no meaning while auth.mode is \"none\"")
            }
            (AuthMode::Jwt, []) => {
                "auth.mode: \"jwt\" needs one of auth.secret, auth.secret_file, \
                                    auth.public_key_file and auth.jwks_file"
                    .to_owned()
            }
            (AuthMode::Jwt, [first, others @ ..]) => {
                let others = others.join(", ");
                format!("{first}: it cannot be set together with {others}")
            }
        };
        Err(SettingsError(problem))
    }
}

fn is_set(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}

/// A secret of at least 32 bytes, or nothing. `Debug` and `Serialize` do not show it.
#[derive(Debug, Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes `raw` as it is: nothing in it is decoded. It must not be easy to guess.
    pub fn new(raw: impl Into<String>) -> Result<Self, SettingsError> {
        let raw = raw.into();
        let different = raw.bytes().collect::<HashSet<_>>().len();
        let problem = if is_key(&raw) {
            // Whoever may read a public key could sign with it.
            "it is a key or a certificate, not a secret".to_owned()
        } else if raw.len() < MIN_SECRET_BYTES {
            let given = raw.len();
            format!("given {given} bytes, allowed are at least {MIN_SECRET_BYTES} bytes of UTF-8")
        } else if different < MIN_DIFFERENT_BYTES {
            format!(
                "given {different} different bytes, allowed are at least {MIN_DIFFERENT_BYTES} \
                 different ones"
            )
        } else {
            return Ok(Self(raw.into()));
        };
        Err(SettingsError(problem))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.reveal().is_empty()
    }
}

/// Whether `text` is a key or a certificate: in PEM, as JWK, of SSH, or DER in base64.
fn is_key(text: &str) -> bool {
    let text = text.trim();
    text.contains("-----BEGIN ")
        || text.starts_with('{') && text.contains("\"kty\"")
        || text.starts_with("ssh-")
        || text.starts_with("ecdsa-sha2-")
        || is_der(text)
}

/// Whether `text` is base64 of DER as every key and certificate begins: with a sequence of the whole
/// length, whose first part is another one or an integer.
fn is_der(text: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    let text = text.trim_end_matches('=');
    let decoded = STANDARD_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE_NO_PAD.decode(text))
        .unwrap_or_default();
    AnyRef::from_der(&decoded).is_ok_and(|whole| {
        whole.tag() == Tag::Sequence && matches!(whole.value(), [0x30 | 0x02, ..])
    })
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_set() { value::MASK } else { "" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        value::secret(from, |text| match text {
            "" => Ok(Self::default()),
            text => Self::new(text),
        })
    }
}

const NAME: &str = "at most 256 visible ASCII characters, without a user in a URL or a query";

/// Reads the name of a claim, or what it says. It is shown, so a URL with a password, given to the
/// wrong key, must not become one.
fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    value::text(from, is_name, NAME)
}

fn filled_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    value::text(from, |text| !text.is_empty() && is_name(text), NAME)
}

fn is_name(text: &str) -> bool {
    text.len() <= 256
        && text.chars().all(|c| c.is_ascii_graphic())
        && !(text.contains("://") && text.contains(['@', '?']))
}

/// Reads a loopback address with its port, or nothing.
fn loopback<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let parse = |text: &str| {
        if text.is_empty() {
            return Some(None);
        }
        let address: SocketAddr = text.parse().ok()?;
        address.ip().is_loopback().then_some(Some(address))
    };
    let allowed = "a loopback address with its port, such as 127.0.0.1:9000 or [::1]:9000, or \
                   nothing";
    value::read(from, parse, allowed)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn or_nothing<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => to.collect_str(address),
        None => to.serialize_str(""),
    }
}
