//! Random text, for passwords and for names that nobody else has.

use std::fs::File;
use std::io::Read;

use super::ClusterError;

/// 32 random hexadecimal digits.
pub(super) fn secret() -> Result<String, ClusterError> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| ClusterError::new("failed to read random numbers", e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
