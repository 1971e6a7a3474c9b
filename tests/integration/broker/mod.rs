//! What every engine promises, by one suite: the tests are the same functions for all of them, and those that hurt an
//! engine are for the engines that can be hurt.
//!
//! A [`ground::Ground`] is an engine of the test's own with nodes on it; each node's [`guest::Guest`] takes what the
//! engine delivers as rooms do, and notes it.

mod bus;
mod ground;
mod guest;
mod hurt;
mod lives;
mod losses;
mod order;
mod outages;
mod resume;
mod rosters;
mod slots;

/// Tests of these files, each on a ground of its own.
macro_rules! tests {
    ($ground:path: $($file:ident::{$($test:ident),+ $(,)?}),+ $(,)?) => {
        $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$file::$test($ground().await).await;
            }
        )+)+
    };
}

/// What all engines promise.
macro_rules! everywhere {
    ($ground:path) => {
        tests! {
            $ground:
            order::{
                many_publishers_leave_no_holes,
                what_is_published_again_with_the_same_key_is_stored_once,
                whoever_opens_meanwhile_misses_nothing,
                an_event_that_comes_while_a_log_opens_is_told_at_once,
                a_log_more_than_allowed_is_refused,
                bytes_are_counted_and_bounded_and_given_back,
            },
            resume::{
                a_log_is_read_from_whatever_is_kept_of_it,
                who_stood_where_no_log_was_reads_what_comes_first,
                who_stood_before_events_that_are_gone_is_told,
                a_users_log_is_told_from_where_it_was_looked_at,
            },
        }
    };
}

/// What engines promise that several nodes share, and that may be hurt meanwhile.
macro_rules! shared {
    ($ground:path) => {
        tests! {
            $ground:
            rosters::{
                members_of_whom_events_tell_are_seen_by_who_comes_later,
                changes_without_events_are_told_to_other_nodes,
                rosters_come_together_after_lost_connections,
                who_moves_to_another_node_does_not_leave,
            },
            losses::{
                a_log_goes_on_without_events_that_were_wiped,
                a_log_of_which_nothing_is_known_begins_anew,
                an_engine_that_forgot_everything_is_begun_anew_with,
                a_log_that_does_not_hang_together_begins_anew,
                a_forked_log_begins_anew_for_all,
                a_message_that_never_came_is_found_by_the_heads,
                a_fork_of_which_nothing_is_heard_is_found_by_the_heads,
                logs_that_are_closed_while_they_begin_anew_leave_no_bytes,
            },
            bus::{
                parcels_arrive_once_and_in_order,
                whispers_go_to_those_who_have_the_room,
            },
            lives::{
                a_node_that_is_gone_leaves_no_ghost,
                a_node_that_was_held_for_dead_goes_on_as_another,
                nobody_is_held_for_dead_because_the_engine_was_away,
                a_node_without_a_lease_is_no_ghost_for_ever,
            },
            outages::{
                followers_that_lose_their_connections_miss_nothing,
                nodes_that_lose_all_connections_miss_nothing,
                a_server_that_comes_back_goes_on_where_it_was,
                a_server_that_hangs_is_told_of_in_time_and_stores_nothing_twice,
            },
        }
    };
}

mod memory {
    everywhere!(super::ground::Ground::memory);
}

mod redis {
    everywhere!(super::ground::Ground::redis);
    shared!(super::ground::Ground::redis);
}

mod cluster {
    everywhere!(super::ground::Ground::cluster);
    shared!(super::ground::Ground::cluster);
    tests!(super::ground::Ground::cluster: slots::{
        a_log_whose_slot_moves_goes_on_without_loss, a_room_whose_slot_has_moved_is_opened
    });
}
