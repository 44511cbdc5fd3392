//! What processes use, as Linux tells it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The unit of the times in `/proc`, the same on every architecture.
const TICKS_PER_SECOND: u64 = 100;
const PAGE: u64 = 4096;

/// The processor time that this process has used.
pub(crate) fn cpu() -> Result<Duration> {
    Ok(stat("self")?.own)
}

/// The processor time of a process, of the children that have ended, and of those that have not.
pub(crate) fn cpu_of_family(parent: u32) -> Result<Duration> {
    let parent_stat = stat(&parent.to_string())?;
    let mut total = parent_stat.own + parent_stat.children;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        // One that has just ended is counted with its parent the next time.
        if let Ok(child) = stat(pid)
            && child.parent == parent
        {
            total += child.own;
        }
    }
    Ok(total)
}

/// The memory of this process that is in RAM, in bytes.
pub(crate) fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm").context("failed to read /proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("/proc/self/statm has another form")?.parse()?;
    Ok(pages * PAGE)
}

struct Stat {
    parent: u32,
    own: Duration,
    children: Duration,
}

fn stat(pid: &str) -> Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    // The name, in parentheses, may itself hold spaces and parentheses.
    let (_, rest) = text.rsplit_once(") ").with_context(|| format!("{path} has another form"))?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |field: usize| -> Result<u64> {
        Ok(fields.get(field).with_context(|| format!("{path} is too short"))?.trim().parse()?)
    };
    let time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    Ok(Stat {
        parent: u32::try_from(number(1)?)?,
        own: time(number(11)? + number(12)?),
        children: time(number(13)? + number(14)?),
    })
}
