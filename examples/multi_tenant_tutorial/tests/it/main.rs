//! The program from outside.

use std::process::Command;

use cloacina_testing::cluster::Cluster;
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_run_again() {
    // A server of its own, because the logins of the tutorial have fixed names, made as the tutorial says:
    // with a superuser of one name with its database.
    let cluster = Cluster::start().unwrap();
    let (client, connection) =
        tokio_postgres::connect(&cluster.superuser_url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("CREATE ROLE cloacina SUPERUSER LOGIN PASSWORD 'cloacina'").await.unwrap();
    client.batch_execute("CREATE DATABASE cloacina OWNER cloacina").await.unwrap();
    let url = cluster.url("cloacina", "cloacina", "cloacina");
    for run in 1..=2 {
        let output = Command::new(env!("CARGO_BIN_EXE_multi_tenant_tutorial"))
            .env("DATABASE_URL", &url)
            .env_remove("ADMIN_DATABASE_URL")
            .output()
            .unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let said = format!("{out}\n{err}");
        assert!(output.status.success(), "{said}");
        for customer in ["Acme Corporation", "Globex Industries", "Initech Solutions"] {
            assert!(said.contains(&format!("{customer} onboarded successfully")), "{said}");
        }
        assert_eq!(said.matches("workload completed for").count(), 4, "{said}");
        assert_eq!(said.matches("Concurrent processing for").count(), 3, "{said}");
        let were_there = if run == 1 { 0 } else { 3 };
        assert_eq!(said.matches("is there already").count(), were_there, "{said}");
        for bad in ["ERROR", "WARN", "failed", "postgres://", "postgresql://"] {
            assert!(!said.contains(bad), "`{bad}` is in: {said}");
        }
    }
}
