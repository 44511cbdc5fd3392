//! `cloacina keys`.

use anyhow::Result;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use crate::output::{Output, now, say, text, when};
use crate::remote::{Remote, encode};

/// What is done with keys.
#[derive(Subcommand, Debug)]
pub(crate) enum KeysCommand {
    /// Lists the keys
    List {
        /// Those of a tenant; all of them without it
        #[arg(long, short)]
        tenant: Option<String>,
    },
    /// Makes a key, and prints its secret, which is kept nowhere
    Create {
        /// By which people know it
        name: String,
        /// For a tenant; for all of them without it
        #[arg(long, short)]
        tenant: Option<String>,
        /// viewer, operator, developer, tenant_admin or admin; each may do what those before it may
        #[arg(long)]
        role: String,
        /// It may see payloads: inputs, contexts, outputs, signals, questions, the text of errors
        #[arg(long)]
        payloads: bool,
        /// Until when it is good; for ever if nothing is said
        #[arg(long, value_name = "TIME")]
        expires_at: Option<Timestamp>,
    },
    /// Ends a key, with its sessions
    End {
        /// Its id
        id: String,
        /// It is a key of this tenant
        #[arg(long, short)]
        tenant: Option<String>,
    },
}

fn path(tenant: Option<&str>) -> String {
    tenant.map_or_else(|| "/v1/keys".to_owned(), |tenant| format!("/v1/tenants/{}/keys", encode(tenant)))
}

impl KeysCommand {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        match self {
            Self::List { tenant } => {
                let items = remote.list(&path(tenant.as_deref()), 10_000).await?;
                if output.json(&json!(items))? {
                    return Ok(());
                }
                let now = now();
                let rows = items.iter().map(|key| {
                    let payloads = if key["payloads"] == true { "with payloads" } else { "" };
                    [
                        text(&key["id"]),
                        text(&key["name"]),
                        key["tenant"].as_str().map_or_else(|| "all tenants".to_owned(), str::to_owned),
                        text(&key["role"]),
                        payloads.to_owned(),
                        when(&key["expires_at"], now),
                        when(&key["last_used_at"], now),
                    ]
                });
                output.table(["ID", "NAME", "TENANT", "ROLE", "", "EXPIRES", "USED"], rows, "there is no key")
            }
            Self::Create { name, tenant, role, payloads, expires_at } => {
                let body =
                    json!({"name": name, "role": role, "payloads": payloads, "expires_at": expires_at});
                let made = remote.post(&path(tenant.as_deref()), Some(body)).await?;
                if output.json(&made)? {
                    return Ok(());
                }
                say(&text(&made["secret"]))?;
                eprintln!(
                    "This is the secret of key {}. It is kept nowhere: store it now.",
                    text(&made["id"])
                );
                Ok(())
            }
            Self::End { id, tenant } => {
                let path = format!("{}/{}", path(tenant.as_deref()), encode(&id));
                output.confirm(&format!("End the key {id}? Whoever uses it is let in no more."))?;
                remote.call("DELETE", &path, None).await.map(drop)
            }
        }
    }
}
