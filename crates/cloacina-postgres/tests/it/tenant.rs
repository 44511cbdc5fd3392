//! The store as a tenant's own login has it, alone and beside an operator's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cloacina_core::store::{PlaceName, Store, TenantLimits};
use cloacina_postgres::admin::{Database, DatabaseAdmin, TenantConfig};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::conformance::Fixture;

use crate::support;

/// A database with one tenant: the operator's URL, the tenant's, and how many stores were opened.
pub(crate) struct Tenant {
    pub(crate) operator: String,
    pub(crate) own: String,
    opened: AtomicUsize,
}

impl Tenant {
    pub(crate) async fn new() -> Self {
        let operator = support::fresh_database().await;
        Cluster::shared().unwrap().make_administrator(&operator).await.unwrap();
        let name = operator.rsplit('/').next().unwrap();
        let admin = DatabaseAdmin::new(Database::new(&operator, name, 1));
        let config = TenantConfig {
            schema_name: "acme".to_owned(),
            username: format!("{name}_acme"),
            password: String::new(),
        };
        let own = admin.create_tenant(config).await.unwrap().connection_string;
        // Some behaviours are those of many processes.
        let mut limits = TenantLimits::default();
        limits.max_connections = Some(100);
        admin.set_limits("acme", limits).await.unwrap();
        Self { operator, own, opened: AtomicUsize::new(0) }
    }
}

fn places() -> Vec<PlaceName> {
    vec![PlaceName::Named("acme".to_owned())]
}

/// Every process is the tenant's own.
struct Alone;

#[async_trait]
impl Fixture for Alone {
    type Database = Tenant;

    async fn create(&self) -> Tenant {
        Tenant::new().await
    }

    async fn open(&self, database: &Tenant) -> Arc<dyn Store> {
        support::connect(&database.own).await
    }

    fn places(&self) -> Vec<PlaceName> {
        places()
    }
}

/// Every other process is the operator's.
struct Beside {
    /// Which of two processes is: the first one or the second.
    operator: usize,
}

#[async_trait]
impl Fixture for Beside {
    type Database = Tenant;

    async fn create(&self) -> Tenant {
        Tenant::new().await
    }

    async fn open(&self, database: &Tenant) -> Arc<dyn Store> {
        let nth = database.opened.fetch_add(1, Ordering::Relaxed);
        let url = if nth % 2 == self.operator { &database.operator } else { &database.own };
        support::connect(url).await
    }

    fn places(&self) -> Vec<PlaceName> {
        places()
    }
}

/// What a tenant's login says in another way than an operator's: bells, notices, runners.
mod alone {
    use super::Alone;
    cloacina_testing::store_conformance! { Alone;
        submit {
            a_submit_records_the_execution_and_its_tasks
            an_unclaimed_root_rings_the_bell
            a_start_time_holds_the_roots_back
        }
        workflow {
            a_workflow_is_described_once_and_listed_with_its_versions
            a_workflow_that_is_too_large_is_known_without_a_description
        }
        audit {
            what_is_done_by_name_is_noted_if_it_is_done
        }
        outcome {
            a_retry_is_ready_at_its_time
            a_release_is_no_failure
            what_a_running_task_keeps_is_there_for_its_next_attempt
            pages_that_a_task_emits_are_those_of_its_last_attempt
            pages_go_with_their_execution
        }
        dependency {
            a_successor_that_is_not_wanted_is_ready_and_rings_the_bell
        }
        control {
            pause_takes_the_ready_rows_and_resume_puts_them_back
            cancel_ends_an_execution_from_every_state
            cancel_and_pause_leave_a_notice
        }
        deadline {
            a_deadline_that_passed_cancels
            a_deadline_rings_the_bell
            a_claim_says_whether_the_execution_may_have_due_rows
            two_processes_take_each_due_row_once
            a_kind_that_is_not_known_stays_and_rings
            a_deadline_of_an_execution_that_is_over_or_gone_is_nothing
        }
        children {
            a_node_that_waits_for_children_is_looked_at_when_it_begins
            a_child_that_ends_has_its_parent_looked_at
            what_children_came_to_is_counted_once
            a_parent_that_is_over_starts_no_child
            a_paused_parent_counts_ends_and_starts_nothing
            what_is_left_to_be_started_is_looked_at_again
            the_open_children_of_an_execution_that_is_over_are_swept
            a_sweep_goes_down_to_the_last_generation
            a_node_whose_time_is_over_has_its_own_children_swept
            children_are_left_out_where_executions_are_listed
            a_tree_is_deleted_when_its_root_has_ended_and_nothing_in_it_is_open
            ends_and_cancels_in_a_tree_come_in_any_order_without_a_deadlock
        }
        wait {
            a_wait_is_due_when_it_is_reached_and_then_when_its_time_is_over
            a_wait_alone_begins_its_execution_and_ends_it
            a_wait_that_is_skipped_or_fails_ends_as_a_task_does
            signals_are_taken_in_their_order_and_once
            a_signal_has_the_wait_looked_at_at_once
            a_signal_is_addressed_by_a_key_and_has_one
            the_time_of_a_wait_can_be_moved
            a_signal_that_is_there_is_taken_however_long_the_wait_may_last
            an_execution_that_began_and_ended_while_it_was_paused_is_over_when_it_is_resumed
            a_wait_begins_once_and_ends_once
            whatever_comes_in_which_order_a_wait_has_one_end
            a_paused_execution_takes_ends_of_waits_and_starts_nothing
            an_execution_that_has_nothing_left_but_waits_is_waiting
            a_wait_waits_for_the_start_of_its_execution
            a_wait_of_an_unknown_version_is_left_to_others
            due_waits_are_read_page_by_page
            two_processes_settle_each_wait_once
            a_signal_and_a_time_that_meet_have_one_winner
            how_nodes_ended_is_told
            due_waits_are_told_with_other_kinds
        }
        claim {
            a_claim_takes_exactly_its_limit
            claims_of_several_runners_are_disjoint
        }
        runner {
            a_runner_is_listed_as_it_registered
            a_heartbeat_counts_up_and_announces
            a_runner_that_beat_is_not_condemned
            a_condemned_runner_writes_nothing
            a_runner_that_never_registered_is_fenced
            a_rescue_returns_tasks_as_lost
            a_rescue_may_be_repeated_and_removes_the_runner
            two_rescues_at_once_return_each_task_once
            a_rescue_respects_pause_and_cancel
            a_live_runner_is_not_rescued
            a_runner_that_holds_nothing_retires
            a_runner_that_holds_something_retires_as_dead
            what_a_runner_holds_is_told
            a_flush_and_a_condemnation_do_not_both_win
        }
        bell {
            a_place_without_work_has_a_silent_bell
            lowering_tells_the_earliest_work_and_deadline
            a_lowered_bell_is_silent_until_the_next_ring
            a_later_ring_does_not_put_off_an_earlier_one
            the_bell_rings_for_work_that_nobody_here_can_run
            claimed_work_does_not_ring
            a_ring_is_not_lost_to_a_lowering
            many_ring_at_once
        }
        place {
            a_place_opened_twice_is_the_same
            a_fresh_place_opened_at_once_by_several_is_one
        }
        random {
            every_execution_ends_as_its_model_says
        }
    }
}

/// What several processes do to one another. Two things are different by design: a tenant's process is not
/// told where an operator's runs, and of a flush and a declaration of death between the two, neither waits
/// for the other.
macro_rules! side_by_side {
    ($($fixture:ident: $operator:literal)*) => {
        $(mod $fixture {
            use super::Beside;
            cloacina_testing::store_conformance! { Beside { operator: $operator };
                submit {
                    an_idempotency_key_is_won_by_one_process
                    a_submit_records_the_execution_and_its_tasks
                }
                outcome {
                    an_outcome_of_another_runner_is_news
                }
                dependency {
                    dependencies_that_end_at_once_in_two_processes_free_their_successor
                }
                control {
                    cancel_and_pause_leave_a_notice
                    a_cancel_and_a_last_outcome_do_not_both_win
                    a_pause_and_a_freed_task_leave_no_ready_row
                }
                claim {
                    claims_of_several_runners_are_disjoint
                }
                runner {
                    a_runner_that_beat_is_not_condemned
                    a_rescue_returns_tasks_as_lost
                    two_rescues_at_once_return_each_task_once
                    a_rescue_respects_pause_and_cancel
                    a_live_runner_is_not_rescued
                    a_runner_that_holds_something_retires_as_dead
                    what_a_runner_holds_is_told
                }
                bell {
                    lowering_tells_the_earliest_work_and_deadline
                    a_ring_is_not_lost_to_a_lowering
                    many_ring_at_once
                }
                read {
                    what_was_written_is_there_after_a_restart
                }
                random {
                    every_execution_ends_as_its_model_says
                }
            }
        })*
    };
}

side_by_side! {
    operator_first: 0
    tenant_first: 1
}
