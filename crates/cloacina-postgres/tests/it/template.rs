//! Schedules that all tenants have, in the control schema.

use cloacina_testing::rollout;

use crate::support::{connect, fresh_database};

#[tokio::test]
async fn a_rollout_is_one_process_s_at_a_time_and_goes_on_where_it_stopped() {
    let store = connect(&fresh_database().await).await;
    rollout::is_one_process_s_at_a_time_and_goes_on_where_it_stopped(&*store).await;
}
