//! The commands, a noun each.

pub(crate) mod audit;
pub(crate) mod doctor;
pub(crate) mod executions;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod schedules;
pub(crate) mod serve;
pub(crate) mod tenants;
pub(crate) mod waits;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::remote::{Remote, encode};

/// Which tenant.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct OfTenant {
    /// The tenant; the only one, if there is one
    #[arg(long, short, global = true, env = "CLOACINA_TENANT", value_name = "NAME")]
    tenant: Option<String>,
}

impl OfTenant {
    /// The name of the tenant.
    async fn name(&self, remote: &Remote) -> Result<String> {
        if let Some(tenant) = &self.tenant {
            return Ok(tenant.clone());
        }
        let page = remote.get("/v1/tenants?limit=2").await.context("which tenant? Name it with --tenant")?;
        match page["items"].as_array().map(Vec::as_slice) {
            Some([only]) => Ok(only["name"].as_str().unwrap_or_default().to_owned()),
            Some([]) => bail!("there is no tenant yet: make one with `cloacina tenants create NAME`"),
            _ => bail!(
                "which tenant? Name it with --tenant, or set CLOACINA_TENANT; `cloacina tenants list` tells their names"
            ),
        }
    }

    /// The path under which everything of the tenant is.
    async fn path(&self, remote: &Remote) -> Result<String> {
        Ok(format!("/v1/tenants/{}", encode(&self.name(remote).await?)))
    }
}

/// A JSON value that is given on the command line, or in a file as `@path`, or on standard input as `@-`.
fn json_of(text: &str) -> Result<Value> {
    let text = match text.strip_prefix('@') {
        Some("-") => std::io::read_to_string(std::io::stdin())?,
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).context("that is no JSON")
}

/// The parameters that were given, as a query.
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let said: Vec<String> =
        parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode((*value)?)))).collect();
    if said.is_empty() { String::new() } else { format!("?{}", said.join("&")) }
}
