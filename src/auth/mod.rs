//! Who sends a request, and which tenants they may touch. Tokens are issued elsewhere.
//!
//! | file | what lives there |
//! |---|---|
//! | [`token`] | checking a token, and which caller its claims make |
//! | [`keys`] | the keys that tokens are checked with |
//! | `rotation` | reading the file of the keys again when it changes |
//! | [`http`] | finding the token of a request; routes for administrators |

pub mod http;
pub mod keys;
mod rotation;
pub mod token;

use std::sync::Arc;

use crate::{error::ApiError, tenant::TenantId};

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    scope: Scope,
    admin: bool,
}

/// Whose appointments a caller may touch. Statements filter by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Those of all tenants, where no token is asked for.
    All,
    /// Those of these tenants.
    Tenants(Arc<[TenantId]>),
}

impl Caller {
    /// The caller of a service that asks for no token.
    pub fn anyone() -> Self {
        Self {
            scope: Scope::All,
            admin: true,
        }
    }

    /// A caller who may touch these tenants, and with `admin` also use what is not about one tenant.
    pub fn of(tenants: Vec<TenantId>, admin: bool) -> Self {
        Self {
            scope: Scope::Tenants(tenants.into()),
            admin,
        }
    }

    /// The same caller as an administrator.
    #[must_use]
    pub fn administrator(self) -> Self {
        Self {
            admin: true,
            ..self
        }
    }

    /// Whose appointments the caller may touch.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The tenant whose appointments the caller may touch, if it is one.
    pub fn tenant(&self) -> Option<&TenantId> {
        match &self.scope {
            Scope::Tenants(tenants) if tenants.len() == 1 => tenants.first(),
            Scope::All | Scope::Tenants(_) => None,
        }
    }

    /// 403 unless the caller may touch `tenant`.
    pub fn may_touch(&self, tenant: &TenantId) -> Result<(), ApiError> {
        match &self.scope {
            Scope::Tenants(tenants) if !tenants.contains(tenant) => Err(ApiError::forbidden(
                "You may not use this tenantId with your access token.",
            )),
            Scope::All | Scope::Tenants(_) => Ok(()),
        }
    }

    /// 403 unless the caller is an administrator.
    pub fn may_administer(&self) -> Result<(), ApiError> {
        if self.admin {
            Ok(())
        } else {
            Err(ApiError::forbidden("This is for administrators."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_caller_touches_the_tenants_they_were_given_and_no_other() {
        let caller = Caller::of(vec![tenant("a"), tenant("b")], false);
        for own in ["a", "b"] {
            assert!(caller.may_touch(&tenant(own)).is_ok());
        }
        for foreign in ["c", "A", "a a", "ab"] {
            assert!(caller.may_touch(&tenant(foreign)).is_err(), "{foreign}");
        }
        assert!(Caller::anyone().may_touch(&tenant("c")).is_ok());
    }

    #[test]
    fn only_a_caller_with_one_tenant_stands_for_one() {
        let one = Caller::of(vec![tenant("a")], false);
        assert_eq!(one.tenant(), Some(&tenant("a")));
        let several = Caller::of(vec![tenant("a"), tenant("b")], false);
        for caller in [several, Caller::of(Vec::new(), true), Caller::anyone()] {
            assert_eq!(caller.tenant(), None);
        }
    }

    #[test]
    fn an_administrator_is_entitled_to_no_tenant() {
        let admin = Caller::of(Vec::new(), true);
        assert!(admin.may_administer().is_ok());
        assert!(admin.may_touch(&tenant("a")).is_err());
        assert!(
            Caller::of(vec![tenant("a")], false)
                .may_administer()
                .is_err()
        );
    }
}
