//! The key that an entry is kept under: how it is written, and what is escaped in it.

use std::{
    fmt,
    fmt::Write as _,
    hash::{Hash, Hasher},
    sync::Arc,
};

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};

use crate::tenant::TenantId;

/// What could end a segment (`:`), stand for another tenant's Redis hash tag (`{`, `}`) or look
/// like an escape (`%`). Everything that is not ASCII is escaped, too.
const BREAKS_OUT: &AsciiSet = &CONTROLS.add(b':').add(b'{').add(b'}').add(b'%').add(b' ');

/// The key of one entry: `kind:tenant:segment:…`, for example
/// `mega_stats:default-tenant:America/Recife:2025-10-31`. Cheap to clone.
///
/// The kind and the segments are the service's own words; the tenant is the client's, and escaped,
/// so that no two tenants share a key.
#[derive(Debug, Clone)]
pub struct StatsKey {
    text: Arc<str>,
    tenant: TenantId,
}

impl StatsKey {
    /// Writes the key of `kind` for `tenant` and the further `segments`.
    pub fn new(kind: &'static str, tenant: &TenantId, segments: &[&dyn fmt::Display]) -> Self {
        let mut text = String::with_capacity(64);
        text.push_str(kind);
        text.push(':');
        text.extend(escaped(tenant));
        for segment in segments {
            write!(text, ":{segment}").expect("a String takes whatever is written to it");
        }
        Self {
            text: text.into(),
            tenant: tenant.clone(),
        }
    }

    /// The key that was written as `text` for `tenant`.
    pub(super) fn from_parts(text: &str, tenant: &TenantId) -> Self {
        Self {
            text: text.into(),
            tenant: tenant.clone(),
        }
    }

    /// The key as it is stored and shown.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose entry it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// `tenant`, without what would break out of its segment.
pub(super) fn escaped(tenant: &TenantId) -> PercentEncode<'_> {
    utf8_percent_encode(tenant.as_str(), BREAKS_OUT)
}

// The text alone decides: it holds the tenant.
impl PartialEq for StatsKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for StatsKey {}

impl Hash for StatsKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn key(tenant: &str) -> StatsKey {
        let tenant = TenantId::parse(tenant).unwrap();
        StatsKey::new("mega_stats", &tenant, &[&"America/Recife", &"2025-10-31"])
    }

    #[test]
    fn an_ordinary_tenant_looks_as_in_the_seed() {
        assert_eq!(
            key("default-tenant").as_str(),
            "mega_stats:default-tenant:America/Recife:2025-10-31"
        );
    }

    #[test]
    fn a_tenant_cannot_break_out_of_its_segment() {
        assert_eq!(
            key("a:b{c}%3A").as_str(),
            "mega_stats:a%3Ab%7Bc%7D%253A:America/Recife:2025-10-31"
        );
    }

    proptest! {
        #[test]
        fn no_two_tenants_share_a_key(a in "[a:%{}3A é]{1,6}", b in "[a:%{}3A é]{1,6}") {
            prop_assume!(a.trim() != b.trim() && !a.trim().is_empty() && !b.trim().is_empty());
            prop_assert_ne!(key(&a), key(&b));
        }

        #[test]
        fn a_tenant_can_be_told_from_its_key(tenant in "[a:%{}3A é]{1,6}|\\PC{1,40}") {
            prop_assume!(TenantId::parse(&tenant).is_ok());
            let key = key(&tenant);
            let segment = key.as_str().split(':').nth(1).unwrap();
            prop_assert_eq!(percent_decode_str(segment).decode_utf8().unwrap(), tenant.trim());
            prop_assert!(segment.bytes().all(|byte| byte.is_ascii_graphic()));
        }

        #[test]
        fn a_tenant_is_one_segment(tenant in "\\PC{1,40}") {
            prop_assume!(TenantId::parse(&tenant).is_ok());
            let key = key(&tenant);
            prop_assert_eq!(key.as_str().split(':').count(), 4);
            let broken_out = key.as_str().contains(['{', '}']);
            prop_assert!(!broken_out);
        }
    }
}
