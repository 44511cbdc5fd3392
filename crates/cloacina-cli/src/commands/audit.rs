//! `cloacina audit`.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::failure::Refused;
use crate::output::{Output, say, text};
use crate::remote::{Remote, encode};

/// What is done with the audit.
#[derive(Subcommand, Debug)]
pub(crate) enum Audit {
    /// Lists what was done by name, the newest first
    List {
        /// In a tenant; in all of them without it
        #[arg(long, short)]
        tenant: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Says whether it is as it was written; the exit code is 1 if it is not
    Verify {
        /// In a tenant; in all of them without it
        #[arg(long, short)]
        tenant: Option<String>,
    },
}

fn path(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "/v1/audit".to_owned(), |tenant| format!("/v1/tenants/{}/audit", encode(tenant)))
}

impl Audit {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        match self {
            Self::List { tenant, limit } => {
                let items = remote.list(&path(tenant.as_deref()), limit).await?;
                if output.json(&json!(items))? {
                    return Ok(());
                }
                let rows = items.iter().map(|row| {
                    ["at", "actor", "role", "action", "tenant", "object", "reason"]
                        .map(|field| text(&row[field]))
                });
                output.table(
                    ["AT", "WHO", "ROLE", "DID", "TENANT", "TO", "WHY"],
                    rows,
                    "nothing was done by name",
                )
            }
            Self::Verify { tenant } => {
                let verdict = remote.get(&format!("{}/verify", path(tenant.as_deref()))).await?;
                if !output.json(&verdict)? {
                    say(&format!(
                        "{} rows are as they were written; the last seal is {}",
                        verdict["rows"],
                        text(&verdict["head"])
                    ))?;
                }
                match verdict["broken_at"].as_i64() {
                    None => Ok(()),
                    Some(row) => {
                        let detail = format!(
                            "the audit was changed at row {row}: a row was altered, slipped in, or is missing"
                        );
                        Err(Refused::failed(detail).into())
                    }
                }
            }
        }
    }
}
