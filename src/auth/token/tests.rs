//! Which claims make which caller, and which make none.

use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::*;
use crate::{
    auth::Scope,
    settings::{Secret, Settings},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The instant at which tokens are checked, in seconds since 1970.
const NOW: i64 = 1_761_912_000;

struct At(i64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0).unwrap()
    }
}

fn verifier(change: impl FnOnce(&mut AuthSettings)) -> Verifier {
    verifier_at(NOW, change)
}

fn verifier_at(now: i64, change: impl FnOnce(&mut AuthSettings)) -> Verifier {
    let mut settings = Settings::default().auth;
    settings.secret = Secret::new(SECRET).unwrap();
    change(&mut settings);
    Verifier::new(&settings, Keys::load(&settings).unwrap(), Arc::new(At(now)))
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).unwrap()
}

/// `claims` over those of a valid token; null takes one away.
fn with(claims: &Value) -> Value {
    let mut all = json!({ "sub": "ana", "exp": NOW + 60, "type": "access", "tenants": ["a"] });
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

fn verify(verifier: &Verifier, claims: &Value) -> Result<Caller, InvalidToken> {
    // Twice: what is remembered is no other than what is read.
    let token = signed(&with(claims));
    let (first, again) = (verifier.verify(&token), verifier.verify(&token));
    // Of several reasons any may be the one that is told.
    assert_eq!(first.as_ref().ok(), again.as_ref().ok());
    first
}

fn tenants(caller: &Caller) -> Vec<String> {
    match caller.scope() {
        Scope::All => panic!("a token never entitles to everything"),
        Scope::Tenants(tenants) => tenants.iter().map(|one| one.as_str().to_owned()).collect(),
    }
}

#[test]
fn the_tenants_are_those_of_the_claim() {
    let verifier = verifier(|_| {});
    for (claim, expected) in [
        (json!("a"), &["a"][..]),
        (json!(["a", "b"]), &["a", "b"]),
        (json!([]), &[]),
        (Value::Null, &[]),
        (json!("*"), &["*"]),
        (json!("a,b"), &["a,b"]),
    ] {
        let caller = verify(&verifier, &json!({ "tenants": claim })).unwrap();
        assert_eq!(tenants(&caller), expected);
    }
    for malformed in [
        json!(7),
        json!([7]),
        json!(["a", ""]),
        json!({ "a": 1 }),
        json!(true),
    ] {
        let refused = verify(&verifier, &json!({ "tenants": malformed })).unwrap_err();
        assert_eq!(refused.to_string(), "its claim tenants is malformed");
    }
}

#[test]
fn the_names_of_the_claims_are_configured() {
    let verifier = verifier(|settings| {
        settings.tenant_claim = "https://clinic.example/tenants".into();
        settings.admin_claim = "groups".into();
        settings.admin_value = "ops".into();
    });
    let claims = json!({ "https://clinic.example/tenants": ["b"], "groups": ["staff", "ops"],
                         "role": "admin" });
    let caller = verify(&verifier, &claims).unwrap();
    assert_eq!(tenants(&caller), ["b"]);
    assert!(caller.may_administer().is_ok());
    let claims = json!({ "groups": "opsx", "role": "admin" });
    let caller = verify(&verifier, &claims).unwrap();
    assert!(tenants(&caller).is_empty() && caller.may_administer().is_err());
}

#[test]
fn a_claim_may_be_within_another_but_its_whole_name_comes_first() {
    let verifier = verifier(|settings| {
        settings.tenant_claim = "clinic.ids".into();
        settings.admin_claim = "realm_access.roles".into();
    });
    for (claims, expected, admin) in [
        (json!({ "clinic": { "ids": ["b"] } }), &["b"][..], false),
        (
            json!({ "clinic.ids": "c", "clinic": { "ids": ["b"] } }),
            &["c"],
            false,
        ),
        (
            json!({ "clinic": { "ids": {} , "x": 1 }, "clinic.ids": [] }),
            &[],
            false,
        ),
        (json!({ "clinic": ["ids"] }), &[], false),
        (json!({ "clinic": null, "ids": ["b"] }), &[], false),
        (
            json!({ "realm_access": { "roles": ["x", "admin"] } }),
            &[],
            true,
        ),
        (
            json!({ "realm_access": { "roles": ["x"] }, "roles": ["admin"] }),
            &[],
            false,
        ),
        (json!({ "realm_access": ["admin"] }), &[], false),
    ] {
        let caller = verify(&verifier, &claims).unwrap();
        assert_eq!(tenants(&caller), expected, "{claims}");
        assert_eq!(caller.may_administer().is_ok(), admin, "{claims}");
    }
    let malformed = verify(&verifier, &json!({ "clinic": { "ids": 7 } })).unwrap_err();
    assert_eq!(malformed.to_string(), "its claim clinic.ids is malformed");
}

#[test]
fn names_with_dots_may_be_part_of_a_path() {
    let verifier = verifier(|settings| {
        settings.tenant_claim = "resource_access.my.client.tenants".into();
        settings.admin_claim = "https://clinic.example/app.roles".into();
    });
    let claims = json!({ "resource_access": { "my.client": { "tenants": ["b"] } },
                         "https://clinic.example/app": { "roles": "admin" } });
    let caller = verify(&verifier, &claims).unwrap();
    assert_eq!(tenants(&caller), ["b"]);
    assert!(caller.may_administer().is_ok());
}

#[test]
fn an_administrator_is_told_by_the_whole_value() {
    let verifier = verifier(|_| {});
    for (role, admin) in [
        (json!("admin"), true),
        (json!(["staff", "admin"]), true),
        (json!("Admin"), false),
        (json!("staff admin"), false),
        (json!(true), false),
        (json!({ "admin": true }), false),
        (json!([["admin"]]), false),
        (Value::Null, false),
    ] {
        let caller = verify(&verifier, &json!({ "role": role })).unwrap();
        assert_eq!(caller.may_administer().is_ok(), admin, "{role}");
    }
}

#[test]
fn a_token_is_valid_from_nbf_until_exp_give_or_take_the_leeway() {
    for (leeway, claims, valid) in [
        (0, json!({ "exp": NOW + 1 }), true),
        (0, json!({ "exp": NOW }), false),
        (5, json!({ "exp": NOW - 4 }), true),
        (5, json!({ "exp": NOW - 5 }), false),
        (0, json!({ "nbf": NOW }), true),
        (0, json!({ "nbf": NOW + 1 }), false),
        (5, json!({ "nbf": NOW + 5 }), true),
        (5, json!({ "nbf": NOW + 6 }), false),
        (0, json!({ "exp": 1_761_912_000.5 }), true),
        (0, json!({ "exp": null }), false),
        (0, json!({ "exp": "2200-01-01" }), false),
        (0, json!({ "exp": NOW.to_string() }), false),
        (0, json!({ "exp": -1 }), false),
        (0, json!({ "nbf": "soon" }), false),
    ] {
        let verifier = verifier(|settings| settings.leeway = Duration::from_secs(leeway));
        let outcome = verify(&verifier, &claims);
        assert_eq!(outcome.is_ok(), valid, "{leeway} {claims} {outcome:?}");
    }
}

#[test]
fn a_remembered_token_expires_all_the_same() {
    struct Moves(std::sync::atomic::AtomicI64);
    impl Clock for Moves {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(std::sync::atomic::Ordering::Relaxed)).unwrap()
        }
    }
    let mut settings = Settings::default().auth;
    settings.secret = Secret::new(SECRET).unwrap();
    let clock = Arc::new(Moves(NOW.into()));
    let verifier = Verifier::new(&settings, Keys::load(&settings).unwrap(), clock.clone());
    let token = signed(&with(&json!({})));
    for (at, valid) in [
        (NOW, true),
        (NOW + 64, true),
        (NOW + 65, false),
        (NOW, true),
    ] {
        clock.0.store(at, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(verifier.verify(&token).is_ok(), valid, "{at}");
    }
}

#[test]
fn a_remembered_token_does_not_outlive_its_key() {
    let verifier = verifier(|_| {});
    let token = signed(&with(&json!({})));
    assert!(verifier.verify(&token).is_ok());
    let mut settings = Settings::default().auth;
    settings.secret = Secret::new(SECRET.to_uppercase()).unwrap();
    verifier.replace_keys(Keys::load(&settings).unwrap());
    assert!(verifier.verify(&token).is_err());
}

#[test]
fn remembered_tokens_are_bounded_and_only_valid_ones() {
    let verifier = verifier(|_| {});
    assert!(verify(&verifier, &json!({ "exp": 1 })).is_err());
    assert_eq!(verifier.trusted().checked.len(), 0);
    for number in 0..3 * CACHED_TOKENS {
        verifier
            .verify(&signed(&with(&json!({ "sub": number }))))
            .unwrap();
    }
    assert!(
        verifier.trusted().checked.len() <= 2 * CACHED_TOKENS,
        "{}",
        verifier.trusted().checked.len()
    );
}

#[test]
fn only_access_tokens_give_access() {
    let verifier = verifier(|_| {});
    for (kind, valid) in [
        (json!("access"), true),
        (Value::Null, true),
        (json!("refresh"), false),
        (json!("Access"), false),
        (json!(""), false),
        (json!(["access"]), false),
        (json!(1), false),
    ] {
        assert_eq!(
            verify(&verifier, &json!({ "type": kind })).is_ok(),
            valid,
            "{kind}"
        );
    }
    let mut null = with(&json!({}));
    null["type"] = Value::Null;
    assert!(verifier.verify(&signed(&null)).is_err());
}

#[test]
fn issuer_and_audience_count_once_they_are_configured() {
    let anybody = verifier(|_| {});
    assert!(verify(&anybody, &json!({ "iss": "whoever" })).is_ok());
    // RFC 7519, section 4.1.3: meant for somebody, and not for this service.
    assert!(verify(&anybody, &json!({ "aud": "another" })).is_err());
    let strict = verifier(|settings| {
        settings.issuer = "alignwork".into();
        settings.audience = "megastats".into();
    });
    for (claims, valid) in [
        (json!({ "iss": "alignwork", "aud": "megastats" }), true),
        (
            json!({ "iss": "alignwork", "aud": ["other", "megastats"] }),
            true,
        ),
        (json!({ "iss": "alignwork", "aud": ["other"] }), false),
        (json!({ "iss": "alignwork", "aud": 7 }), false),
        (json!({ "iss": "alignwork" }), false),
        (json!({ "iss": "alignworks", "aud": "megastats" }), false),
        (json!({ "iss": 7, "aud": "megastats" }), false),
        (json!({ "aud": "megastats" }), false),
        (json!({}), false),
    ] {
        assert_eq!(verify(&strict, &claims).is_ok(), valid, "{claims}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let verifier = verifier(|_| {});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = with(&json!({}));
    let critical = Header {
        crit: Some(vec!["exp".into()]),
        ..Header::default()
    };
    let longer = with(&json!({ "sub": "a".repeat(MAX_BYTES) }));
    let other = |algorithm| encode(&Header::new(algorithm), &claims, &key).unwrap();
    for token in [
        encode(&critical, &claims, &key).unwrap(),
        signed(&longer),
        signed(&json!([1])),
        other(Algorithm::HS384),
        other(Algorithm::HS512),
        String::new(),
        ".".into(),
        "..".into(),
        "a.b.c".into(),
        format!("{}.", signed(&claims)),
        format!(" {}", signed(&claims)),
        signed(&claims).rsplit_once('.').unwrap().0.to_owned() + ".",
    ] {
        assert!(verifier.verify(&token).is_err(), "{token}");
    }
}

#[test]
fn nothing_of_the_key_is_shown() {
    let shown = format!("{:?}", verifier(|_| {}).trusted().keys);
    assert!(
        !shown.contains("0123") && !shown.contains("48, 49"),
        "{shown}"
    );
}

#[test]
fn the_clock_decides_and_not_the_machine() {
    let token = signed(&json!({ "exp": 100 }));
    assert!(verifier_at(50, |_| {}).verify(&token).is_ok());
    assert!(verifier_at(200, |_| {}).verify(&token).is_err());
}
