//! Which work in the background fails again and again.

use crate::streak::Streak;

/// That of a whole database.
#[derive(Debug)]
pub(crate) struct Troubles {
    pub(crate) commits: Streak,
    pub(crate) heartbeat: Streak,
    pub(crate) runners: Streak,
    pub(crate) rescue: Streak,
    pub(crate) bells: Streak,
    pub(crate) announced: Streak,
    pub(crate) registering: Streak,
    pub(crate) resting: Streak,
    pub(crate) describing: Streak,
    pub(crate) sealing: Streak,
    pub(crate) retention: Streak,
}

/// That in the place of one tenant.
#[derive(Debug)]
pub(crate) struct PlaceTroubles {
    pub(crate) elsewhere: Streak,
    pub(crate) orphans: Streak,
    pub(crate) resuming: Streak,
    pub(crate) repair: Streak,
    pub(crate) pruning: Streak,
    pub(crate) lowering: Streak,
    pub(crate) settling: Streak,
    pub(crate) expanding: Streak,
    pub(crate) status: Streak,
    pub(crate) audit: Streak,
    pub(crate) loading: Streak,
    pub(crate) counting: Streak,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            commits: Streak::new(
                "commit",
                "what tasks did is kept in memory and written as soon as it can be; new executions wait",
            ),
            heartbeat: Streak::new(
                "renew the lease",
                "if that goes on for the whole lease, other runners take this one's tasks back",
            ),
            runners: Streak::new(
                "look at the other runners",
                "nobody's work is taken back until that succeeds",
            ),
            rescue: Streak::new(
                "take back the work of a runner that died",
                "its tasks wait until that succeeds",
            ),
            bells: Streak::new(
                "look at the doorbell",
                "work that other processes submit, and what operators decide, is not learned of",
            ),
            announced: Streak::new(
                "look at what the runners can run",
                "executions that nobody has the code of are neither told nor paused",
            ),
            registering: Streak::new("register as a runner", "no task is started here until that succeeds"),
            resting: Streak::new("go to rest", "the file stays open"),
            sealing: Streak::new(
                "seal the audit",
                "what was noted since can be changed unseen until that succeeds",
            ),
            retention: Streak::new(
                "look for what has been kept for long enough",
                "finished executions are kept for longer than was asked for",
            ),
            describing: Streak::new(
                "record what workflows look like",
                "processes without their code cannot draw them until that succeeds",
            ),
        }
    }
}

impl Default for PlaceTroubles {
    fn default() -> Self {
        Self {
            elsewhere: Streak::new(
                "ask for executions that run elsewhere",
                "whoever waits for one of them waits until that succeeds",
            ),
            orphans: Streak::new(
                "look for executions without code",
                "executions that nobody has the code of are neither told nor paused",
            ),
            resuming: Streak::new(
                "resume executions whose code is here again",
                "they stay paused until that succeeds",
            ),
            repair: Streak::new(
                "look for what has to be mended",
                "tasks of runners that are not known wait until that succeeds",
            ),
            pruning: Streak::new("prune finished executions", "they are kept for longer than was asked for"),
            lowering: Streak::new(
                "lower the bell",
                "the place is looked at once a second until that succeeds",
            ),
            settling: Streak::new(
                "do what is due",
                "executions whose deadline has passed go on, and schedules do not fire, until that succeeds",
            ),
            expanding: Streak::new(
                "expand executions that were submitted by name",
                "they wait until that succeeds",
            ),
            status: Streak::new(
                "read what was decided about this tenant",
                "what was known before holds until that succeeds",
            ),
            audit: Streak::new(
                "compare held tasks with the database",
                "what is in doubt stays so until that succeeds",
            ),
            loading: Streak::new("read claimed executions", "their tasks wait until that succeeds"),
            counting: Streak::new(
                "count the executions that are not over",
                "how many more are let in goes by an old count",
            ),
        }
    }
}
