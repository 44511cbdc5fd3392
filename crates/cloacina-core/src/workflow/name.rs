//! Names of workflows, their nodes, and signals.

/// The longest name, in bytes.
const MAX_NAME: usize = 200;

/// How names and keys begin that are the engine's own.
pub(crate) const RESERVED: &str = "cloacina/";

pub(crate) fn check_workflow_name(name: &str) -> Result<(), &'static str> {
    check_name(name)?;
    if name.starts_with(RESERVED) {
        return Err("begins with `cloacina/`, as only names of the engine do");
    }
    Ok(())
}

pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is empty");
    }
    if name.len() > MAX_NAME {
        return Err("is longer than 200 bytes");
    }
    if name.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    Ok(())
}
