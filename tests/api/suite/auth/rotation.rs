//! Keys that change while the service runs, and sets with keys of other kinds: with the program itself.

use std::fs;

use harness::{Folder, PREFIX, Process, Reply};
use serde_json::{Value, json};

use super::{OURS, tokens::Issuer};

/// The status with which a token of `issuer` is answered.
async fn status(process: &Process, issuer: &Issuer) -> u16 {
    let url = format!("{}{PREFIX}/mega-stats?tenantId={OURS}", process.url());
    // Valid by the machine's clock.
    let token = issuer.sign(&json!({ "exp": u32::MAX, "aud": null, "iss": null }));
    let asked = reqwest::Client::new().get(url).bearer_auth(token);
    Reply::to(asked).await.status.as_u16()
}

#[tokio::test]
async fn keys_are_replaced_while_the_service_runs_unless_the_new_file_is_bad() {
    let folder = Folder::new();
    let file = folder.path().join("keys.json");
    let old = Issuer::with_set();
    let new = Issuer::with_set().without_kid();
    let mut set: Value = serde_json::from_str(old.public()).unwrap();
    let keys = set["keys"].as_array_mut().unwrap();
    keys.push(json!({ "kty": "RSA", "kid": "pss", "alg": "PS256", "n": "AQ", "e": "AQAB" }));
    keys.push(json!({ "kty": "RSA", "kid": "other", "use": "enc", "n": "AQ", "e": "AQAB" }));
    fs::write(&file, set.to_string()).unwrap();
    let process = Process::start(
        folder.path(),
        &[
            ("MEGASTATS__AUTH__MODE", "jwt"),
            ("MEGASTATS__AUTH__JWKS_FILE", "keys.json"),
        ],
    );
    assert_eq!(status(&process, &old).await, 200);
    assert_eq!(status(&process, &new).await, 401);

    fs::write(&file, "[]").unwrap();
    process.has_logged("keys.json: not a JWK Set");
    assert_eq!(status(&process, &old).await, 200);
    fs::remove_file(&file).unwrap();
    process.has_logged("cannot read keys.json");
    assert_eq!(status(&process, &old).await, 200);

    fs::write(&file, new.public()).unwrap();
    process.has_logged("keys.json has changed. Keys in use from now on: 2.");
    assert_eq!(status(&process, &new).await, 200);
    // Its token was checked before, and remembered.
    assert_eq!(status(&process, &old).await, 401);

    process.signal("TERM");
    let (_, log) = process.wait();
    let count = |text: &str| log.matches(text).count();
    let ignored = "auth.jwks_file: keys.json: key 3 (kid \"pss\"): its \"alg\" is not supported";
    assert_eq!(count(ignored), 1, "{log}");
    assert_eq!(count("not a JWK Set"), 1, "{log}");
    assert_eq!(count("The keys from before stay in use"), 2, "{log}");
    assert_eq!(count("other"), 0, "{log}");
}
