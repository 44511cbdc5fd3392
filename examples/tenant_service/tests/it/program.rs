//! The program as it is started, asked and stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenant_service"));
    command
        .current_dir(directory)
        .env("LISTEN", "127.0.0.1:0")
        .env_remove("DATABASE_URL")
        .env_remove("TENANTS_DIRECTORY")
        .env_remove("TOKENS_FILE");
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
fn it_gives_out_tokens_and_serves_until_it_is_told_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let tokens: Vec<String> = (0..2)
        .map(|_| {
            let output = program(directory.path()).args(["token", "acme"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        })
        .collect();
    assert_ne!(tokens[0], tokens[1]);

    let mut served = Served(program(directory.path()).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(served.0.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let address = line.trim().rsplit("listening on ").next().unwrap();
    for token in &tokens {
        let body = r#"{"workflow_name": "order_total", "context": {"amounts": [1, 2]}}"#;
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /tenants/acme/workflows HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Completed"), "{answer}");
    }

    let id = served.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(served.0.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("shutting down") && !tokens.iter().any(|token| rest.contains(token)), "{rest}");
}
