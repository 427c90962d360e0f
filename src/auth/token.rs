//! What a token must say. Lives here: checking one, and the caller that its claims make. Not here:
//! where a request has it (`http`), and the keys (`keys`).

use std::{fmt, sync::Arc};

use cached::ShardedLruCache;
use jsonwebtoken::{
    Header, Validation, decode, decode_header,
    errors::{Error as JwtError, ErrorKind},
};
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

/// The longest token looked at, in bytes: more than any browser keeps in a cookie.
const MAX_BYTES: usize = 8192;

/// How many tokens are remembered. A signature takes up to a millisecond to check, an answer from
/// the cache some microseconds; and a dashboard comes back with the same token.
const REMEMBERED: usize = 1024;

/// Checks tokens by the rules of the settings, at the time of a clock.
pub struct Verifier {
    keys: Keys,
    clock: Arc<dyn Clock>,
    /// In seconds.
    leeway: f64,
    issuer: String,
    audience: String,
    tenant_claim: String,
    admin_claim: String,
    admin_value: String,
    /// What valid tokens said.
    known: ShardedLruCache<String, Known>,
}

/// What a token said whose signature was right.
#[derive(Debug, Clone)]
struct Known {
    caller: Caller,
    /// The first second that it is valid in, and the first in which it is not any more, since 1970.
    begins: Option<f64>,
    ends: f64,
}

/// Why a token is not believed: for the log, since a client is told only that it is not.
#[derive(Debug, Error)]
pub enum Refused {
    /// It is longer than any token here.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// It names no key of the set.
    #[error("its kid is missing or unknown")]
    UnknownKey,
    /// Its form, its algorithm, its signature, `iss` or `aud`.
    #[error("{}", what(.0))]
    Jwt(#[from] JwtError),
    /// It demands what is not understood here.
    #[error("its header has crit")]
    Critical,
    /// A claim has a form that it cannot have.
    #[error("its claim {0} is malformed")]
    Malformed(String),
    /// It is for something else, such as to get another token.
    #[error("its type is not access")]
    Type,
    /// Its `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// Its `nbf` has not come yet.
    #[error("it is not valid yet")]
    Early,
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        log::debug!("refused a token: {refused}");
        Self::unauthorized(
            Challenge::InvalidToken,
            "The access token is not valid, or has expired. Sign in again.",
        )
    }
}

/// What is wrong, without what the client sent.
fn what(error: &JwtError) -> String {
    match error.kind() {
        ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => "malformed".to_owned(),
        _ => error.to_string(),
    }
}

type Claims = Map<String, Value>;

impl Verifier {
    /// Checks with `keys`, at the time of `clock`.
    #[must_use]
    pub fn new(settings: &AuthSettings, keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys,
            clock,
            leeway: settings.leeway().as_secs_f64(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            tenant_claim: settings.tenant_claim.clone(),
            admin_claim: settings.admin_claim.clone(),
            admin_value: settings.admin_value.clone(),
            known: ShardedLruCache::new(REMEMBERED),
        }
    }

    /// Who presents `token`.
    pub fn verify(&self, token: &str) -> Result<Caller, Refused> {
        if token.len() > MAX_BYTES {
            return Err(Refused::TooLong);
        }
        if let Some(known) = self.known.get(token) {
            return self.in_time(&known).map(|()| known.caller);
        }
        let known = self.read(token)?;
        self.in_time(&known)?;
        self.known.set(token.to_owned(), known.clone());
        Ok(known.caller)
    }

    fn in_time(&self, known: &Known) -> Result<(), Refused> {
        let now = self.clock.now().as_duration().as_secs_f64();
        if now >= known.ends + self.leeway {
            return Err(Refused::Expired);
        }
        match known.begins {
            Some(begins) if now < begins - self.leeway => Err(Refused::Early),
            _ => Ok(()),
        }
    }

    /// What `token` says, whatever the time.
    fn read(&self, token: &str) -> Result<Known, Refused> {
        let claims = self.signed(token, &decode_header(token)?)?;
        if claims.get("type").is_some_and(|kind| kind != "access") {
            return Err(Refused::Type);
        }
        let tenants = strings(&claims, &self.tenant_claim)?;
        let tenants = tenants.iter().map(|name| TenantId::parse(name));
        let tenants = tenants.collect::<Result<_, _>>();
        let tenants = tenants.map_err(|_| Refused::Malformed(self.tenant_claim.clone()))?;
        let admin = match claims.get(&self.admin_claim) {
            Some(Value::Array(list)) => list.iter().any(|one| *one == self.admin_value),
            one => one.is_some_and(|one| *one == self.admin_value),
        };
        let ends = seconds(&claims, "exp")?;
        Ok(Known {
            caller: Caller::of(tenants, admin),
            begins: seconds(&claims, "nbf")?,
            ends: ends.ok_or_else(|| Refused::Malformed("exp".to_owned()))?,
        })
    }

    /// The claims of a token whose signature, issuer and audience are right.
    fn signed(&self, token: &str, header: &Header) -> Result<Claims, Refused> {
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        let key = self.keys.find(header.kid.as_deref());
        let key = key.ok_or(Refused::UnknownKey)?;
        Ok(decode(token, &key.decoding, &self.rules(key))?.claims)
    }

    /// What the crate checks. Not the time, which it would take from the machine.
    fn rules(&self, key: &Key) -> Validation {
        let mut rules = Validation::new(key.algorithm);
        rules.validate_exp = false;
        if !self.issuer.is_empty() {
            rules.required_spec_claims.insert("iss".to_owned());
            rules.set_issuer(&[&self.issuer]);
        }
        if !self.audience.is_empty() {
            rules.required_spec_claims.insert("aud".to_owned());
            rules.set_audience(&[&self.audience]);
        }
        rules
    }
}

/// The instant of a claim, in seconds since 1970; `None` if the claim is missing.
fn seconds(claims: &Claims, name: &str) -> Result<Option<f64>, Refused> {
    let Some(claim) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = claim.as_f64();
    seconds
        .map(Some)
        .ok_or_else(|| Refused::Malformed(name.to_owned()))
}

/// The string or the strings of a claim; none if it is missing.
fn strings<'a>(claims: &'a Claims, name: &str) -> Result<Vec<&'a str>, Refused> {
    let text = |claim: &'a Value| {
        let text = claim.as_str();
        text.ok_or_else(|| Refused::Malformed(name.to_owned()))
    };
    match claims.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(one) => text(one).map(|one| vec![one]),
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
