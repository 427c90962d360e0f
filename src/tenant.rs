//! Who an appointment belongs to. Lives here: the one type every key, fence and statement takes a
//! tenant as. Not here: who may touch which tenant.

use std::sync::Arc;

use thiserror::Error;

/// A clinic's identifier: 1 to 128 characters, not blank, without control characters.
///
/// `AlignWork` allows 3 to 50 characters; every tenant it has stored is accepted here. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The longest tenant accepted, in characters.
    pub const MAX_CHARS: usize = 128;

    /// Checks and wraps `raw`, which is kept as it is.
    pub fn parse(raw: &str) -> Result<Self, InvalidTenant> {
        let valid = !raw.trim().is_empty()
            && raw.chars().count() <= Self::MAX_CHARS
            && !raw.chars().any(char::is_control);
        if valid {
            Ok(Self(raw.into()))
        } else {
            Err(InvalidTenant)
        }
    }

    /// The identifier as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a tenant: the message says what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be 1 to {max} characters, not blank, without control characters", max = TenantId::MAX_CHARS)]
pub struct InvalidTenant;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn length_is_counted_in_characters_not_bytes() {
        assert!(TenantId::parse(&"ã".repeat(TenantId::MAX_CHARS)).is_ok());
        assert!(TenantId::parse(&"a".repeat(TenantId::MAX_CHARS + 1)).is_err());
    }

    #[test]
    fn empty_blank_and_control_characters_are_refused() {
        for raw in ["", " ", "\t", "a\0b", "a\nb", "a\u{7f}", "a\u{85}"] {
            assert_eq!(TenantId::parse(raw), Err(InvalidTenant), "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_kept_as_it_is_or_refused(raw in "[ \\t\\x7fa]{0,3}|\\PC{0,200}") {
            let allowed = (1..=TenantId::MAX_CHARS).contains(&raw.chars().count())
                && raw.chars().any(|char| !char.is_whitespace())
                && raw.chars().all(|char| !char.is_control());
            let kept = TenantId::parse(&raw).ok();
            prop_assert_eq!(kept.as_ref().map(TenantId::as_str), allowed.then_some(&*raw));
        }
    }
}
