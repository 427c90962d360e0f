//! Parts of URLs that several settings check in the same way.

use rustls::pki_types::ServerName;

/// Whether `text` is a host name or an IP address.
pub(super) fn is_host(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// How a message names a parameter of a URL: by its name, unless that may be a piece of a password
/// whose `?` or `&` was not percent-encoded.
pub(super) fn parameter(name: &str) -> String {
    let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if is_name && (1..=32).contains(&name.len()) {
        format!("the parameter \"{name}\"")
    } else {
        "a parameter".into()
    }
}
