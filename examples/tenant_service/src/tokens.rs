//! Tokens of tenants.
//!
//! A token is random, so a plain hash of it is as good as a slow one: nobody finds it by trying. Whoever
//! reads the file with the hashes can show none of them.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// The hashes of all tokens, with the tenants that they are for.
#[derive(Default)]
pub struct Tokens {
    hashes: Vec<(String, [u8; 32])>,
}

impl Tokens {
    /// Reads a file of lines `<tenant> <SHA-256 of the token in hexadecimal digits>`; none if there is no
    /// such file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or has another form.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read.with_context(|| format!("failed to read {}", file.display()))?,
        };
        let mut tokens = Self::default();
        for (number, line) in text.lines().enumerate() {
            let Some((tenant, hash)) =
                line.split_once(' ').and_then(|(name, hash)| Some((name, bytes(hash)?)))
            else {
                anyhow::bail!("line {} of {} is not a tenant and a hash", number + 1, file.display());
            };
            tokens.hashes.push((tenant.to_owned(), hash));
        }
        Ok(tokens)
    }

    /// Draws a token for a tenant, appends its hash to a file and returns it. It is nowhere else.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn add(file: &Path, tenant: &str) -> anyhow::Result<String> {
        // 122 bits of the operating system's.
        let token = Uuid::new_v4().simple().to_string();
        let digits: String = hash(&token).iter().map(|byte| format!("{byte:02x}")).collect();
        let added = || {
            let mut file = OpenOptions::new().append(true).create(true).open(file)?;
            file.write_all(format!("{tenant} {digits}\n").as_bytes())?;
            file.sync_all()
        };
        added().with_context(|| format!("failed to write {}", file.display()))?;
        Ok(token)
    }

    /// Whose token this is.
    ///
    /// All are compared, each in constant time: how long it takes tells nothing about any of them, and for
    /// 10,000 is some 100 µs.
    pub(crate) fn tenant_of(&self, token: &str) -> Option<&str> {
        let shown = hash(token);
        self.hashes.iter().fold(None, |found, (tenant, hash)| {
            if bool::from(hash.ct_eq(&shown)) { Some(tenant.as_str()) } else { found }
        })
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn bytes(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}
