//! Where an operator's runner learns the passwords of tenants' logins.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

/// A login for tables that tenants share.
#[derive(Clone)]
pub(crate) struct GivenLogin {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

/// A tenant's own login.
#[derive(Clone)]
pub struct TenantLogin {
    pub(crate) username: String,
    password: SecretString,
}

impl TenantLogin {
    /// This login.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: SecretString::from(password.into()) }
    }

    pub(crate) fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

impl fmt::Debug for TenantLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Knows the passwords of tenants' logins: a vault, say. The engine keeps none.
///
/// It is asked when a tenant's data is first used in a process, and again when the database does not accept
/// what it said: so a login may be rotated at any time. See [`Data::credentials`](crate::Data::credentials).
///
/// ```
/// use cloacina_data::{CredentialSource, TenantLogin};
///
/// struct Vault;
///
/// impl CredentialSource for Vault {
///     async fn login(&self, tenant: &str) -> Result<TenantLogin, Box<dyn std::error::Error + Send + Sync>> {
///         // Ask the vault for the secret of this tenant.
///         let password = format!("the secret of {tenant}");
///         Ok(TenantLogin::new(tenant, password))
///     }
/// }
/// ```
pub trait CredentialSource: Send + Sync + 'static {
    /// The login of the tenant that the operator calls so.
    ///
    /// # Errors
    ///
    /// What keeps the source from saying it. It is passed on to whoever wanted the data, so it holds no
    /// secret.
    fn login(
        &self,
        tenant: &str,
    ) -> impl Future<Output = Result<TenantLogin, Box<dyn Error + Send + Sync>>> + Send;
}

/// A source of whatever type.
#[async_trait]
pub(crate) trait AnySource: Send + Sync {
    async fn login_of(&self, tenant: &str) -> Result<TenantLogin, Box<dyn Error + Send + Sync>>;
}

#[async_trait]
impl<S: CredentialSource> AnySource for S {
    async fn login_of(&self, tenant: &str) -> Result<TenantLogin, Box<dyn Error + Send + Sync>> {
        self.login(tenant).await
    }
}
