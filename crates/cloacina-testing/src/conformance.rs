//! The behaviour that every [`Store`] must show.
//!
//! A crate with a store implements [`Fixture`] and writes one line into its integration tests:
//!
//! ```text
//! cloacina_testing::store_conformance!(MyFixture::new());
//! ```
//!
//! That makes one test of each behaviour, named as the function that states it. Every behaviour works in a
//! database of its own, passes every time explicitly and waits for nothing but the store. The list of
//! behaviours is in [`store_conformance`](crate::store_conformance) alone, so that a new one holds for every
//! store at once.

#![expect(missing_docs, reason = "a behaviour's name is its documentation")]

pub mod audit;
pub mod bell;
pub mod children;
pub mod claim;
pub mod close;
pub mod control;
pub mod deadline;
pub mod dependency;
pub mod expand;
pub mod key;
pub mod outcome;
pub mod place;
mod process;
pub mod random;
pub mod read;
pub mod rerun;
pub mod runner;
pub mod schedule;
pub mod submit;
pub mod wait;
pub mod workflow;

use std::sync::Arc;

use async_trait::async_trait;
use cloacina_core::store::{PlaceName, Store};

/// Where the databases of the behaviours come from.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// An empty database. It lives as long as this value; what dropping it does not remove, the fixture does.
    type Database: Send + Sync + 'static;

    /// Makes a database of its own.
    async fn create(&self) -> Self::Database;

    /// A store on this database, as another process would have it. Called several times for one database.
    async fn open(&self, database: &Self::Database) -> Arc<dyn Store>;

    /// The names of the places that a database can hold, different ones. A store that supports several names
    /// at least two; most behaviours use the first.
    fn places(&self) -> Vec<PlaceName> {
        vec![PlaceName::Default]
    }
}

/// One `#[tokio::test]` for each behaviour of [`conformance`](mod@crate::conformance), against the
/// [`Fixture`] that the expression makes anew for each. With a list of behaviours after the expression, only
/// these: `Fixture; claim { a_claimed_task_runs }`.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::store_conformance! { @tests $fixture;
            submit {
                a_submit_records_the_execution_and_its_tasks
                roots_are_claimed_with_the_submit_or_ready
                many_executions_are_recorded_in_one_flush
                an_unclaimed_root_rings_the_bell
                a_start_time_holds_the_roots_back
                an_idempotency_key_records_one_execution
                an_idempotency_key_counts_within_one_flush
                a_refused_idempotency_key_claims_nothing
                an_idempotency_key_belongs_to_its_workflow
                a_repeated_submit_changes_nothing
                an_idempotency_key_is_won_by_one_process
                an_empty_flush_does_nothing
            }
            outcome {
                an_outcome_is_recorded_once
                an_outcome_of_another_attempt_is_news
                an_outcome_of_another_runner_is_news
                an_outcome_of_a_task_that_is_not_running_is_news
                news_does_not_spoil_the_rest_of_a_batch
                a_failure_keeps_its_error
                a_skip_keeps_its_reason_and_is_no_attempt
                a_retry_is_ready_at_its_time
                a_snooze_is_no_failure
                what_a_running_task_keeps_is_there_for_its_next_attempt
                pages_that_a_task_emits_are_those_of_its_last_attempt
                pages_go_with_their_execution
                a_release_is_no_failure
                a_thousand_outcomes_fit_into_one_flush
                lanes_work_side_by_side
            }
            dependency {
                a_wanted_successor_is_claimed
                a_successor_that_is_not_wanted_is_ready_and_rings_the_bell
                two_dependencies_may_end_in_one_flush
                two_dependencies_may_end_in_two_flushes
                dependencies_that_end_at_once_in_two_processes_free_their_successor
                a_diamond_is_walked
                a_fan_out_is_walked_and_fans_in
                whatever_is_over_counts_down
                executions_do_not_touch_each_other
            }
            close {
                an_execution_whose_tasks_completed_is_completed
                who_submitted_an_execution_is_told_of_its_end
                a_failure_starts_the_workflow_that_is_named_for_it_once
                the_failure_of_a_rerun_starts_what_that_of_the_execution_before_it_did
                an_unhandled_failure_fails_the_execution
                a_handled_failure_does_not_fail_the_execution
                one_failure_left_unhandled_is_enough
                news_handles_nothing
                an_execution_whose_tasks_were_skipped_is_completed
                a_flush_may_close_many_executions
            }
            control {
                pause_takes_the_ready_rows_and_resume_puts_them_back
                a_pending_execution_is_pending_again_after_a_pause
                a_pause_does_not_bring_a_start_time_forward
                a_task_that_ends_in_a_paused_execution_frees_without_ready_rows
                a_task_given_back_in_a_paused_execution_waits_for_the_resume
                a_paused_execution_is_closed_by_its_resume
                an_orphan_is_paused_with_its_reason_until_it_is_resumed
                work_that_nobody_claims_for_long_is_overdue
                cancel_ends_an_execution_from_every_state
                cancel_leaves_what_is_over
                a_terminal_execution_stays_as_it_is
                what_cannot_be_done_is_refused
                an_outcome_after_a_cancel_is_news
                cancel_and_pause_leave_a_notice
                a_notice_does_not_stay_for_ever
                a_cancel_and_a_last_outcome_do_not_both_win
                a_pause_and_a_freed_task_leave_no_ready_row
            }
            deadline {
                a_deadline_that_passed_cancels
                a_deadline_rings_the_bell
                a_claim_says_whether_the_execution_may_have_due_rows
                an_execution_that_is_over_has_no_deadline
                ten_thousand_deadlines_of_one_moment_pass_in_batches
                two_processes_take_each_due_row_once
                a_kind_that_is_not_known_stays_and_rings
                a_deadline_of_an_execution_that_is_over_or_gone_is_nothing
            }
            children {
                a_node_that_waits_for_children_is_looked_at_when_it_begins
                a_child_that_ends_has_its_parent_looked_at
                what_children_came_to_is_counted_once
                a_parent_whose_code_nobody_has_is_not_due_until_it_comes
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
                a_signal_starts_what_is_not_there_in_one_commit
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
                waits_whose_code_nobody_has_are_not_due_until_it_comes
                due_waits_are_read_page_by_page
                two_processes_settle_each_wait_once
                a_signal_and_a_time_that_meet_have_one_winner
                how_nodes_ended_is_told
                due_waits_are_told_with_other_kinds
            }
            expand {
                an_execution_that_was_submitted_by_name_gets_its_tasks_and_runs
                only_what_is_due_and_of_a_known_name_is_expanded
                an_execution_without_tasks_is_not_over
                an_execution_without_tasks_is_cancelled_with_its_ready_row
                several_processes_expand_each_execution_once
            }
            schedule {
                a_schedule_is_written_listed_changed_and_deleted
                a_schedule_that_is_due_starts_what_was_decided
                a_key_starts_one_execution
                what_meets_its_key_is_over
                the_end_of_an_execution_brings_its_schedule
                an_execution_that_is_replaced_is_cancelled
                several_processes_take_each_schedule_once
                a_change_waits_for_one_that_is_under_way
                what_came_of_a_time_is_kept_and_the_newest_thousand_at_least
                a_due_row_of_no_schedule_is_taken_away
            }
            claim {
                a_claim_takes_exactly_its_limit
                a_claimed_task_runs
                only_the_first_claim_of_an_execution_brings_its_input
                the_higher_priority_is_claimed_first_then_the_earlier_due
                a_claim_takes_only_what_it_names
                foreign_work_does_not_hide_ours
                work_of_the_future_is_not_claimed
                claims_of_several_runners_are_disjoint
            }
            runner {
                a_runner_is_listed_as_it_registered
                a_heartbeat_counts_up_and_announces
                a_runner_that_beat_is_not_condemned
                a_condemned_runner_writes_nothing
                a_registration_that_is_repeated_changes_nothing
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
            read {
                contexts_are_kept_byte_for_byte
                an_execution_is_told_as_it_is
                executions_that_are_not_there_are_left_out
                more_context_than_an_execution_may_have_is_not_read
                many_tasks_are_read_in_their_order
                a_listing_is_newest_first_and_pages_without_gap_or_repeat
                a_listing_is_filtered_by_what_is_set
                executions_of_the_engines_own_workflows_are_listed_and_counted_if_that_is_asked_for
                attempts_are_told_in_order
                attempts_of_nothing_are_told_apart_from_no_attempts
                prune_removes_what_ended_long_ago
                prune_keeps_to_its_limit
                texts_are_kept_as_they_are
                times_are_kept_to_the_microsecond
                what_was_written_is_there_after_a_restart
                executions_that_are_not_over_are_counted_up_to_a_limit
            }
            rerun {
                a_rerun_has_what_was_copied_and_runs_the_rest
                a_task_that_its_rule_skipped_is_copied_as_skipped
                a_rerun_by_name_waits_for_whoever_knows_what_it_copies
                a_wait_that_nothing_is_before_but_copies_is_reached_at_once
                only_what_is_over_is_rerun_and_once
                a_rerun_that_is_repeated_changes_nothing
                of_two_reruns_at_once_one_wins
                a_rerun_and_a_prune_do_not_both_win
                a_signal_to_what_was_rerun_is_told_as_what
                what_is_superseded_is_listed_or_left_out
                an_execution_has_its_tags_and_is_found_by_each
                many_are_recorded_at_once_and_what_met_its_key_is_told
            }
            place {
                a_place_opened_twice_is_the_same
                a_fresh_place_opened_at_once_by_several_is_one
                one_flush_may_write_in_several_places
                an_error_in_one_place_aborts_the_flush
                places_do_not_see_each_other
                the_place_of_a_tenant_is_found_without_its_name
                a_tenant_of_whom_nothing_was_decided_may_work_without_limits
            }
            key {
                a_key_is_kept_as_it_is_and_found_by_every_process
                a_key_is_for_a_tenant_that_there_is
                a_session_goes_with_its_key
                a_session_is_made_from_a_good_key_of_its_tenant
                what_is_expired_lets_nobody_in
                keys_are_listed_page_by_page_without_sessions
                the_use_of_keys_is_noted_once_a_minute
                sessions_that_are_not_good_any_more_are_pruned
            }
            audit {
                what_is_done_by_name_is_noted_if_it_is_done
                the_audit_is_listed_page_by_page_and_chained
            }
            workflow {
                a_workflow_is_described_once_and_listed_with_its_versions
                a_workflow_that_is_too_large_is_known_without_a_description
            }
            random {
                every_execution_ends_as_its_model_says
            }
        }
    };
    ($fixture:expr; $($list:tt)*) => {
        $crate::store_conformance! { @tests $fixture; $($list)* }
    };
    (@tests $fixture:expr; $($noun:ident { $($behaviour:ident)* })*) => {
        $crate::store_conformance! { @nouns [$fixture] $([$noun $($behaviour)*])* }
    };
    (@nouns [$fixture:expr] $([$noun:ident $($behaviour:ident)*])*) => {
        $($crate::store_conformance! { @noun [$fixture] $noun $($behaviour)* })*
    };
    (@noun [$fixture:expr] $noun:ident $($behaviour:ident)*) => {
        mod $noun {
            #[allow(unused_imports, reason = "the fixture's expression may name what is in scope outside")]
            use super::*;

            $(
                #[::tokio::test(flavor = "multi_thread")]
                async fn $behaviour() {
                    let fixture = $fixture;
                    $crate::conformance::$noun::$behaviour(&fixture).await;
                }
            )*
        }
    };
}
