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
