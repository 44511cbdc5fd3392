//! `cloacina migrate`.

use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use clap::Args;
use cloacina::tenants::{PlaceVersion, TenantVersion};
use serde_json::{Value, json};

use crate::failure::Refused;
use crate::output::{Output, say};
use crate::remote::Where;

/// What all tenants of a PostgreSQL database are registered in.
const REGISTRY: &str = "(the registry)";

/// Brings the engine's tables of all tenants to the version of this program.
///
/// A program does the same for each tenant when it opens it, so this is for whoever wants it done before, or
/// with an administrator's rights. Programs of the version before go on working meanwhile.
#[derive(Args, Debug)]
pub(crate) struct Migrate {
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
}

impl Migrate {
    pub(crate) async fn run(self, at: &Where, output: Output) -> Result<()> {
        let versions = at.versions().await?;
        if self.dry_run {
            return tell(&versions, output).and_then(|()| check(&versions));
        }
        check(&versions)?;
        let old: Vec<Option<String>> = versions
            .into_iter()
            .filter(|of| of.version.as_ref().is_ok_and(|version| version.is_old()))
            .map(|of| of.tenant)
            .collect();
        let failed = if old.is_empty() { Vec::new() } else { migrate(at, &old).await? };
        // What it is now.
        tell(&at.versions().await?, output)?;
        if failed.is_empty() {
            return Ok(());
        }
        for (tenant, error) in &failed {
            eprintln!("{tenant}: {error:#}");
        }
        let detail = format!(
            "{} of {} were not migrated; the others were, and the same command tries again",
            failed.len(),
            old.len()
        );
        Err(Refused::failed(detail).into())
    }
}

/// Migrates these, and returns those that were not, with the reasons.
async fn migrate(at: &Where, old: &[Option<String>]) -> Result<Vec<(String, anyhow::Error)>> {
    // What the tenants share is migrated by opening it.
    let local = at.local().await?;
    let (mut failed, tells) = (Vec::new(), std::io::stderr().is_terminal());
    for (number, tenant) in old.iter().enumerate() {
        if tells {
            eprint!("\r{number} of {} ", old.len());
        }
        let Some(tenant) = tenant else { continue };
        if let Err(error) = local.migrate(tenant).await {
            failed.push((tenant.clone(), error));
        }
    }
    if tells {
        eprint!("\r");
    }
    local.shutdown().await?;
    Ok(failed)
}

/// Whether this program can work with all that is there.
fn check(versions: &[TenantVersion]) -> Result<()> {
    let too_new =
        |of: &'_ TenantVersion| of.version.as_ref().ok().copied().filter(|version| version.is_too_new());
    let mut newer = versions.iter().filter_map(|of| Some((name(of), too_new(of)?)));
    if let Some((first, PlaceVersion { version, latest, min_reader, .. })) = newer.next() {
        let others = match newer.count() {
            0 => String::new(),
            others => format!(", and so are {others} others"),
        };
        let detail = format!(
            "{first} is newer than this program{others}: its tables have version {version} and need a program of \
             version {min_reader}, this one has {latest}; nothing was changed, update this program"
        );
        return Err(Refused::failed(detail).into());
    }
    match versions.iter().find_map(|of| Some((name(of), of.version.as_ref().err()?))) {
        Some((name, error)) => bail!("the version of {name} cannot be told: {error}"),
        None => Ok(()),
    }
}

fn name(of: &TenantVersion) -> &str {
    of.tenant.as_deref().unwrap_or(REGISTRY)
}

/// What there is to do about a version.
fn to_do(version: PlaceVersion) -> &'static str {
    match (version.is_too_new(), version.is_old()) {
        (true, _) => "newer than this program",
        (_, true) => "to be migrated",
        (false, false) => "up to date",
    }
}

fn tell(versions: &[TenantVersion], output: Output) -> Result<()> {
    let as_json = |of: &TenantVersion| match &of.version {
        Ok(version) => json!({
            "tenant": of.tenant,
            "version": version.version,
            "latest": version.latest,
            "state": to_do(*version),
        }),
        Err(error) => json!({"tenant": of.tenant, "error": error.to_string()}),
    };
    if output.json(&Value::Array(versions.iter().map(as_json).collect()))? {
        return Ok(());
    }
    let current = |of: &&TenantVersion| {
        of.version.as_ref().is_ok_and(|version| !version.is_old() && !version.is_too_new())
    };
    let up_to_date = versions.iter().filter(current).count();
    let rows: Vec<[String; 4]> = versions
        .iter()
        .filter(|of| !current(of))
        .map(|of| {
            let tenant = name(of).to_owned();
            match &of.version {
                Ok(version) => [
                    tenant,
                    version.version.to_string(),
                    version.latest.to_string(),
                    to_do(*version).to_owned(),
                ],
                Err(error) => [tenant, "–".to_owned(), "–".to_owned(), error.to_string()],
            }
        })
        .collect();
    if !rows.is_empty() {
        output.table(["TENANT", "HAS", "BECOMES", "STATE"], rows, "")?;
    }
    say(&format!("{up_to_date} of {} are up to date", versions.len()))
}
