//! `cloacina doctor`.

use std::io::IsTerminal as _;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::failure::Refused;
use crate::output::{Output, say, text};
use crate::remote::{Remote, encode};

/// Looks whether the places of tenants are as they have to be.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Only at the place of this tenant; at all of them, and at what they share, without it
    #[arg(long, short, value_name = "NAME")]
    tenant: Option<String>,
}

/// What was found in all places that were looked at.
#[derive(Default)]
struct Found {
    findings: Vec<Value>,
    skipped: Vec<Value>,
    /// The tenants that could not be looked at, and why.
    unreadable: Vec<(String, anyhow::Error)>,
}

impl Found {
    fn add(&mut self, mut diagnosis: Value) {
        let mut take = |field: &str| diagnosis[field].as_array_mut().map(std::mem::take).unwrap_or_default();
        self.findings.append(&mut take("findings"));
        for skipped in take("skipped") {
            if !self.skipped.contains(&skipped) {
                self.skipped.push(skipped);
            }
        }
    }

    fn is_fatal(&self) -> bool {
        self.findings.iter().any(|finding| finding["is_fatal"] == true)
    }
}

impl Doctor {
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<()> {
        let mut found = Found::default();
        let of = |tenant: &str| format!("/v1/tenants/{}/doctor", encode(tenant));
        if let Some(tenant) = &self.tenant {
            found.add(remote.get(&of(tenant)).await?);
        } else {
            found.add(remote.get("/v1/doctor").await?);
            let tenants = remote.list("/v1/tenants", usize::MAX).await?;
            let tells = std::io::stderr().is_terminal();
            for (number, tenant) in tenants.iter().enumerate() {
                if tells {
                    eprint!("\r{number} of {} tenants ", tenants.len());
                }
                let name = tenant["name"].as_str().unwrap_or_default();
                // One that cannot be looked at keeps no other from it.
                match remote.get(&of(name)).await {
                    Ok(diagnosis) => found.add(diagnosis),
                    Err(error) => found.unreadable.push((name.to_owned(), error)),
                }
            }
            if tells {
                eprint!("\r");
            }
        }
        tell(&found, output)?;
        if found.is_fatal() {
            return Err(Refused::found("something is not as it has to be".to_owned()).into());
        }
        match found.unreadable.into_iter().next() {
            Some((tenant, error)) => Err(error.context(format!("the tenant `{tenant}` was not looked at"))),
            None => Ok(()),
        }
    }
}

fn tell(found: &Found, output: Output) -> Result<()> {
    let unreadable = found.unreadable.iter();
    let all = json!({
        "findings": found.findings,
        "skipped": found.skipped,
        "unreadable": unreadable
            .map(|(tenant, error)| json!({"tenant": tenant, "problem": format!("{error:#}")}))
            .collect::<Vec<_>>(),
    });
    if output.json(&all)? {
        return Ok(());
    }
    let rows = found.findings.iter().map(|finding| {
        let gravity = if finding["is_fatal"] == true { "must not be" } else { "should not be" };
        [text(&finding["place"]), gravity.to_owned(), text(&finding["what"]), text(&finding["remedy"])]
    });
    output.table(["WHERE", "GRAVITY", "WHAT", "TO MEND IT"], rows, "nothing is wrong")?;
    for skipped in &found.skipped {
        say(&format!("not looked at: {}", text(skipped)))?;
    }
    for (tenant, error) in &found.unreadable {
        say(&format!("not looked at: the tenant {tenant}: {error:#}"))?;
    }
    Ok(())
}
