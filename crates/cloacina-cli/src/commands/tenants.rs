//! `cloacina tenants` and `cloacina runners`.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::OfTenant;
use crate::output::{Output, say, text};
use crate::remote::{Remote, encode};

/// What is done with tenants.
#[derive(Subcommand, Debug)]
pub(crate) enum Tenants {
    /// Lists the tenants
    List {
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Shows where a tenant is and how it does
    Show {
        /// Its name
        name: String,
    },
    /// Makes a tenant
    Create {
        /// Its name
        name: String,
        /// Where it is put: schema, own_role, shared or database; a file in a directory
        #[arg(long)]
        placement: Option<String>,
    },
    /// Says how much a tenant may use; what is left out is not limited
    Limits(Limits),
    /// Lets a tenant work no more until it is activated
    Suspend {
        /// Its name
        name: String,
    },
    /// Lets a suspended tenant work again
    Activate {
        /// Its name
        name: String,
    },
    /// Gives the login of a tenant another name and password; those before work for another hour
    Rotate {
        /// Its name
        name: String,
    },
    /// Removes a tenant with everything that it has
    Remove {
        /// Its name
        name: String,
    },
}

/// How much a tenant may use.
#[derive(Args, Debug)]
pub(crate) struct Limits {
    /// Its name
    name: String,
    /// How many of its tasks run at once in one process
    #[arg(long)]
    max_concurrent_tasks: Option<u32>,
    /// How many of its executions may be under way
    #[arg(long)]
    max_queue_length: Option<u32>,
    /// How many of its executions may wait
    #[arg(long)]
    max_waiting: Option<u32>,
    /// The largest input of an execution, in bytes
    #[arg(long)]
    max_context_bytes: Option<u32>,
    /// How many connections its own login may have open
    #[arg(long)]
    max_connections: Option<u32>,
    /// How long a statement of its own login may take, in milliseconds
    #[arg(long)]
    statement_timeout_ms: Option<u64>,
    /// How long a transaction of its own login may be open, in milliseconds
    #[arg(long)]
    transaction_timeout_ms: Option<u64>,
}

fn path(name: &str) -> String {
    format!("/v1/tenants/{}", encode(name))
}

fn say_login(login: &Value) -> Result<()> {
    say(&format!(
        "its login is {} with the password {}, which is kept nowhere",
        text(&login["user"]),
        text(&login["password"])
    ))
}

impl Tenants {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        match self {
            Self::List { limit } => {
                let items = remote.list("/v1/tenants", limit).await?;
                if output.json(&json!(items))? {
                    return Ok(());
                }
                output.table(
                    ["NAME"],
                    items.iter().map(|tenant| [text(&tenant["name"])]),
                    "there is no tenant",
                )
            }
            Self::Show { name } => {
                let mut tenant = remote.get(&path(&name)).await?;
                let metrics = remote.get(&format!("{}/metrics", path(&name))).await?;
                if output.json {
                    tenant["metrics"] = metrics;
                    output.json(&tenant)?;
                    return Ok(());
                }
                say(&format!("{}  {}", text(&tenant["name"]), text(&tenant["placement"])))?;
                for (what, field) in [
                    ("executions under way", "active_executions"),
                    ("executions that wait", "waiting_executions"),
                    ("executions kept", "total_executions"),
                    ("tasks that are due", "queue_depth"),
                ] {
                    say(&format!("{what}: {}", metrics[field]))?;
                }
                let millis = |field: &str| metrics[field].as_f64().unwrap_or_default();
                say(&format!(
                    "executions took {} ms (half of them no longer), {} ms (95 of 100), {} ms (99 of 100)",
                    millis("p50_execution_ms"),
                    millis("p95_execution_ms"),
                    millis("p99_execution_ms")
                ))
            }
            Self::Create { name, placement } => {
                let made =
                    remote.post("/v1/tenants", Some(json!({"name": name, "placement": placement}))).await?;
                if output.json(&made)? {
                    return Ok(());
                }
                say(&format!("{} is in {}", text(&made["name"]), text(&made["place"])))?;
                match &made["credentials"] {
                    Value::Null => Ok(()),
                    login => say_login(login),
                }
            }
            Self::Limits(limits) => {
                let body = json!({
                    "max_concurrent_tasks": limits.max_concurrent_tasks,
                    "max_queue_length": limits.max_queue_length,
                    "max_waiting": limits.max_waiting,
                    "max_context_bytes": limits.max_context_bytes,
                    "max_connections": limits.max_connections,
                    "statement_timeout_ms": limits.statement_timeout_ms,
                    "transaction_timeout_ms": limits.transaction_timeout_ms,
                });
                remote.call("PUT", &format!("{}/limits", path(&limits.name)), Some(body)).await.map(drop)
            }
            Self::Suspend { name } => {
                output.confirm(&format!("Suspend the tenant `{name}`? What runs in it is stopped."))?;
                remote.post(&format!("{}/suspend", path(&name)), None).await.map(drop)
            }
            Self::Activate { name } => {
                remote.post(&format!("{}/activate", path(&name)), None).await.map(drop)
            }
            Self::Rotate { name } => {
                let login = remote.post(&format!("{}/rotate", path(&name)), None).await?;
                if output.json(&login)? {
                    return Ok(());
                }
                say_login(&login)
            }
            Self::Remove { name } => {
                output.confirm(&format!(
                    "Remove the tenant `{name}` with everything that it has? This cannot be undone."
                ))?;
                remote
                    .call("DELETE", &format!("{}?confirm={}", path(&name), encode(&name)), None)
                    .await
                    .map(drop)
            }
        }
    }
}

/// What is done with runners.
#[derive(Subcommand, Debug)]
pub(crate) enum Runners {
    /// Lists the processes that work on the database of a tenant
    List {
        #[command(flatten)]
        of: OfTenant,
    },
}

impl Runners {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        let Self::List { of } = self;
        let page = remote.get(&format!("{}/runners", of.path(remote).await?)).await?;
        if output.json(&page["items"])? {
            return Ok(());
        }
        let rows = page["items"].as_array().into_iter().flatten().map(|runner| {
            let workflows = runner["workflows"].as_array().into_iter().flatten();
            let workflows: Vec<String> = workflows.map(|workflow| text(&workflow["name"])).collect();
            let state = if runner["is_live"] == true { "live" } else { "declared dead" };
            [
                text(&runner["id"]),
                state.to_owned(),
                text(&runner["host"]),
                text(&runner["pid"]),
                workflows.join(", "),
            ]
        });
        output.table(["ID", "STATE", "HOST", "PID", "WORKFLOWS"], rows, "no process works on this database")
    }
}
