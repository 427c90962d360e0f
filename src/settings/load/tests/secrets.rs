//! No message and no view of the settings shows a password, whichever key it was given to.

use super::*;

fn assert_hidden(shown: &str) {
    assert!(
        !shown.contains("hunter2") && !shown.contains("ana:"),
        "{shown}"
    );
}

#[test]
fn credentials_are_never_shown() {
    for secret in [
        "postgres://ana:hunter2@db/clinic?password=hunter2",
        "redis://ana:hunter2@h/clinic",
    ] {
        for key in shown_values(DEFAULTS).keys() {
            let message = refusal(None, &[(&variable(key), secret)]);
            assert!(message.starts_with(key), "{message}");
            let (section, field) = key.rsplit_once('.').unwrap();
            let more = [
                message,
                refusal(Some(&format!("[{section}]\n{field} = \"{secret}\"")), &[]),
                refusal(Some(&format!("[{section}]\n{field} = [\"{secret}\"]")), &[]),
                refusal(Some(&format!("[{section}]\n{field} = \"{secret}")), &[]),
                refusal(Some(&format!("[{section}]\n{field} = {secret}")), &[]),
                refusal(Some(&format!("[{section}.{field}]\nx = \"{secret}\"")), &[]),
                refusal(Some(&format!("{section} = \"{secret}\"")), &[]),
                refusal(Some(&format!("x = \"{secret}\"")), &[]),
            ];
            for message in more {
                assert_hidden(&message);
            }
        }
    }
}

#[test]
fn a_redis_password_is_kept_and_never_shown() {
    let url = "rediss://ana:hunter2@cache.clinic.example:7000/2";
    let settings = load(None, &[("MEGASTATS__CACHE__REDIS__URL", url)]).unwrap();
    let info = settings.cache.redis.url.info.as_ref().unwrap();
    assert_eq!(info.redis_settings().password(), Some("hunter2"));
    for shown in [settings.to_toml(), format!("{settings:?}")] {
        assert_hidden(&shown);
        assert!(
            shown.contains("rediss://***@cache.clinic.example:7000/2"),
            "{shown}"
        );
    }
}

#[test]
fn a_redis_password_is_not_shown_by_what_refuses_other_settings() {
    let message = refusal(
        None,
        &[
            ("MEGASTATS__CACHE__REDIS__URL", "redis://ana:hunter2@h"),
            ("MEGASTATS__CACHE__REDIS__FENCE_SECONDS", "1"),
        ],
    );
    assert_hidden(&message);
}

#[test]
fn what_is_printed_is_taken_again_once_its_secrets_are_given() {
    for (variable, secret) in [
        (
            "MEGASTATS__DATABASE__URL",
            "postgres://ana:hunter2@db/clinic",
        ),
        (
            "MEGASTATS__DATABASE__URL",
            "postgres://ana@db/clinic?password=hunter2&sslmode=require",
        ),
        (
            "MEGASTATS__CACHE__REDIS__URL",
            "redis://ana:hunter2@h:6379/1",
        ),
        ("MEGASTATS__CACHE__REDIS__URL", "rediss://:hunter2@h"),
        (
            "MEGASTATS__CACHE__REDIS__URL",
            "redis+unix:///run/redis.sock?user=ana&pass=hunter2",
        ),
    ] {
        let settings = load(None, &[(variable, secret)]).unwrap();
        let printed = settings.to_toml();
        let again = refusal(Some(&printed), &[]);
        assert!(
            again.contains(".url in ops.toml: *** stands for a secret"),
            "{again}"
        );
        let whole = load(Some(&printed), &[(variable, secret)]).unwrap();
        assert_eq!(whole.to_toml(), printed);
    }
    let without = Settings::default().to_toml();
    assert_eq!(load(Some(&without), &[]).unwrap().to_toml(), without);
}

#[test]
fn a_password_that_only_holds_the_mask_is_a_password() {
    for url in [
        "postgres://ana:***x@db/clinic",
        "postgres://***x@db/clinic?application_name=a***",
    ] {
        assert!(
            load(None, &[("MEGASTATS__DATABASE__URL", url)]).is_ok(),
            "{url}"
        );
    }
}
