//! The program as it is started, asked and stopped.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::client::{answer, request};

fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant_service"));
    command
        .current_dir(directory)
        .env("LISTEN", "127.0.0.1:0")
        .env_remove("DATABASE_URL")
        .env("METRICS_LISTEN", "127.0.0.1:0")
        .env_remove("TENANTS_DIRECTORY");
    command
}

/// Ends with the test, however that ends.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn it_gives_out_keys_and_serves_until_it_is_told_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let keys: Vec<String> = ["acme", "acme", "*"]
        .into_iter()
        .map(|tenant| {
            let output = program(directory.path()).args(["key", tenant, "developer"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        })
        .collect();
    assert_ne!(keys[0], keys[1]);
    let output = program(directory.path()).args(["key", "acme", "boss"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("there is no role `boss`; there are viewer,"),
        "{told}"
    );

    let mut served = Served(program(directory.path()).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(served.0.stderr.take().unwrap());
    let mut listens = |what: &str| {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = line.trim().rsplit(what).next().unwrap().to_owned();
        format!("http://{address}")
    };
    let (metrics, server) = (listens("metrics on "), listens("listening on "));
    for key in &keys {
        let body = r#"{"workflow_name": "order_total", "context": {"amounts": [1, 2]}}"#;
        let (status, _, body) =
            answer(request("POST", &format!("{server}/tenants/acme/workflows"), key, body));
        assert!(status == 200 && body.contains("completed"), "{status}: {body}");
    }
    let (status, _, body) = answer(request("GET", &format!("{metrics}/metrics"), "", ""));
    let counted = r#"cloacina_executions_total{workflow="order_total",outcome="completed"} 3"#;
    assert!(status == 200 && body.contains(counted), "{status}: {body}");
    let (status, ..) = answer(request("GET", &format!("{server}/metrics"), "", ""));
    assert_eq!(status, 404);

    let id = served.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(served.0.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("shutting down") && !keys.iter().any(|key| rest.contains(key)), "{rest}");
}
