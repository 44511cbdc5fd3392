//! Who somebody is, and what that allows.

/// What somebody may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees executions, waits, schedules and figures.
    Viewer,
    /// Cancels, pauses, resumes and reruns; sends signals, wakes waits, triggers schedules.
    Operator,
    /// Submits executions; makes, changes and deletes schedules.
    Developer,
    /// Makes and ends the tenant's keys, and reads its audit.
    TenantAdmin,
    /// Makes, limits, suspends and removes tenants.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 5] =
        [Self::Viewer, Self::Operator, Self::Developer, Self::TenantAdmin, Self::Admin];

    /// Its name, as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::TenantAdmin => "tenant_admin",
            Self::Admin => "admin",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A role, in one tenant or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    /// `None` for all of them, and for what belongs to none.
    tenant: Option<String>,
    role: Role,
    payloads: bool,
}

/// Somebody who sends requests: a person, a service, a key.
///
/// ```
/// use cloacina_web::{Principal, Role};
///
/// // Sees what is in `acme`, and may steer it; sees no payload.
/// let ines = Principal::new("ines").of("acme", Role::Operator);
/// // Does everything everywhere.
/// let root = Principal::new("root").of_all(Role::Admin).with_payloads();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: String,
    grants: Vec<Grant>,
}

impl Principal {
    /// Somebody of this name, which the audit keeps, who may do nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), grants: Vec::new() }
    }

    /// With this role in a tenant.
    #[must_use]
    pub fn of(mut self, tenant: impl Into<String>, role: Role) -> Self {
        self.grants.push(Grant { tenant: Some(tenant.into()), role, payloads: false });
        self
    }

    /// With this role in all tenants, and for what belongs to none of them.
    #[must_use]
    pub fn of_all(mut self, role: Role) -> Self {
        self.grants.push(Grant { tenant: None, role, payloads: false });
        self
    }

    /// With the right to see payloads (inputs, contexts, outputs, signals, questions and the text of errors)
    /// wherever the roles given so far reach.
    #[must_use]
    pub fn with_payloads(mut self) -> Self {
        for grant in &mut self.grants {
            grant.payloads = true;
        }
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tenants that it may see by name; `None` if it may see all.
    #[must_use]
    pub fn tenants(&self) -> Option<Vec<&str>> {
        let named: Vec<&str> = self.grants.iter().filter_map(|grant| grant.tenant.as_deref()).collect();
        (named.len() == self.grants.len()).then_some(named)
    }

    /// Its highest role in a tenant, or beyond tenants for `None`.
    #[must_use]
    pub fn role(&self, tenant: Option<&str>) -> Option<Role> {
        self.reaching(tenant).map(|grant| grant.role).max()
    }

    /// Whether it may see the payloads of a tenant, or those of all for `None`.
    #[must_use]
    pub fn sees_payloads(&self, tenant: Option<&str>) -> bool {
        self.reaching(tenant).any(|grant| grant.payloads)
    }

    fn reaching(&self, tenant: Option<&str>) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(move |grant| grant.tenant.is_none() || grant.tenant.as_deref() == tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::{Principal, Role};

    #[test]
    fn a_role_in_one_tenant_reaches_no_other_and_nothing_beyond() {
        let ines = Principal::new("ines").of("acme", Role::Operator).with_payloads();
        assert_eq!(ines.role(Some("acme")), Some(Role::Operator));
        assert_eq!(ines.role(Some("Acme")), None);
        assert_eq!(ines.role(Some("globex")), None);
        assert_eq!(ines.role(None), None);
        assert!(ines.sees_payloads(Some("acme")));
        assert!(!ines.sees_payloads(Some("globex")));
        assert!(!ines.sees_payloads(None));
        assert_eq!(ines.tenants(), Some(vec!["acme"]));
    }

    #[test]
    fn the_highest_role_counts_and_payloads_are_a_right_of_their_own() {
        let both = Principal::new("both").of_all(Role::Viewer).with_payloads().of("acme", Role::Admin);
        assert_eq!(both.role(Some("acme")), Some(Role::Admin));
        assert_eq!(both.role(Some("globex")), Some(Role::Viewer));
        assert_eq!(both.tenants(), None);
        let admin = Principal::new("admin").of_all(Role::Admin);
        assert!(!admin.sees_payloads(Some("acme")));
        assert_eq!(Principal::new("nobody").role(Some("acme")), None);
    }

    #[test]
    fn roles_are_found_by_their_names() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("Admin"), None);
    }
}
