//! The contracts of the storage traits and of [`Engine`] as tests, one case for each promise.
//!
//! Implement [`Harness`] for your repository and let the macros create named tests of the cases:
//! [`conformance_tests!`](crate::conformance_tests) for a [`CodeRepository`],
//! [`directory_conformance_tests!`](crate::directory_conformance_tests) for one that is a
//! [`Directory`] too, [`settings_conformance_tests!`](crate::settings_conformance_tests) for one
//! that is a [`SettingsStore`] too.
//!
//! ```
//! use std::future::Future;
//! use backup_codes::MemoryRepository;
//! use backup_codes::conformance::{Harness, block_on};
//!
//! struct Memory;
//!
//! impl Harness for Memory {
//!     type Repository = MemoryRepository;
//!     fn fresh(&self, _name: &str) -> MemoryRepository {
//!         MemoryRepository::new()
//!     }
//!     fn second_handle(&self, _name: &str, first: &MemoryRepository) -> MemoryRepository {
//!         first.clone()
//!     }
//!     fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
//!         block_on(future)
//!     }
//! }
//!
//! mod memory {
//!     backup_codes::conformance_tests!(super::Memory);
//!     backup_codes::directory_conformance_tests!(super::Memory);
//!     backup_codes::settings_conformance_tests!(super::Memory);
//! }
//! # fn main() {}
//! ```
//!
//! [`engine_conformance_tests!`](crate::engine_conformance_tests) does it for an [`Engine`], given a
//! function that creates one:
//!
//! ```
//! mod engine {
//!     backup_codes::engine_conformance_tests!(backup_codes::hash::DefaultEngine::new);
//! }
//! # fn main() {}
//! ```
//!
//! A program that is not a test calls [`run`], [`run_directory`] and [`run_settings`], or
//! [`run_all`] for a repository that implements all three traits, and [`run_engine`].
//!
//! A case panics with the clause it tests when the repository or the engine breaks that clause. A case
//! about a repository runs on a thread of its own, and panics too when a call does not end within
//! [`Harness::limit`]; a case about an engine runs on the caller's thread, without a time limit.
//!
//! # What no case can show
//! - That an applied write survives a crash (clause 4), and that the repository uses no clock of
//!   its own (clause 7, except for events and sets dated far away).
//! - That an error is reported correctly as
//!   [`PutError::NotApplied`](crate::repository::PutError::NotApplied) or
//!   [`PutError::Unknown`](crate::repository::PutError::Unknown), and that the repository's own
//!   time limit holds: no case makes the repository fail. Test these with failures of your own
//!   database.
//! - That an engine wipes the last 64 blocks of a matrix, of which copies may be on the stack.
//! - That an engine keeps no copy of a message or a secret (clause 3), that a lack of memory is an
//!   error (clause 4), and that no branch and no address depends on a secret (clause 5).
//! - A gap between two parts of a write that is much shorter than a read takes, such as that
//!   between two locks of one mutex. Two statements of a database leave one that is long enough.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "cases of a test suite"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "every case panics where its clause is broken"
)]

mod directory;
mod drops;
mod engine;
mod events;
mod faulty;
mod fixtures;
mod observer;
mod records;
mod settings;
mod watch;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

pub use self::directory::*;
pub use self::drops::*;
pub use self::engine::*;
pub use self::events::*;
pub use self::faulty::{Fault, Faulty, FaultyError};
pub use self::observer::{
    a_row_shows_with_its_record, a_save_shows_with_its_events, a_write_shows_with_its_events,
};
pub use self::records::*;
pub use self::settings::*;
use self::watch::run_shared;
pub use self::watch::{Case, run_case};
use crate::hash::Engine;
use crate::repository::{CodeRepository, Directory, SettingsStore};

/// A repository under test, and the functions that open it.
///
/// # Calls
/// A case runs on one thread of its own. On that thread it calls [`fresh`](Self::fresh) once; the
/// cases that drop a write or an acknowledgement call it twelve times, one repository after the
/// other. For each repository it calls [`second_handle`](Self::second_handle) at most once, and
/// [`close`](Self::close) once at the end. So a case has one repository open at a time, with at
/// most two handles.
///
/// [`block_on`](Self::block_on) is called from the case's thread and from up to eight more threads
/// at once, half of them with calls of the one handle and half with calls of the other: eight calls
/// at a time, each of which needs one connection. A pool with fewer connections is enough if a call
/// waits for one. The macros create a test of each case, and tests run in parallel, as many as the
/// machine has processors by default.
pub trait Harness: Send + Sync + 'static {
    /// The repository, with all the traits that are tested.
    type Repository: CodeRepository;

    /// Opens an empty repository.
    ///
    /// No other repository has this name: neither of this run nor of another one on the same
    /// database. The name can be that of a file or a schema, or a prefix of tables: `test_`, then
    /// lower-case ASCII letters, digits and `_`, at most 40 characters in all.
    fn fresh(&self, name: &str) -> Self::Repository;

    /// Opens another handle of the repository with this name, as a second node does: with
    /// connections of its own. It has all the traits, as the first handle does.
    fn second_handle(&self, name: &str, first: &Self::Repository) -> Self::Repository;

    /// Closes the handles of the repository with this name, which is not used afterwards: remove it
    /// here. Called when the case has failed, too, but not when a call of the case never ended.
    /// Drops the handles by default.
    fn close(&self, name: &str, first: Self::Repository, second: Option<Self::Repository>) {
        let _ = (name, first, second);
    }

    /// Runs a future to its end on this thread. [`block_on`] does this for repositories that need
    /// no runtime.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// Returns the time within which each call of the repository, and of this harness, has to end:
    /// 30 seconds by default. A call that lasts longer, by up to a tenth more, fails its case.
    fn limit(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Runs a future to its end on this thread, parking it while it waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Creates a named test of each case for a [`CodeRepository`](crate::repository::CodeRepository),
/// given a [`Harness`](crate::conformance::Harness) value.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@records tests $harness);
    };
    (@records $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            absent_user_has_no_record,
            put_then_load_gives_the_same_bytes,
            records_are_kept_as_they_are_written,
            large_records_are_kept_whole,
            put_needs_the_expected_state,
            remove_needs_the_expected_revision,
            revisions_are_compared_whole,
            a_put_of_the_same_text_is_a_write,
            a_late_write_misses_a_record_made_again,
            a_write_leaves_other_users_alone,
            keys_are_compared_byte_for_byte,
            every_key_byte_is_kept,
            one_of_two_racing_creations_wins,
            one_of_many_racing_updates_wins,
            one_of_a_racing_removal_and_updates_wins,
            no_update_is_lost_in_a_race,
            writes_to_different_users_are_all_applied,
            latest_sees_the_other_handle,
            any_is_never_torn,
            a_write_shows_with_its_events,
            events_come_with_their_write,
            every_kind_of_event_comes_unchanged,
            events_of_a_conflict_are_not_kept,
            events_stay_until_acknowledged,
            acknowledging_is_idempotent,
            acknowledging_takes_only_what_it_names,
            no_event_is_lost_while_others_are_acknowledged,
            events_are_the_same_through_both_handles,
            events_outlive_their_record,
            every_event_comes_page_by_page,
            the_list_of_events_holds_what_its_limit_lets_in,
            a_dropped_put_is_whole_or_nothing,
            a_dropped_remove_is_whole_or_nothing,
            a_dropped_acknowledge_takes_only_its_own,
            a_dropped_read_changes_nothing,
        );
    };
    (@directory $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            pages_equal_the_plain_rule,
            usage_equals_the_plain_rule,
            schemes_equal_the_plain_rule,
            no_user_is_left_out_of_many,
            a_row_shows_with_its_record,
        );
    };
    (@settings $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            settings_come_back_as_they_were_saved,
            saving_settings_needs_the_expected_state,
            one_of_many_racing_saves_wins,
            settings_events_come_with_their_save,
            a_save_shows_with_its_events,
            a_dropped_save_is_whole_or_nothing,
        );
    };
    (@engine $mode:ident $($argument:tt)+) => {
        $crate::conformance_tests!(@$mode $($argument)+;
            tags_are_those_of_the_reference,
            tags_of_real_costs_are_those_of_the_reference,
            tags_of_random_inputs_are_those_of_the_default_engine,
            a_tag_does_not_depend_on_earlier_evaluations,
            engines_do_not_disturb_each_other,
            a_wiped_engine_leaves_no_matrix,
            a_dropped_engine_leaves_no_matrix,
        );
    };
    (@engine_tests $engine:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case($engine);
            }
        )*
    };
    (@engine_run $engine:ident $passed:ident; $($case:ident,)*) => {
        $(
            $crate::conformance::$case(&$engine);
            $passed(stringify!($case));
        )*
    };
    (@tests $harness:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::run_case(
                    $harness,
                    stringify!($case),
                    $crate::conformance::$case,
                );
            }
        )*
    };
    (@run $harness:ident $passed:ident; $($case:ident,)*) => {
        $(
            $crate::conformance::run_shared(&$harness, stringify!($case), $crate::conformance::$case);
            $passed(stringify!($case));
        )*
    };
}

/// Creates a named test of each case about a [`Directory`](crate::repository::Directory).
#[macro_export]
macro_rules! directory_conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@directory tests $harness);
    };
}

/// Creates a named test of each case about a [`SettingsStore`](crate::repository::SettingsStore).
#[macro_export]
macro_rules! settings_conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@settings tests $harness);
    };
}

/// Creates a named test of each case about an [`Engine`](crate::hash::Engine), given a function that
/// creates one.
#[macro_export]
macro_rules! engine_conformance_tests {
    ($engine:expr) => {
        $crate::conformance_tests!(@engine engine_tests $engine);
    };
}

/// Runs every case about a [`CodeRepository`], in a program that is not a test, and calls `passed`
/// with the name of each case that has passed.
pub fn run<H: Harness>(harness: H, mut passed: impl FnMut(&str)) {
    let harness = Arc::new(harness);
    conformance_tests!(@records run harness passed);
}

/// Runs every case about a [`Directory`], and calls `passed` with the name of each that has passed.
pub fn run_directory<H: Harness>(harness: H, mut passed: impl FnMut(&str))
where
    H::Repository: Directory,
{
    let harness = Arc::new(harness);
    conformance_tests!(@directory run harness passed);
}

/// Runs every case about a [`SettingsStore`], and calls `passed` with the name of each that has
/// passed.
pub fn run_settings<H: Harness>(harness: H, mut passed: impl FnMut(&str))
where
    H::Repository: SettingsStore,
{
    let harness = Arc::new(harness);
    conformance_tests!(@settings run harness passed);
}

/// Runs every case, for a repository that implements all three traits, and calls `passed` with the
/// name of each that has passed.
pub fn run_all<H: Harness>(harness: H, mut passed: impl FnMut(&str))
where
    H::Repository: Directory + SettingsStore,
{
    let harness = Arc::new(harness);
    conformance_tests!(@records run harness passed);
    conformance_tests!(@directory run harness passed);
    conformance_tests!(@settings run harness passed);
}

/// Runs every case about an [`Engine`], given a function that creates one, and calls `passed` with
/// the name of each case that has passed.
pub fn run_engine<E: Engine>(engine: impl Fn() -> E, mut passed: impl FnMut(&str)) {
    conformance_tests!(@engine engine_run engine passed);
}
