//! How many files the process may have open.

/// How many descriptors have to be free for a file to be opened.
#[cfg(unix)]
const NEEDED: usize = 4;

/// The process's limit of open files; `None` if there is none, or it cannot be told.
pub(crate) fn limit() -> Option<usize> {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }
    #[cfg(not(unix))]
    None
}

/// Whether the process has too few descriptors left to open a file. SQLite does not say so.
pub(crate) fn are_descriptors_short() -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let probes: Vec<_> = (0..NEEDED).map(|_| std::fs::File::open("/dev/null")).collect();
        let short = [Errno::MFILE.raw_os_error(), Errno::NFILE.raw_os_error()];
        let failed = probes.iter().filter_map(|probe| probe.as_ref().err()?.raw_os_error());
        failed.into_iter().any(|errno| short.contains(&errno))
    }
    #[cfg(not(unix))]
    false
}
