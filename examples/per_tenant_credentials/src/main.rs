//! Two tenants with database logins of their own: made, used, kept apart, rotated and removed.
//!
//! Reads `ADMIN_DATABASE_URL`, else uses `postgresql://cloacina:cloacina@localhost:5432/cloacina`. What it
//! makes has names that no other run uses, and it removes it at the end; what a run left that was killed goes
//! with the next one. Every claim that it prints, it has checked.

use std::process::ExitCode;
use std::time::Duration;

use cloacina::database::{
    AdminError, AdminErrorKind, Database, DatabaseAdmin, TenantConfig, TenantCredentials,
};
use cloacina::runner::Runner;
use cloacina::{Context, Error, ErrorKind, Workflow, task, workflow};
use uuid::Uuid;

type BoxError = Box<dyn std::error::Error>;

/// How the names of this example's schemas and logins begin.
const OURS: &str = "credentials_example_";

#[task(id = "write_invoice")]
async fn write_invoice(context: &mut Context) -> Result<(), Error> {
    let customer: String = context.get("customer").unwrap_or_default();
    context.set("invoice", format!("invoice for {customer}"));
    Ok(())
}

#[workflow]
fn invoicing() -> Workflow {
    Workflow::builder("invoicing").task(write_invoice).build()
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let url = std::env::var("ADMIN_DATABASE_URL")
        .unwrap_or_else(|_| "postgresql://cloacina:cloacina@localhost:5432/cloacina".to_owned());
    let admin = DatabaseAdmin::new(Database::new(&url, database_name(&url), 4));
    match run(&admin).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            explain(&admin, error.as_ref()).await;
            ExitCode::FAILURE
        }
    }
}

async fn run(admin: &DatabaseAdmin) -> Result<(), BoxError> {
    println!("1. What the administrator may do");
    let preflight = admin.preflight().await?;
    if preflight.is_ready() {
        println!("   It may make tenants.");
    } else {
        println!("   It may not make tenants yet.");
    }
    for statement in &preflight.hardening {
        println!("   To be run once by somebody who may: {statement}");
    }
    remove_ours(admin).await?;

    // Whatever happens in between, nothing of it stays.
    let shown = show(admin).await;
    println!("\n7. Removing both");
    let removed = remove_ours(admin).await;
    shown?;
    println!("   {} tenants, their schemas, their logins and all that was in them are gone.", removed?);
    Ok(())
}

async fn show(admin: &DatabaseAdmin) -> Result<(), BoxError> {
    println!("\n2. Creating two tenants");
    let run = Uuid::new_v4().simple().to_string()[..8].to_owned();
    let given = std::env::var("TENANT_PASSWORD").unwrap_or_else(|_| Uuid::new_v4().to_string());
    let acme = create(admin, &format!("{OURS}acme_{run}"), given).await?;
    // Without a password, one of 32 characters is drawn. Nobody keeps it but who gets it here.
    let globex = create(admin, &format!("{OURS}globex_{run}"), String::new()).await?;
    // `Debug` masks passwords and connection strings, so that they do not end up in a log.
    println!("   with a password that was given: {acme:?}");
    println!("   with one that was drawn:        {globex:?}");

    println!("\n3. The same calls as with a shared login");
    let with_schema = Runner::with_schema(&acme.connection_string, &acme.schema_name).await?;
    let of_acme = invoice(&with_schema, "Acme").await?;
    // The database knows whose place a tenant's login has.
    let with_login_alone = Runner::new(&globex.connection_string).await?;
    let of_globex = invoice(&with_login_alone, "Globex").await?;

    println!("\n4. Neither reaches the other");
    for (runner, foreign) in [(&with_schema, of_globex), (&with_login_alone, of_acme)] {
        let answer = runner.get_execution_status(foreign).await;
        let refusal = refusal(answer, &[ErrorKind::NotFound])?;
        println!("   {}: {refusal}", runner.place());
    }
    for (own, foreign) in [(&acme, &globex), (&globex, &acme)] {
        let answer = Runner::with_schema(&own.connection_string, &foreign.schema_name).await;
        println!("   {}", refusal(answer, &[ErrorKind::Configuration])?);
    }
    with_schema.shutdown().await?;
    with_login_alone.shutdown().await?;

    println!("\n5. New credentials for one of them");
    // The ones before would usually have some time left, an hour by default, so that processes change over
    // one after the other.
    let new = admin.rotate_credentials_within(&globex.schema_name, Duration::ZERO).await?;
    println!("   {new:?}");
    let answer = Runner::new(&globex.connection_string).await;
    println!("   the ones before: {}", refusal(answer, &[ErrorKind::Configuration, ErrorKind::Unavailable])?);
    let runner = Runner::new(&new.connection_string).await?;
    println!("   the new ones see {} execution", runner.list_executions().await?.len());
    runner.shutdown().await?;

    println!("\n6. Looking at everything that they have and may do");
    for schema in [&acme.schema_name, &globex.schema_name] {
        look(admin, schema).await?;
    }
    Ok(())
}

/// Says what a tenant has and may do. What PostgreSQL leaves open to every login until somebody closes it is
/// told; anything else that reaches outside is an error.
async fn look(admin: &DatabaseAdmin, schema: &str) -> Result<(), BoxError> {
    let report = admin.inspect_tenant(schema).await?;
    let (objects, privileges) = (report.objects.len(), report.privileges.len());
    let (open, wrong): (Vec<_>, Vec<_>) =
        report.findings.iter().partition(|finding| finding.ends_with(" FROM PUBLIC;)"));
    if !wrong.is_empty() {
        return Err(format!("the tenant in schema `{schema}` is not isolated: {wrong:?}").into());
    }
    if open.is_empty() {
        println!("   {schema}: {objects} objects, {privileges} privileges, none of which reaches outside");
        return Ok(());
    }
    println!("   {schema}: {objects} objects, {privileges} privileges, and what is open to every login.");
    println!("   Somebody who may, a superuser say, closes it with the statements in brackets:");
    for finding in open {
        println!("   - {finding}");
    }
    Ok(())
}

async fn create(
    admin: &DatabaseAdmin,
    name: &str,
    password: String,
) -> Result<TenantCredentials, AdminError> {
    let config = TenantConfig { schema_name: name.to_owned(), username: format!("{name}_user"), password };
    admin.create_tenant(config).await
}

async fn invoice(runner: &Runner, customer: &str) -> Result<Uuid, BoxError> {
    let result = runner.execute("invoicing", Context::new().with("customer", customer)).await?;
    if !result.status.is_success() {
        return Err(result.error_message.unwrap_or_default().into());
    }
    println!("   {}: {}", runner.place(), result.final_context.try_get::<String>("invoice")?);
    Ok(result.execution_id)
}

/// What somebody was told who must not succeed.
fn refusal<T>(answer: Result<T, Error>, kinds: &[ErrorKind]) -> Result<Error, BoxError> {
    match answer {
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => Err(error.into()),
        Ok(_) => Err("a tenant reached what is not its own".into()),
    }
}

/// Removes the tenants of this example, those of a run that was killed included, and says how many.
async fn remove_ours(admin: &DatabaseAdmin) -> Result<usize, AdminError> {
    let tenants = admin.list_tenants().await?.into_iter();
    let mut removed = 0;
    for tenant in tenants.filter(|tenant| tenant.schema_name.starts_with(OURS)) {
        if let Some(login) = tenant.logins.first() {
            admin.remove_tenant(&tenant.schema_name, login).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Says what to do about an error.
async fn explain(admin: &DatabaseAdmin, error: &(dyn std::error::Error + 'static)) {
    match error.downcast_ref().map(AdminError::kind) {
        Some(AdminErrorKind::Privileges) => {
            eprintln!("\nhint: somebody who may, a superuser say, has to run this first:");
            if let Ok(preflight) = admin.preflight().await {
                for statement in preflight.missing.iter().chain(&preflight.hardening) {
                    eprintln!("  {statement}");
                }
            }
        }
        Some(AdminErrorKind::Unavailable | AdminErrorKind::Configuration) => eprintln!(
            "\nhint: is PostgreSQL running, and is ADMIN_DATABASE_URL of the form postgresql://login:password@host/database? \
             `cargo xtask pg` starts a server to try things on and prints the URL of its administrator."
        ),
        _ => {}
    }
}

/// The database that a URL leads to, whose name an administrator has to say as well.
fn database_name(url: &str) -> &str {
    let path = url.split('?').next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}
