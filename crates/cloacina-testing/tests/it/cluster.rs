use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cloacina_testing::cluster::{Cluster, Server};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

/// Set for the copy of this test binary that owns a cluster and is killed.
const OWNER: &str = "CLOACINA_TESTING_OWNER";

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn connect_url(url: &str) -> Client {
    connect(&url.parse().unwrap()).await.unwrap()
}

async fn one<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, query: &str) -> T {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn the_right_password_connects_and_a_wrong_one_fails_over_tcp_and_over_the_socket() {
    let cluster = Cluster::start().unwrap();
    let right: Config = cluster.fresh_database().await.unwrap().parse().unwrap();
    let over_socket = |config: &Config| {
        let mut socket = Config::new();
        socket
            .host_path(cluster.socket_directory())
            .port(cluster.port())
            .user(config.get_user().unwrap())
            .dbname(config.get_dbname().unwrap())
            .password(config.get_password().unwrap());
        socket
    };

    connect(&right).await.unwrap();
    connect(&over_socket(&right)).await.unwrap();

    let mut wrong = right.clone();
    wrong.password("wrong");
    for config in [&wrong, &over_socket(&wrong)] {
        let error = connect(config).await.expect_err("a wrong password is refused");
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error:?}");
    }
}

#[tokio::test]
async fn a_restart_keeps_the_data_and_the_port_even_after_a_crash() {
    let cluster = Cluster::start().unwrap();
    let (url, port) = (cluster.fresh_database().await.unwrap(), cluster.port());
    connect_url(&url).await.batch_execute("CREATE TABLE kept AS SELECT 42 AS value").await.unwrap();

    cluster.restart().unwrap();
    assert_eq!(one::<i32>(&connect_url(&url).await, "SELECT value FROM kept").await, 42);

    connect_url(&url).await.batch_execute("UPDATE kept SET value = 43").await.unwrap();
    cluster.kill().unwrap();
    assert!(!cluster.is_running());
    assert!(connect(&url.parse().unwrap()).await.is_err());

    cluster.restart().unwrap();
    assert_eq!(cluster.port(), port);
    assert_eq!(one::<i32>(&connect_url(&url).await, "SELECT value FROM kept").await, 43);
}

#[tokio::test]
async fn the_server_is_as_durable_as_one_in_production() {
    let cluster = Cluster::start().unwrap();
    let client = connect_url(&cluster.superuser_url("postgres")).await;
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_connections", "200"),
        ("shared_buffers", "128MB"),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
        ("lc_messages", "C"),
    ] {
        assert_eq!(one::<String>(&client, &format!("SHOW {setting}")).await, value, "{setting}");
    }
    let trusting = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'";
    assert_eq!(one::<i64>(&client, trusting).await, 0);
}

#[tokio::test]
async fn a_fresh_database_belongs_to_a_login_without_privileges() {
    let server: &Server = Cluster::shared().unwrap();
    let (first, second) = (server.fresh_database().await.unwrap(), server.fresh_database().await.unwrap());
    assert_ne!(first, second);

    let client = connect_url(&first).await;
    let privileged = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls
                      FROM pg_roles WHERE rolname = current_user";
    assert!(!one::<bool>(&client, privileged).await);
    let owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()";
    assert_eq!(
        one::<String>(&client, owner).await,
        one::<String>(&client, "SELECT current_user::text").await
    );
    client.batch_execute("CREATE SCHEMA mine; CREATE TABLE mine.t (id int)").await.unwrap();

    let superuser = connect_url(&server.superuser_url_of(&first)).await;
    assert!(one::<bool>(&superuser, "SELECT to_regclass('mine.t') IS NOT NULL").await);
}

#[tokio::test]
async fn fresh_databases_can_be_made_at_the_same_time() {
    let server = Cluster::shared().unwrap();
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(server.fresh_database())).collect();
    for task in tasks {
        connect_url(&task.await.unwrap().unwrap()).await;
    }
}

#[test]
fn databases_of_tests_that_have_ended_are_dropped() {
    // A server of our own: what other tests make is dropped on the shared one as well.
    let cluster = Cluster::start().unwrap();
    let superuser = cluster.superuser_url("postgres");
    let server: Server = (*cluster).clone();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let some = std::thread::Builder::new().name("some::test".into());
    let making = some.spawn(move || {
        runtime().block_on(async {
            for _ in 0..16 {
                server.fresh_database().await.unwrap();
            }
        });
    });
    making.unwrap().join().unwrap();
    runtime().block_on(async {
        let client = connect_url(&superuser).await;
        let patience = Instant::now() + Duration::from_secs(60);
        // One after the other is dropped: to see one go is enough.
        while one::<i64>(&client, "SELECT count(*) FROM pg_database WHERE datname LIKE 'test_%'").await == 16
        {
            assert!(Instant::now() < patience, "the databases are still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn dropping_a_cluster_ends_the_server_and_removes_its_directory() {
    let cluster = Cluster::start().unwrap();
    let (port, directory) = (cluster.port(), cluster.socket_directory().to_owned());
    drop(cluster);
    assert!(is_gone(port, &directory));
}

#[test]
fn the_server_ends_when_its_owner_is_killed() {
    if std::env::var_os(OWNER).is_some() {
        let cluster = Cluster::start().unwrap();
        println!("\nowner {} {}", cluster.port(), cluster.socket_directory().display());
        loop {
            std::thread::park();
        }
    }
    let this_test = "cluster::the_server_ends_when_its_owner_is_killed";
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this_test, "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("owner ").map(str::to_owned))
        .expect("the owner tells where its cluster is");
    let (port, directory) = told.split_once(' ').unwrap();
    let (port, directory) = (port.parse().unwrap(), Path::new(directory));
    assert!(!is_gone(port, directory));

    // SIGKILL: the owner has no chance to clean up.
    owner.kill().unwrap();
    owner.wait().unwrap();

    // Nobody who could be awaited is left; the supervisor is not our child.
    let waiting_since = Instant::now();
    while !is_gone(port, directory) {
        assert!(waiting_since.elapsed() < Duration::from_secs(60), "the server outlived its owner");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_gone(port: u16, directory: &Path) -> bool {
    !directory.exists() && TcpStream::connect(("127.0.0.1", port)).is_err()
}
