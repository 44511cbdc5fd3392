//! `cloacina executions`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{OfTenant, json_of, query};
use crate::failure::Refused;
use crate::output::{Output, error, now, say, shown, text, took, when};
use crate::remote::{Remote, encode};

/// What is done with executions.
#[derive(Subcommand, Debug)]
pub(crate) enum Executions {
    /// Lists executions, the newest first
    List {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        filter: Filter,
        /// Of all tenants
        #[arg(long, conflicts_with = "tenant")]
        all_tenants: bool,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Shows an execution: its tasks, why it waits, its attempts and errors
    Show {
        #[command(flatten)]
        of: OfTenant,
        /// Its id
        id: String,
        /// Shows its context too
        #[arg(long)]
        context: bool,
    },
    /// Shows an execution again whenever it changes, until it is over
    Watch {
        #[command(flatten)]
        of: OfTenant,
        /// Its id
        id: String,
    },
    /// Submits an execution, by the name of its workflow
    Submit {
        #[command(flatten)]
        of: OfTenant,
        /// The name of the workflow
        workflow: String,
        /// Its input, a JSON object: as it is, or in a file as @path, or on standard input as @-
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// What makes it one that is recorded once
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// What it is called besides; may be given several times
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// From 0 to 9; the higher, the sooner
        #[arg(long)]
        priority: Option<u8>,
        /// Waits for its end; the exit code is 1 if it does not complete
        #[arg(long)]
        wait: bool,
    },
    /// Cancels an execution, or all of a filter that are not over
    Cancel(Steer),
    /// Pauses an execution, or all of a filter
    Pause(Steer),
    /// Lets a paused execution go on, or all of a filter
    Resume(Steer),
    /// Runs an execution again that is over, or all of a filter
    Rerun {
        #[command(flatten)]
        steer: Steer,
        /// From where
        #[arg(long, value_enum, default_value_t = Whence::Failed)]
        from: Whence,
        /// With `--from task`: from which
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// The new input in place of the old one; for one execution
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
    },
}

/// From where an execution is run again.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whence {
    /// From what failed, was cancelled or never ran
    Failed,
    /// From a task
    Task,
    /// From the start
    Start,
}

impl Whence {
    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Task => "task",
            Self::Start => "start",
        }
    }
}

/// Which executions.
#[derive(Args, Debug, Clone)]
pub(crate) struct Filter {
    /// In these states, with commas between them
    #[arg(long, value_name = "STATES")]
    status: Option<String>,
    /// The same as `--status failed`
    #[arg(long, conflicts_with = "status")]
    failed: bool,
    /// Of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// With this tag
    #[arg(long = "tagged", value_name = "TAG")]
    tag: Option<String>,
    /// Recorded at this time or later: a time, or how long ago it was, as 1h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Also those whose place another execution took by a rerun
    #[arg(long)]
    superseded: bool,
    /// Also those of the engine's own workflows: the actions on many executions
    #[arg(long)]
    of_engine: bool,
}

impl Filter {
    fn status(&self) -> Option<&str> {
        if self.failed { Some("failed") } else { self.status.as_deref() }
    }

    fn is_empty(&self) -> bool {
        self.status().is_none() && self.workflow.is_none() && self.tag.is_none() && self.since.is_none()
    }

    fn query(&self) -> String {
        query(&[
            ("status", self.status()),
            ("workflow", self.workflow.as_deref()),
            ("tag", self.tag.as_deref()),
            ("since", self.since.as_deref()),
            ("superseded", (!self.superseded).then_some("false")),
            ("of_engine", self.of_engine.then_some("true")),
        ])
    }

    fn json(&self) -> Value {
        let mut filter = serde_json::Map::new();
        for (name, value) in [
            ("status", self.status()),
            ("workflow", self.workflow.as_deref()),
            ("tag", self.tag.as_deref()),
            ("since", self.since.as_deref()),
        ] {
            if let Some(value) = value {
                filter.insert(name.to_owned(), json!(value));
            }
        }
        if !self.superseded {
            filter.insert("superseded".to_owned(), json!(false));
        }
        Value::Object(filter)
    }
}

/// One execution, or all of a filter.
#[derive(Args, Debug, Clone)]
pub(crate) struct Steer {
    #[command(flatten)]
    of: OfTenant,
    /// The id of one execution
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Only says how many there are
    #[arg(long)]
    dry_run: bool,
    /// To so many in a second at most
    #[arg(long, value_name = "N")]
    pace: Option<u32>,
    /// In all tenants that have such executions
    #[arg(long)]
    all_tenants: bool,
    /// Does not wait until all of it is done, which the runners of the tenant do in any case
    #[arg(long)]
    no_wait: bool,
}

impl Executions {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        match self {
            Self::List { of, filter, all_tenants, limit } => {
                list(remote, output, &of, &filter, all_tenants, limit).await
            }
            Self::Show { of, id, context } => {
                let path = format!("{}/executions/{}", of.path(remote).await?, encode(&id));
                show(remote, output, &path, context).await
            }
            Self::Watch { of, id } => {
                let path = format!("{}/executions/{}", of.path(remote).await?, encode(&id));
                watch(remote, output, &path).await
            }
            Self::Submit { of, workflow, input, idempotency_key, tags, priority, wait } => {
                let path = format!("{}/executions", of.path(remote).await?);
                let mut body = json!({"workflow": workflow, "tags": tags});
                if let Some(input) = input {
                    body["input"] = json_of(&input)?;
                }
                if let Some(priority) = priority {
                    body["priority"] = json!(priority);
                }
                let recorded =
                    remote.call_with("POST", &path, Some(body), idempotency_key.as_deref()).await?;
                if !wait {
                    return if output.json(&recorded)? { Ok(()) } else { say(&text(&recorded["id"])) };
                }
                let path = format!("{path}/{}", text(&recorded["id"]));
                over(remote, &path).await?;
                show(remote, output, &path, true).await?;
                let ended = remote.get(&path).await?;
                if ended["status"] != "completed" {
                    let detail = format!("execution {} is {}", text(&recorded["id"]), text(&ended["status"]));
                    return Err(Refused::failed(detail).into());
                }
                Ok(())
            }
            Self::Cancel(steer) => steer.run(remote, output, "cancel", json!({})).await,
            Self::Pause(steer) => steer.run(remote, output, "pause", json!({})).await,
            Self::Resume(steer) => steer.run(remote, output, "resume", json!({})).await,
            Self::Rerun { steer, from, task, input } => {
                if task.is_some() != (from == Whence::Task) {
                    bail!("--task and `--from task` go together");
                }
                let mut said = json!({"from": from.as_str()});
                if let Some(task) = task {
                    said["task"] = json!(task);
                }
                if let Some(input) = input {
                    if steer.id.is_none() {
                        bail!("--input goes with one execution");
                    }
                    said["input"] = json_of(&input)?;
                }
                steer.run(remote, output, "rerun", said).await
            }
        }
    }
}

async fn list(
    remote: &Remote,
    output: Output,
    of: &OfTenant,
    filter: &Filter,
    all_tenants: bool,
    limit: usize,
) -> Result<()> {
    let path = if all_tenants { "/v1".to_owned() } else { of.path(remote).await? };
    let items = remote.list(&format!("{path}/executions{}", filter.query()), limit).await?;
    if output.json(&json!(items))? {
        return Ok(());
    }
    let now = now();
    let last = |item: &Value| if item["error"].is_null() { tags(item) } else { error(&item["error"]) };
    if all_tenants {
        let rows = items.iter().map(|item| {
            [
                text(&item["tenant"]),
                text(&item["id"]),
                text(&item["workflow"]),
                text(&item["status"]),
                when(&item["started_at"], now),
                last(item),
            ]
        });
        return output.table(
            ["TENANT", "ID", "WORKFLOW", "STATE", "BEGUN", "ERROR OR TAGS"],
            rows,
            "no execution of any tenant matches",
        );
    }
    let rows = items.iter().map(|item| {
        [
            text(&item["id"]),
            text(&item["workflow"]),
            text(&item["status"]),
            when(&item["started_at"], now),
            took(&item["started_at"], &item["ended_at"]),
            last(item),
        ]
    });
    output.table(["ID", "WORKFLOW", "STATE", "BEGUN", "TOOK", "ERROR OR TAGS"], rows, "no execution matches")
}

fn tags(item: &Value) -> String {
    let tags = item["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    tags.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Prints an execution: what it is, why it waits, its tasks and its attempts.
async fn show(remote: &Remote, output: Output, path: &str, context: bool) -> Result<()> {
    let execution = remote.get(path).await?;
    let attempts = remote.list(&format!("{path}/attempts"), 200).await?;
    if output.json {
        let mut all = execution;
        all["attempts"] = json!(attempts);
        output.json(&all)?;
        return Ok(());
    }
    let now = now();
    say(&format!(
        "{}  {}  {}",
        text(&execution["id"]),
        text(&execution["workflow"]),
        text(&execution["status"])
    ))?;
    say(&format!(
        "begun {} ({}), took {}",
        text(&execution["started_at"]),
        when(&execution["started_at"], now),
        took(&execution["started_at"], &execution["ended_at"])
    ))?;
    for (what, field) in [("takes the place of", "rerun_of"), ("was run again as", "superseded_by")] {
        if let Some(other) = execution[field].as_str() {
            say(&format!("{what} {other}"))?;
        }
    }
    if !tags(&execution).is_empty() {
        say(&format!("tags: {}", tags(&execution)))?;
    }
    if !execution["error"].is_null() {
        say(&format!("error: {}", error(&execution["error"])))?;
    }
    for wait in execution["waits"].as_array().into_iter().flatten() {
        say(&why_it_waits(wait, now))?;
    }
    for node in execution["children"].as_array().into_iter().flatten() {
        say(&format!(
            "{}: {} of {} children are over, {} of them failed; {} are open, {} at most",
            text(&node["node"]),
            node["completed"].as_u64().unwrap_or_default() + node["failed"].as_u64().unwrap_or_default(),
            node["total"],
            node["failed"],
            node["running"],
            node["parallel"]
        ))?;
    }
    say("")?;
    let tasks = execution["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = tasks.iter().map(|task| {
        let why = match (task["skip_reason"].as_str(), &task["error"]) {
            (Some(reason), _) => format!("skipped {}", reason.replace('_', " ")),
            (None, failure) => error(failure),
        };
        [
            text(&task["id"]),
            text(&task["kind"]),
            text(&task["state"]),
            text(&task["attempts"]),
            took(&task["started_at"], &task["ended_at"]),
            why,
        ]
    });
    output.table(
        ["TASK", "KIND", "STATE", "ATTEMPTS", "TOOK", "WHY"],
        rows,
        "it has no tasks yet: nobody with its code has met it",
    )?;
    // One attempt a task tells nothing that the tasks do not.
    if attempts.len() > tasks.len() || attempts.iter().any(|attempt| attempt["outcome"] != "completed") {
        say("")?;
        let rows = attempts.iter().map(|attempt| {
            [
                text(&attempt["task"]),
                text(&attempt["attempt"]),
                text(&attempt["outcome"]),
                when(&attempt["started_at"], now),
                took(&attempt["started_at"], &attempt["ended_at"]),
                error(&attempt["error"]),
            ]
        });
        output.table(["TASK", "ATTEMPT", "OUTCOME", "BEGUN", "TOOK", "ERROR"], rows, "")?;
    }
    if context && !execution["context"].is_null() {
        say("")?;
        say(&format!("{:#}", execution["context"]))?;
    }
    Ok(())
}

/// What an execution waits for, since when, until when.
fn why_it_waits(wait: &Value, now: Timestamp) -> String {
    let what = match (&wait["ask"], wait["signal"].as_str()) {
        (Value::Object(ask), signal) => {
            let question = ask.get("question").map_or_else(|| "(which you may not see)".to_owned(), text);
            let choices = ask.get("choices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let choices = choices.iter().map(text).collect::<Vec<_>>().join(", ");
            let whom = ask.get("role").map(|role| format!(" {}", text(role))).unwrap_or_default();
            let by = if choices.is_empty() { String::new() } else { format!(" [{choices}]") };
            format!("asks{whom} by the signal `{}`: {question}{by}", shown(signal.unwrap_or_default()))
        }
        (_, Some(signal)) => format!("waits for the signal `{}`", shown(signal)),
        (_, None) => "sleeps".to_owned(),
    };
    let until = if wait["until"].is_null() {
        "without an end".to_owned()
    } else {
        format!("until {} ({})", text(&wait["until"]), when(&wait["until"], now))
    };
    format!("{} {what}; since {}, {until}", text(&wait["wait"]), when(&wait["since"], now))
}

/// Waits until an execution is over.
async fn over(remote: &Remote, path: &str) -> Result<()> {
    let mut events = remote.events(&format!("{path}/events")).await?;
    loop {
        let execution = remote.get(path).await?;
        if matches!(execution["status"].as_str(), Some("completed" | "failed" | "cancelled")) {
            return Ok(());
        }
        // If the stream ends, it is looked at now and then.
        _ = tokio::time::timeout(Duration::from_secs(5), events.recv()).await;
    }
}

async fn watch(remote: &Remote, output: Output, path: &str) -> Result<()> {
    let mut events = remote.events(&format!("{path}/events")).await?;
    let mut told = Value::Null;
    loop {
        let execution = remote.get(path).await?;
        if execution != told {
            if !told.is_null() && !output.json {
                say("")?;
            }
            show(remote, output, path, false).await?;
            told = execution;
        }
        if matches!(told["status"].as_str(), Some("completed" | "failed" | "cancelled")) {
            return Ok(());
        }
        _ = tokio::time::timeout(Duration::from_secs(5), events.recv()).await;
    }
}

impl Steer {
    async fn run(self, remote: &Remote, output: Output, verb: &str, said: Value) -> Result<()> {
        let tenant = if self.all_tenants { "/v1".to_owned() } else { self.of.path(remote).await? };
        if let Some(id) = &self.id {
            if self.all_tenants {
                bail!("an execution is in one tenant: leave `--all-tenants` out");
            }
            if !self.filter.is_empty() {
                bail!("both one execution and a filter are named: name one of them");
            }
            if verb == "cancel" {
                output.confirm(&format!("Cancel execution {id}?"))?;
            }
            let body = (verb == "rerun").then_some(said);
            let answer = remote.post(&format!("{tenant}/executions/{}/{verb}", encode(id)), body).await?;
            return match answer["id"].as_str() {
                _ if output.json(&answer)? => Ok(()),
                Some(new) => say(new),
                None => Ok(()),
            };
        }
        if self.filter.is_empty() {
            bail!(
                "which executions? Name one by its id, or all of a filter: --failed, --status, --workflow, --tagged, --since"
            );
        }
        let mut order = said;
        order["action"] = json!(verb);
        order["filter"] = self.filter.json();
        let mut dry = order.clone();
        dry["dry_run"] = json!(true);
        let bulk = format!("{tenant}/bulk");
        let count = remote.post(&bulk, Some(dry)).await?;
        let number = count["would_match"].as_u64().unwrap_or_default();
        if self.dry_run {
            return if output.json(&count)? {
                Ok(())
            } else {
                say(&format!("it would be done to {number} executions"))
            };
        }
        if number == 0 {
            return if output.json(&count)? { Ok(()) } else { say("no execution matches") };
        }
        output.confirm(&format!("{} {number} executions?", capital(verb)))?;
        if let Some(pace) = self.pace {
            order["pace"] = json!(pace);
        }
        if let Some(reason) = remote.reason() {
            order["reason"] = json!(reason);
        }
        let begun = remote.post(&bulk, Some(order)).await?;
        if self.all_tenants {
            return begun_everywhere(output, &begun);
        }
        if self.no_wait {
            return if output.json(&begun)? { Ok(()) } else { say(&text(&begun["id"])) };
        }
        let path = format!("{bulk}/{}", text(&begun["id"]));
        let ended = loop {
            let state = remote.get(&path).await?;
            if !state["ended_at"].is_null() {
                break state;
            }
            if !output.json {
                match state["status"].as_str() {
                    Some("pending") => {
                        eprint!("\rwaits for a runner of the tenant; it is recorded, and needs you no more ");
                    }
                    _ => eprint!("\r{} of {number}, {} refused ", state["done"], state["failed"]),
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        if output.json(&ended)? {
            return Ok(());
        }
        eprint!("\r");
        say(&format!("done with {} of {}, {} refused", ended["done"], ended["matched"], ended["failed"]))?;
        for refused in ended["errors"].as_array().into_iter().flatten() {
            say(&format!("  {}: {}", text(&refused["execution"]), text(&refused["detail"])))?;
        }
        match ended["error"].as_str() {
            Some(error) => Err(Refused::failed(format!("it ended early: {error}")).into()),
            None => Ok(()),
        }
    }
}

/// Says in which tenants an action has begun.
fn begun_everywhere(output: Output, begun: &Value) -> Result<()> {
    if output.json(begun)? {
        return Ok(());
    }
    for begun in begun["begun"].as_array().into_iter().flatten() {
        say(&format!("{}: {}", text(&begun["tenant"]), text(&begun["id"])))?;
    }
    let refused: Vec<String> = begun["unreadable"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|refused| format!("{}: {}", text(&refused["tenant"]), text(&refused["problem"]["detail"])))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(Refused::failed(format!("in some tenants it did not begin: {}", refused.join("; "))).into())
}

fn capital(verb: &str) -> String {
    let mut letters = verb.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
