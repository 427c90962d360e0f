//! Why settings were refused.

use thiserror::Error;

/// A setting, or text for one, that is refused: the message is one line, which says what is wrong and
/// what is allowed, and shows no secret. Where it stops the start it names the key, or the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SettingsError(pub(super) String);
