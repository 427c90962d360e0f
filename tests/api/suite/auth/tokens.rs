//! Issuers of tokens, good and bad ones, with keys made for one test.

use std::sync::OnceLock;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode, jwk::Jwk, jws};
use rcgen::{KeyPair, PKCS_ED25519};
use rsa::{
    RsaPrivateKey,
    pkcs1::{EncodeRsaPrivateKey, LineEnding},
    pkcs8::EncodePublicKey,
    rand_core::OsRng,
};
use serde_json::{Value, json};

use super::{OURS, THEIRS};

pub const ISSUER: &str = "https://alignwork.example";
pub const AUDIENCE: &str = "megastats";

/// [`harness::NOW`], in seconds since 1970.
const NOW: i64 = 1_761_912_000;

/// In which setting a service is told what to check tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Secret,
    PublicKey,
    Set,
}

/// Who signs tokens.
pub struct Issuer {
    kind: Kind,
    signing: EncodingKey,
    algorithm: Algorithm,
    /// By which its tokens name its key.
    kid: Option<&'static str>,
    public: String,
}

/// What a client presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Missing,
    Garbage,
    Expired,
    NotYetValid,
    WithoutExp,
    /// Signed with a key that is not the issuer's.
    WrongKey,
    /// Signed by HS256 with what everybody knows: the public key, or else nothing.
    PublicKeyAsSecret,
    /// With the header `alg: none` and no signature.
    Unsigned,
    /// To get another token with.
    Refresh,
    WrongIssuer,
    WrongAudience,
    /// Valid, for other tenants.
    OtherTenant,
    /// Valid, for our tenant.
    RightTenant,
    /// Valid, for no tenant.
    Admin,
}

pub const TOKENS: [Token; 14] = [
    Token::Missing,
    Token::Garbage,
    Token::Expired,
    Token::NotYetValid,
    Token::WithoutExp,
    Token::WrongKey,
    Token::PublicKeyAsSecret,
    Token::Unsigned,
    Token::Refresh,
    Token::WrongIssuer,
    Token::WrongAudience,
    Token::OtherTenant,
    Token::RightTenant,
    Token::Admin,
];

impl Token {
    /// Whether it says who the client is.
    pub fn is_valid(self) -> bool {
        matches!(self, Self::OtherTenant | Self::RightTenant | Self::Admin)
    }
}

impl Issuer {
    /// As `AlignWork` does it: one secret for those who sign and those who check.
    pub fn with_secret() -> Self {
        let public = format!("{:x}{:x}", rand::random::<u128>(), rand::random::<u128>());
        let public = format!("{public:0>64}");
        Self {
            kind: Kind::Secret,
            signing: EncodingKey::from_secret(public.as_bytes()),
            algorithm: Algorithm::HS256,
            kid: None,
            public,
        }
    }

    /// With an RSA key, whose public half is a PEM file.
    pub fn with_public_key() -> Self {
        // Takes its time.
        static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
        let key = KEY.get_or_init(|| RsaPrivateKey::new(&mut OsRng, 2048).unwrap());
        let pem = key.to_pkcs1_pem(LineEnding::LF).unwrap();
        Self {
            kind: Kind::PublicKey,
            signing: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
            algorithm: Algorithm::RS256,
            kid: None,
            public: key
                .to_public_key()
                .to_public_key_pem(LineEnding::LF)
                .unwrap(),
        }
    }

    /// With two keys in a JWK Set, of which the one on a curve signs.
    pub fn with_set() -> Self {
        let signing = KeyPair::generate().unwrap();
        let other = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let jwk = |key: DecodingKey, kid: &str| {
            let jwk = Jwk::from_decoding_key(&key, None).unwrap();
            let mut jwk = serde_json::to_value(jwk).unwrap();
            jwk["kid"] = kid.into();
            jwk
        };
        let keys = [
            jwk(
                DecodingKey::from_ed_pem(other.public_key_pem().as_bytes()).unwrap(),
                "old",
            ),
            jwk(
                DecodingKey::from_ec_pem(signing.public_key_pem().as_bytes()).unwrap(),
                "new",
            ),
        ];
        Self {
            kind: Kind::Set,
            signing: EncodingKey::from_ec_pem(signing.serialize_pem().as_bytes()).unwrap(),
            algorithm: Algorithm::ES256,
            kid: Some("new"),
            public: json!({ "keys": keys }).to_string(),
        }
    }

    /// The same issuer, who names no key, neither in the set nor in tokens.
    pub fn without_kid(self) -> Self {
        let mut set: Value = serde_json::from_str(&self.public).unwrap();
        for key in set["keys"].as_array_mut().unwrap() {
            key.as_object_mut().unwrap().remove("kid");
        }
        Self {
            kid: None,
            public: set.to_string(),
            ..self
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the service is given.
    pub fn public(&self) -> &str {
        &self.public
    }

    fn header(&self) -> Header {
        Header {
            kid: self.kid.map(str::to_owned),
            ..Header::new(self.algorithm)
        }
    }

    /// A token with `claims` over those of a valid one; null takes one away.
    pub fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), &with(claims), &self.signing).unwrap()
    }

    /// A valid token for these tenants.
    pub fn token_for(&self, tenants: &[&str]) -> String {
        self.sign(&json!({ "tenants": tenants }))
    }

    /// `None` for no token at all.
    pub fn make(&self, token: Token) -> Option<String> {
        let claims = match token {
            Token::Missing => return None,
            Token::Garbage => return Some("not.a.token".to_owned()),
            Token::Expired => json!({ "exp": NOW - 5 }),
            Token::NotYetValid => json!({ "nbf": NOW + 6 }),
            Token::WithoutExp => json!({ "exp": null }),
            Token::Refresh => json!({ "type": "refresh" }),
            Token::WrongIssuer => json!({ "iss": "https://evil.example" }),
            Token::WrongAudience => json!({ "aud": "another" }),
            Token::OtherTenant => json!({ "tenants": [THEIRS, "third"] }),
            Token::Admin => json!({ "tenants": [], "role": "admin" }),
            Token::RightTenant | Token::WrongKey | Token::PublicKeyAsSecret | Token::Unsigned => {
                json!({})
            }
        };
        Some(match token {
            Token::WrongKey => self.impostor().sign(&claims),
            Token::PublicKeyAsSecret => {
                let known = match self.kind {
                    Kind::Secret => "",
                    Kind::PublicKey | Kind::Set => self.public.as_str(),
                };
                let header = Header {
                    alg: Algorithm::HS256,
                    ..self.header()
                };
                let key = EncodingKey::from_secret(known.as_bytes());
                encode(&header, &with(&claims), &key).unwrap()
            }
            Token::Unsigned => {
                let header = json!({ "alg": "none", "typ": "JWT", "kid": self.header().kid });
                format!("{}.{}.", base64(&header), base64(&with(&claims)))
            }
            _ => self.sign(&claims),
        })
    }

    /// Somebody with the same algorithm and another key.
    fn impostor(&self) -> Self {
        match self.kind {
            Kind::Secret => Self::with_secret(),
            Kind::Set => Self::with_set(),
            Kind::PublicKey => {
                let key = RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
                let pem = key.to_pkcs1_pem(LineEnding::LF).unwrap();
                Self {
                    kind: self.kind,
                    signing: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
                    algorithm: self.algorithm,
                    kid: self.kid,
                    public: String::new(),
                }
            }
        }
    }
}

/// `AlignWork`'s claims and the tenants, with `claims` over them.
fn with(claims: &Value) -> Value {
    let mut all = json!({
        "sub": "ana@clinic.example", "user_id": 7, "type": "access", "exp": NOW + 900,
        "iss": ISSUER, "aud": AUDIENCE, "tenants": [OURS], "role": "staff",
    });
    for (name, claim) in claims.as_object().unwrap() {
        match claim {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            claim => all
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), claim.clone()),
        };
    }
    all
}

/// JSON as a part of a token.
fn base64(part: &Value) -> String {
    let any_key = EncodingKey::from_secret(b"any");
    jws::encode(&Header::default(), Some(part), &any_key)
        .unwrap()
        .payload
}
