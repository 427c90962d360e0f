//! Checking a token, and which caller its claims make.

use std::sync::Arc;

use cached::ShardedLruCache;
use jsonwebtoken::{
    Validation, decode, decode_header,
    errors::{Error as JwtError, ErrorKind},
};
use parking_lot::RwLock;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    Caller,
    keys::{Key, Keys},
};
use crate::{
    clock::Clock,
    error::{ApiError, Challenge},
    settings::AuthSettings,
    tenant::TenantId,
};

/// The longest token that is checked, in bytes: more than a browser keeps in a cookie.
const MAX_BYTES: usize = 8192;

/// How many checked tokens are kept: a dashboard sends the same token each time, and checking a
/// signature takes up to a millisecond, while an answer from the cache takes some microseconds.
const CACHED_TOKENS: usize = 1024;

/// Checks tokens by the rules of the settings, at the time of a clock.
pub struct Verifier {
    settings: AuthSettings,
    trusted: RwLock<Arc<Trusted>>,
    clock: Arc<dyn Clock>,
}

/// The keys in use, and the tokens that were checked with them: no token outlives its key.
struct Trusted {
    keys: Keys,
    /// Tokens that were valid when they were last seen.
    checked: ShardedLruCache<String, CheckedToken>,
}

/// What a token says whose signature is valid.
#[derive(Debug, Clone)]
struct CheckedToken {
    caller: Caller,
    /// The claim `nbf`, in seconds since 1970.
    valid_from: Option<f64>,
    /// The claim `exp`, in seconds since 1970.
    expires_at: f64,
}

/// Why a token is not valid. This is for the log: the client is told only that it is not valid.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct InvalidToken(String);

impl InvalidToken {
    fn new(why: &str) -> Self {
        Self(why.to_owned())
    }

    fn malformed(claim: &str) -> Self {
        Self(format!("its claim {claim} is malformed"))
    }
}

impl From<JwtError> for InvalidToken {
    /// Says nothing that the client sent.
    fn from(error: JwtError) -> Self {
        match error.kind() {
            ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
                Self::new("malformed")
            }
            _ => Self(error.to_string()),
        }
    }
}

impl From<InvalidToken> for ApiError {
    fn from(error: InvalidToken) -> Self {
        log::debug!("refused a token: {error}");
        Self::unauthorized(
            Challenge::InvalidToken,
            "The access token is not valid, or has expired. Sign in again.",
        )
    }
}

type Claims = Map<String, Value>;

impl Verifier {
    /// Checks with `keys`, at the time of `clock`.
    pub fn new(settings: &AuthSettings, keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings: settings.clone(),
            trusted: RwLock::new(Trusted::new(keys)),
            clock,
        }
    }

    /// From now on tokens are checked with `keys`, those too that were checked before.
    pub(super) fn replace_keys(&self, keys: Keys) {
        *self.trusted.write() = Trusted::new(keys);
    }

    fn trusted(&self) -> Arc<Trusted> {
        Arc::clone(&self.trusted.read())
    }

    /// Who presents `token`.
    pub fn verify(&self, token: &str) -> Result<Caller, InvalidToken> {
        if token.len() > MAX_BYTES {
            let why = format!("it has more than {MAX_BYTES} bytes");
            return Err(InvalidToken(why));
        }
        let trusted = self.trusted();
        if let Some(checked) = trusted.checked.get(token) {
            return self.check_time(&checked).map(|()| checked.caller);
        }
        let checked = self.read(token, &trusted.keys)?;
        self.check_time(&checked)?;
        trusted.checked.set(token.to_owned(), checked.clone());
        Ok(checked.caller)
    }

    fn check_time(&self, token: &CheckedToken) -> Result<(), InvalidToken> {
        let now = self.clock.now().as_duration().as_secs_f64();
        let leeway = self.settings.leeway.as_secs_f64();
        if now >= token.expires_at + leeway {
            return Err(InvalidToken::new("it has expired"));
        }
        match token.valid_from {
            Some(valid_from) if now < valid_from - leeway => {
                Err(InvalidToken::new("it is not valid yet"))
            }
            _ => Ok(()),
        }
    }

    /// What `token` says, if its signature is valid. The time is not checked.
    fn read(&self, token: &str, keys: &Keys) -> Result<CheckedToken, InvalidToken> {
        let claims = self.signed(token, keys)?;
        if claims.get("type").is_some_and(|kind| kind != "access") {
            return Err(InvalidToken::new("its type is not access"));
        }
        let tenants = strings(&claims, &self.settings.tenant_claim)?;
        let tenants = tenants.iter().map(|name| TenantId::parse(name));
        let tenants = tenants.collect::<Result<_, _>>();
        let tenants = tenants.map_err(|_| InvalidToken::malformed(&self.settings.tenant_claim))?;
        let admin = match claim(&claims, &self.settings.admin_claim) {
            Some(Value::Array(list)) => list.iter().any(|one| *one == self.settings.admin_value),
            one => one.is_some_and(|one| *one == self.settings.admin_value),
        };
        let expires_at = seconds(&claims, "exp")?;
        Ok(CheckedToken {
            caller: Caller::of(tenants, admin),
            valid_from: seconds(&claims, "nbf")?,
            expires_at: expires_at.ok_or_else(|| InvalidToken::malformed("exp"))?,
        })
    }

    /// The claims of a token whose signature, issuer and audience are right.
    fn signed(&self, token: &str, keys: &Keys) -> Result<Claims, InvalidToken> {
        let header = decode_header(token)?;
        if header.crit.is_some() {
            return Err(InvalidToken::new("its header has crit"));
        }
        let key = keys.find(&header);
        let key =
            key.ok_or_else(|| InvalidToken::new("there is no one key for its alg and kid"))?;
        Ok(decode(token, &key.decoding, &self.rules(key))?.claims)
    }

    /// What `jsonwebtoken` checks. It does not check the time, since it would ask the machine for it and
    /// not the clock.
    fn rules(&self, key: &Key) -> Validation {
        let mut rules = Validation::new(key.algorithm);
        rules.validate_exp = false;
        if !self.settings.issuer.is_empty() {
            rules.required_spec_claims.insert("iss".to_owned());
            rules.set_issuer(&[&self.settings.issuer]);
        }
        if !self.settings.audience.is_empty() {
            rules.required_spec_claims.insert("aud".to_owned());
            rules.set_audience(&[&self.settings.audience]);
        }
        rules
    }
}

impl Trusted {
    fn new(keys: Keys) -> Arc<Self> {
        Arc::new(Self {
            keys,
            checked: ShardedLruCache::new(CACHED_TOKENS),
        })
    }
}

/// The claim of that name or, if there is none, the one that the name leads to as a path: `a.b` is `b`
/// within the object `a`.
fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        name.match_indices('.').find_map(|(dot, _)| {
            let object = claims.get(&name[..dot])?.as_object()?;
            claim(object, &name[dot + 1..])
        })
    })
}

/// The instant of a claim, in seconds since 1970; `None` if the claim is missing.
fn seconds(claims: &Claims, name: &str) -> Result<Option<f64>, InvalidToken> {
    let seconds = |claim: &Value| claim.as_f64().ok_or_else(|| InvalidToken::malformed(name));
    claims.get(name).map(seconds).transpose()
}

/// The string or the strings of a claim; none if it is missing.
fn strings<'a>(claims: &'a Claims, name: &str) -> Result<Vec<&'a str>, InvalidToken> {
    let text = |claim: &'a Value| {
        let text = claim.as_str();
        text.ok_or_else(|| InvalidToken::malformed(name))
    };
    match claim(claims, name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => text(one).map(|one| vec![one]),
    }
}

#[cfg(test)]
mod tests;
