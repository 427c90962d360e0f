//! Who an appointment belongs to: the one type that every key, fence and statement takes a tenant as.
//! Who may touch which tenant is in `auth`.

use std::sync::Arc;

use thiserror::Error;

use crate::identifier;

/// A clinic's identifier: see [`identifier::RULE`]. It has at most [`TenantId::MAX_CHARS`]
/// characters.
///
/// `AlignWork` allows 3 to 50 characters; every tenant it has stored is accepted here. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The longest tenant accepted, in characters.
    pub const MAX_CHARS: usize = 128;

    /// Checks and wraps `raw`, without the white space at its ends.
    pub fn parse(raw: &str) -> Result<Self, InvalidTenant> {
        let id = identifier::parse(raw, Self::MAX_CHARS).ok_or(InvalidTenant)?;
        Ok(Self(id.into()))
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a tenant's identifier: the message says what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be 1 to {max} {}", identifier::RULE, max = TenantId::MAX_CHARS)]
pub struct InvalidTenant;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_tenant_is_accepted_and_no_longer_one() {
        assert!(TenantId::parse(&"ã".repeat(TenantId::MAX_CHARS)).is_ok());
        assert!(TenantId::parse(&"a".repeat(TenantId::MAX_CHARS + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_kept_but_for_white_space_at_its_ends_or_refused(raw in "[ \\t\\x7fa]{0,3}|\\PC{0,200}") {
            let allowed = (1..=TenantId::MAX_CHARS).contains(&raw.trim().chars().count())
                && raw.chars().all(|char| !char.is_control());
            let kept = TenantId::parse(&raw).ok();
            prop_assert_eq!(kept.as_ref().map(TenantId::as_str), allowed.then(|| raw.trim()));
        }
    }
}
