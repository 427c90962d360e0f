//! Which settings of `[auth]` go together, and that its secret stays one.

use super::*;
use crate::settings::AuthMode;

/// As short as a secret may be.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What tokens can be checked with other than `auth.secret`.
pub(super) const INSTEAD_OF_THE_SECRET: [&str; 3] =
    ["auth.secret_file", "auth.public_key_file", "auth.jwks_file"];

const JWT: (&str, &str) = ("MEGASTATS__AUTH__MODE", "jwt");

fn environment(key: &str, value: &str) -> (String, String) {
    (variable(key), value.to_owned())
}

#[test]
fn jwt_needs_one_kind_of_key_and_no_more() {
    assert_eq!(
        refusal(None, &[JWT]),
        "auth.mode: \"jwt\" needs one of auth.secret, auth.secret_file, auth.public_key_file and \
         auth.jwks_file"
    );
    for key in INSTEAD_OF_THE_SECRET {
        let (name, path) = environment(key, "/etc/megastats/key");
        let settings = load(None, &[JWT, (&name, &path)]).unwrap();
        assert_eq!(settings.auth.mode, AuthMode::Jwt);
        let secret = ("MEGASTATS__AUTH__SECRET", SECRET);
        assert_eq!(
            refusal(None, &[JWT, (&name, &path), secret]),
            format!("auth.secret: it cannot be set together with {key}")
        );
    }
}

#[test]
fn a_key_without_jwt_is_a_door_left_open_by_mistake() {
    for key in INSTEAD_OF_THE_SECRET.into_iter().chain(["auth.secret"]) {
        let (name, value) = environment(key, SECRET);
        assert_eq!(
            refusal(None, &[(&name, &value)]),
            format!("{key}: it has no meaning while auth.mode is \"none\"")
        );
    }
}

#[test]
fn a_short_secret_is_refused_and_not_shown() {
    let short = &SECRET[1..];
    let message = refusal(None, &[JWT, ("MEGASTATS__AUTH__SECRET", short)]);
    assert_eq!(
        message,
        "auth.secret in the environment (MEGASTATS__AUTH__SECRET): given 31 bytes, allowed are at \
         least 32 bytes of UTF-8"
    );
    let message = refusal(Some("[auth]\nsecret = 12345678"), &[JWT]);
    assert!(!message.contains("1234"), "{message}");
}

#[test]
fn a_secret_that_can_be_guessed_or_that_is_public_is_refused() {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
    let unarmoured = |pem: &str| -> String {
        pem.lines()
            .filter(|line| !line.starts_with("-----"))
            .collect()
    };
    let ec = KeyPair::generate().unwrap();
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = CertificateParams::default().self_signed(&ec).unwrap();
    // As PKCS#1 has it: a sequence of the modulus and the exponent.
    let rsa = [
        &b"\x30\x82\x01\x0a\x02\x82\x01\x01\0"[..],
        &[0xa5; 256],
        b"\x02\x03\x01\0\x01",
    ]
    .concat();
    let uniform = "different bytes, allowed are at least 8 different ones";
    let key = "it is a key or a certificate, not a secret";
    for (secret, problem) in [
        ("a".repeat(40), uniform),
        (" ".repeat(32), uniform),
        ("ab".repeat(1000), uniform),
        ("secret".repeat(6), uniform),
        (format!("{:0>40}", 1234), uniform),
        (ec.public_key_pem(), key),
        (unarmoured(&ec.public_key_pem()), key),
        (unarmoured(&ed.public_key_pem()), key),
        (unarmoured(&ed.public_key_pem()).replace('=', ""), key),
        (unarmoured(&ec.serialize_pem()), key),
        (unarmoured(&certificate.pem()), key),
        (
            unarmoured(&certificate.pem())
                .replace('+', "-")
                .replace('/', "_"),
            key,
        ),
        (BASE64_STANDARD.encode(rsa), key),
        (
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg"}"#.into(),
            key,
        ),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE29Rkx/35B5".into(),
            key,
        ),
    ] {
        let message = refusal(None, &[JWT, ("MEGASTATS__AUTH__SECRET", &secret)]);
        assert!(
            message.starts_with("auth.secret in the environment"),
            "{message}"
        );
        assert!(
            message.ends_with(problem) && !message.contains(&secret),
            "{message}"
        );
    }
    // What tools for secrets print: hexadecimal digits, base64, digits alone.
    for secret in [
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "31415926535897932384626433832795",
    ] {
        assert!(
            load(None, &[JWT, ("MEGASTATS__AUTH__SECRET", secret)]).is_ok(),
            "{secret}"
        );
    }
}

#[test]
fn a_secret_is_kept_and_never_shown() {
    let settings = load(None, &[JWT, ("MEGASTATS__AUTH__SECRET", SECRET)]).unwrap();
    assert_eq!(settings.auth.secret.reveal(), SECRET.as_bytes());
    for shown in [settings.to_toml(), format!("{settings:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert!(settings.to_toml().contains("secret = \"***\""));
    // Loaded again, what stands for the secret is none.
    let again = refusal(Some(&settings.to_toml()), &[]);
    assert!(
        again.starts_with("auth.secret in ops.toml: *** stands for a secret"),
        "{again}"
    );
}

#[test]
fn administrators_are_listened_to_on_a_loopback_address_only() {
    for address in [
        "0.0.0.0:9000",
        "[::]:9000",
        "10.0.0.1:9000",
        "localhost:9000",
        "127.0.0.1",
        "9000",
    ] {
        let message = refusal(None, &[("MEGASTATS__AUTH__ADMIN_LISTEN", address)]);
        assert!(message.starts_with("auth.admin_listen in "), "{message}");
        assert!(message.contains("allowed is a loopback address"));
    }
    for address in ["127.0.0.1:9000", "127.0.0.2:0", "[::1]:9000"] {
        assert!(load(None, &[("MEGASTATS__AUTH__ADMIN_LISTEN", address)]).is_ok());
    }
}

#[test]
fn claims_have_names_and_some_have_the_form_of_a_url() {
    for key in ["auth.tenant_claim", "auth.admin_claim", "auth.admin_value"] {
        for (value, fits) in [
            ("", false),
            ("a b", false),
            ("https://clinic.example/tenants", true),
            ("https://ana:hunter2@clinic.example/", false),
        ] {
            let (name, value) = environment(key, value);
            assert_eq!(
                load(None, &[(&name, &value)]).is_ok(),
                fits,
                "{key} {value}"
            );
        }
    }
}
