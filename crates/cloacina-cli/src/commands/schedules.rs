//! `cloacina schedules`.

use anyhow::Result;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{OfTenant, json_of};
use crate::output::{Output, now, say, text, when};
use crate::remote::{Remote, encode};

/// What is done with schedules.
#[derive(Subcommand, Debug)]
pub(crate) enum Schedules {
    /// Lists the schedules
    List {
        #[command(flatten)]
        of: OfTenant,
    },
    /// Shows a schedule with its next times and what came of the last ones
    Show {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
    },
    /// Makes a schedule, or replaces the one of its name
    Put {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
        /// The workflow that it runs
        #[arg(long)]
        workflow: String,
        /// When, as a cron expression; may be given several times
        #[arg(long, value_name = "EXPRESSION")]
        cron: Vec<String>,
        /// How often, as 15m; may be given several times
        #[arg(long, value_name = "DURATION")]
        every: Vec<String>,
        /// When not, as a cron expression
        #[arg(long, value_name = "EXPRESSION")]
        except: Vec<String>,
        /// The zone whose clocks are meant, as Europe/Zurich; UTC if nothing is said
        #[arg(long)]
        zone: Option<String>,
        /// The input of its executions, as JSON
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// Only says when it would fire
        #[arg(long)]
        dry_run: bool,
    },
    /// Keeps a schedule from firing until it is resumed
    Pause {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
    },
    /// Lets a paused schedule fire again
    Resume {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
        /// Catches up with the times that passed meanwhile, by the schedule's rule
        #[arg(long)]
        catch_up: bool,
    },
    /// Starts an execution now, as the schedule would
    Trigger {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
    },
    /// Starts executions for times that have passed
    Backfill {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
        /// From this time on
        from: Timestamp,
        /// Before this time
        to: Timestamp,
        /// How many run at once
        #[arg(long, default_value_t = 1)]
        running: u32,
        /// Only says for which times there would be executions
        #[arg(long)]
        dry_run: bool,
    },
    /// Deletes a schedule with its log
    Delete {
        #[command(flatten)]
        of: OfTenant,
        /// Its name
        name: String,
    },
}

impl Schedules {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        match self {
            Self::List { of } => {
                let page = remote.get(&format!("{}/schedules", of.path(remote).await?)).await?;
                if output.json(&page["items"])? {
                    return Ok(());
                }
                let now = now();
                let rows = page["items"].as_array().into_iter().flatten().map(|schedule| {
                    [
                        text(&schedule["name"]),
                        text(&schedule["workflow"]),
                        text(&schedule["state"]),
                        times_of(schedule),
                        when(&schedule["next"], now),
                        when(&schedule["last"], now),
                    ]
                });
                output.table(
                    ["NAME", "WORKFLOW", "STATE", "WHEN", "NEXT", "LAST"],
                    rows,
                    "there is no schedule",
                )
            }
            Self::Show { of, name } => {
                let path = path(&of, remote, &name).await?;
                let mut schedule = remote.get(&path).await?;
                let next = remote.get(&format!("{path}/next?limit=5")).await?;
                let fires = remote.list(&format!("{path}/fires"), 10).await?;
                if output.json {
                    schedule["next_times"] = next["times"].clone();
                    schedule["fires"] = json!(fires);
                    output.json(&schedule)?;
                    return Ok(());
                }
                let now = now();
                say(&format!(
                    "{}  {}  {}",
                    text(&schedule["name"]),
                    text(&schedule["workflow"]),
                    text(&schedule["state"])
                ))?;
                if !schedule["reason"].is_null() {
                    say(&format!("because {}", text(&schedule["reason"])))?;
                }
                say(&times_of(&schedule))?;
                say("")?;
                for time in next["times"].as_array().into_iter().flatten() {
                    say(&format!("next  {}  {}", text(time), when(time, now)))?;
                }
                say("")?;
                let rows = fires.iter().map(|fire| {
                    [
                        text(&fire["nominal"]),
                        text(&fire["outcome"]),
                        text(&fire["execution"]),
                        text(&fire["status"]),
                    ]
                });
                output.table(["TIME", "OUTCOME", "EXECUTION", "STATE"], rows, "it has not fired yet")
            }
            Self::Put { of, name, workflow, cron, every, except, zone, input, dry_run } => {
                let mut body = json!({"workflow": workflow, "cron": cron, "every": every, "except": except});
                if let Some(zone) = zone {
                    body["zone"] = json!(zone);
                }
                if let Some(input) = input {
                    body["input"] = json_of(&input)?;
                }
                if dry_run {
                    let preview = format!("{}/schedule-preview", of.path(remote).await?);
                    return times(output, &remote.post(&preview, Some(body)).await?);
                }
                remote.call("PUT", &path(&of, remote, &name).await?, Some(body)).await.map(drop)
            }
            Self::Pause { of, name } => {
                let path = path(&of, remote, &name).await?;
                remote
                    .post(&format!("{path}/pause"), Some(json!({"reason": remote.reason()})))
                    .await
                    .map(drop)
            }
            Self::Resume { of, name, catch_up } => {
                let path = path(&of, remote, &name).await?;
                remote.post(&format!("{path}/resume"), Some(json!({"catch_up": catch_up}))).await.map(drop)
            }
            Self::Trigger { of, name } => {
                let path = path(&of, remote, &name).await?;
                let triggered = remote.post(&format!("{path}/trigger"), None).await?;
                if output.json(&triggered)? {
                    return Ok(());
                }
                say(&match triggered["execution"].as_str() {
                    Some(execution) => execution.to_owned(),
                    None => text(&triggered["outcome"]),
                })
            }
            Self::Backfill { of, name, from, to, running, dry_run } => {
                let path = path(&of, remote, &name).await?;
                let body = json!({"from": from, "to": to, "running": running, "dry_run": dry_run});
                times(output, &remote.post(&format!("{path}/backfill"), Some(body)).await?)
            }
            Self::Delete { of, name } => {
                let path = path(&of, remote, &name).await?;
                output.confirm(&format!("Delete the schedule `{name}` with its log?"))?;
                remote.call("DELETE", &path, None).await.map(drop)
            }
        }
    }
}

async fn path(of: &OfTenant, remote: &Remote, name: &str) -> Result<String> {
    Ok(format!("{}/schedules/{}", of.path(remote).await?, encode(name)))
}

fn times(output: Output, value: &Value) -> Result<()> {
    if output.json(value)? {
        return Ok(());
    }
    value["times"].as_array().into_iter().flatten().try_for_each(|time| say(&text(time)))
}

/// When it fires, in one line.
fn times_of(schedule: &Value) -> String {
    let cron: Vec<String> = schedule["cron"].as_array().into_iter().flatten().map(text).collect();
    if cron.is_empty() {
        "–".to_owned()
    } else {
        format!("{} ({})", cron.join(", "), text(&schedule["zone"]))
    }
}
