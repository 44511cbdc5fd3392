//! `cloacina waits` and `cloacina signals`.

use anyhow::Result;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{OfTenant, json_of};
use crate::output::{Output, now, say, text, when};
use crate::remote::{Remote, encode};

/// What is done with waits.
#[derive(Subcommand, Debug)]
pub(crate) enum Waits {
    /// Lists what executions wait for
    List {
        #[command(flatten)]
        of: OfTenant,
        /// Only what is asked of people: the inbox
        #[arg(long)]
        asking: bool,
        /// Of all tenants
        #[arg(long, conflicts_with = "tenant")]
        all_tenants: bool,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Ends the time of an open wait now
    Wake {
        #[command(flatten)]
        of: OfTenant,
        /// The id of the execution
        execution: String,
        /// The id of the wait
        wait: String,
    },
    /// Says anew when the time of an open wait is over
    Until {
        #[command(flatten)]
        of: OfTenant,
        /// The id of the execution
        execution: String,
        /// The id of the wait
        wait: String,
        /// The time, as 2026-11-29T14:00:00Z
        until: Timestamp,
    },
}

impl Waits {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        match self {
            Self::List { of, asking, all_tenants, limit } => {
                let path = if all_tenants { "/v1".to_owned() } else { of.path(remote).await? };
                let items = remote.list(&format!("{path}/waits?asking={asking}"), limit).await?;
                if output.json(&json!(items))? {
                    return Ok(());
                }
                let now = now();
                let row = |wait: &Value| {
                    [
                        text(&wait["execution"]),
                        text(&wait["workflow"]),
                        text(&wait["wait"]),
                        what(wait),
                        when(&wait["since"], now),
                        when(&wait["until"], now),
                    ]
                };
                let none = "nothing waits";
                if all_tenants {
                    let rows = items.iter().map(|wait| {
                        let [execution, workflow, id, what, since, until] = row(wait);
                        [text(&wait["tenant"]), execution, workflow, id, what, since, until]
                    });
                    let head = ["TENANT", "EXECUTION", "WORKFLOW", "WAIT", "FOR", "SINCE", "UNTIL"];
                    return output.table(head, rows, none);
                }
                output.table(
                    ["EXECUTION", "WORKFLOW", "WAIT", "FOR", "SINCE", "UNTIL"],
                    items.iter().map(row),
                    none,
                )
            }
            Self::Wake { of, execution, wait } => {
                let path = of.path(remote).await?;
                let path = format!("{path}/executions/{}/waits/{}/wake", encode(&execution), encode(&wait));
                remote.post(&path, None).await.map(drop)
            }
            Self::Until { of, execution, wait, until } => {
                let path = of.path(remote).await?;
                let path = format!("{path}/executions/{}/waits/{}/until", encode(&execution), encode(&wait));
                remote.call("PUT", &path, Some(json!({"until": until}))).await.map(drop)
            }
        }
    }
}

fn what(wait: &Value) -> String {
    match (&wait["ask"], wait["signal"].as_str()) {
        (Value::Object(ask), _) => ask.get("question").map_or_else(|| "an answer".to_owned(), text),
        (_, Some(_)) => format!("signal {}", text(&wait["signal"])),
        _ => "time".to_owned(),
    }
}

/// What is done with signals.
#[derive(Subcommand, Debug)]
pub(crate) enum Signals {
    /// Sends a signal to an execution
    Send {
        #[command(flatten)]
        of: OfTenant,
        /// The id of the execution
        execution: String,
        /// The name of the signal
        name: String,
        /// What it brings, as JSON: as it is, or in a file as @path, or on standard input as @-
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
        /// What makes it one that is recorded once
        #[arg(long)]
        key: Option<String>,
    },
}

impl Signals {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        let Self::Send { of, execution, name, payload, key } = self;
        let path = format!("{}/executions/{}/signals", of.path(remote).await?, encode(&execution));
        let mut body = json!({"name": name});
        if let Some(payload) = payload {
            body["payload"] = json_of(&payload)?;
        }
        if let Some(key) = key {
            body["key"] = json!(key);
        }
        let receipt = remote.post(&path, Some(body)).await?;
        if output.json(&receipt)? {
            return Ok(());
        }
        say(&match (receipt["outcome"].as_str(), receipt["superseded_by"].as_str()) {
            (Some("already_over"), Some(other)) => {
                format!("the execution is over, and the signal was not recorded; {other} took its place")
            }
            (Some("already_over"), None) => {
                "the execution is over, and the signal was not recorded".to_owned()
            }
            (Some("repeated"), _) => "a signal of this key is there already".to_owned(),
            (Some("buffered"), _) => "no wait for it is open: the first that is reached takes it".to_owned(),
            _ => "delivered".to_owned(),
        })
    }
}
