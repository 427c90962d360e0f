//! Who may ask: whether callers need a token, which one is believed, and what it entitles to. Not
//! here: reading key files and tokens (`crate::auth`).

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use config::{Value, ValueKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{error::SettingsError, value};

/// The fewest bytes that a secret of HS256 may have: as many as its hash has (RFC 7518, section
/// 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Who may ask, and what for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// Whether callers need a token; none by default.
    #[serde(deserialize_with = "value::choice")]
    pub mode: AuthMode,
    /// Whether the mode none may listen on an address that is not a loopback one; false by default.
    #[serde(deserialize_with = "value::boolean")]
    pub allow_anonymous: bool,
    /// The secret that tokens are signed with by HS256, at least 32 bytes; empty by default. One of
    /// it and the next three must be set for the mode jwt.
    pub secret: Secret,
    /// A file with the secret and nothing else, save for an end of line; empty by default.
    #[serde(deserialize_with = "value::path")]
    pub secret_file: PathBuf,
    /// A PEM file with the public key that tokens are checked with: RS256 for an RSA key, ES256 for
    /// one on P-256, `EdDSA` for Ed25519; empty by default.
    #[serde(deserialize_with = "value::path")]
    pub public_key_file: PathBuf,
    /// A JWK Set with such keys, of which a token names one by `kid`; empty by default.
    #[serde(deserialize_with = "value::path")]
    pub jwks_file: PathBuf,
    /// Who must have issued a token (`iss`); empty by default: anybody who has the key.
    #[serde(deserialize_with = "name")]
    pub issuer: String,
    /// Whom a token must be meant for (`aud`); empty by default: a token that names nobody.
    #[serde(deserialize_with = "name")]
    pub audience: String,
    /// By how much the issuer's clock may differ, in seconds, 0 to 300; 5 by default.
    #[serde(deserialize_with = "value::integer::<_, _, 0, 300>")]
    pub leeway_seconds: u32,
    /// The claim that has the caller's tenant or the list of them; `tenants` by default.
    #[serde(deserialize_with = "filled_name")]
    pub tenant_claim: String,
    /// The claim that tells an administrator; `role` by default.
    #[serde(deserialize_with = "filled_name")]
    pub admin_claim: String,
    /// What the claim of an administrator is, or has in its list; `admin` by default.
    #[serde(deserialize_with = "filled_name")]
    pub admin_value: String,
    /// A loopback address and port whose requests need no token for what administrators may do;
    /// none by default.
    #[serde(deserialize_with = "loopback", serialize_with = "or_nothing")]
    pub admin_listen: Option<SocketAddr>,
}

/// Whether callers need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Whoever reaches the service may do everything.
    None,
    /// A JSON Web Token says who asks.
    Jwt,
}

impl value::Choice for AuthMode {
    const ALL: &'static [(&'static str, Self)] = &[("none", Self::None), ("jwt", Self::Jwt)];
}

impl AuthSettings {
    /// By how much the issuer's clock may differ.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        Duration::from_secs(self.leeway_seconds.into())
    }

    /// The keys of the settings that say what tokens are checked with, of those that are set.
    fn keys(&self) -> Vec<&'static str> {
        let all = [
            ("auth.secret", !self.secret.0.is_empty()),
            ("auth.secret_file", is_set(&self.secret_file)),
            ("auth.public_key_file", is_set(&self.public_key_file)),
            ("auth.jwks_file", is_set(&self.jwks_file)),
        ];
        let set = all.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(key, _)| key).collect()
    }

    /// Refuses what is fine each by itself, but not together.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let keys = self.keys();
        let (keys, problem) = match (self.mode, keys.as_slice()) {
            (AuthMode::None, []) | (AuthMode::Jwt, [_]) => return Ok(()),
            // Whoever has set a key does not mean to let everybody in.
            (AuthMode::None, [key, ..]) => (
                *key,
                "it has no meaning while auth.mode is \"none\"".to_owned(),
            ),
            (AuthMode::Jwt, []) => (
                "auth.mode",
                "\"jwt\" needs one of auth.secret, auth.secret_file, auth.public_key_file and \
                 auth.jwks_file"
                    .to_owned(),
            ),
            (AuthMode::Jwt, [first, others @ ..]) => (
                *first,
                format!("it cannot be set together with {}", others.join(", ")),
            ),
        };
        Err(SettingsError::Together { keys, problem })
    }
}

fn is_set(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}

/// A secret of at least 32 bytes, or nothing. `Debug` and `Serialize` do not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// No secret for HS256: the message says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// It could be guessed.
    #[error("given {0} bytes, allowed are at least {MIN_SECRET_BYTES} bytes of UTF-8")]
    TooShort(usize),
    /// Whoever may read a public key could sign with it.
    #[error("it holds a PEM key, not a secret")]
    Pem,
}

impl Secret {
    /// Takes `raw` as it is: nothing in it is decoded.
    pub fn new(raw: impl Into<String>) -> Result<Self, InvalidSecret> {
        let raw = raw.into();
        if raw.contains("-----BEGIN ") {
            return Err(InvalidSecret::Pem);
        }
        match raw.len() {
            MIN_SECRET_BYTES.. => Ok(Self(raw)),
            length => Err(InvalidSecret::TooShort(length)),
        }
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // What was given is not shown.
        match Value::deserialize(from)?.kind {
            ValueKind::String(empty) if empty.is_empty() => Ok(Self::default()),
            ValueKind::String(text) => Self::new(text).map_err(D::Error::custom),
            _ => Err(D::Error::custom("given something else, allowed is text")),
        }
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
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    let fits = |text: &str| text.is_empty() || address(text).is_some_and(|a| a.ip().is_loopback());
    let allowed = "a loopback address with its port, such as 127.0.0.1:9000 or [::1]:9000, or \
                   nothing";
    value::text(from, fits, allowed).map(|text| address(&text))
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn or_nothing<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => to.collect_str(address),
        None => to.serialize_str(""),
    }
}
