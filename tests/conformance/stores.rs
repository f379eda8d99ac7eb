//! The stores that the suite opens, names and closes.

use std::future::Future;
use std::sync::{Arc, Mutex};

use backup_codes::conformance::{self, Harness, block_on};

use crate::records::{Broken, Flaw, failure, locked};

/// Names of stores: those that were opened and are not closed, and all that were opened.
#[derive(Default)]
struct Names {
    open: Vec<String>,
    all: Vec<String>,
    handles: usize,
}

struct NamingHarness(Arc<Mutex<Names>>, Flaw);

impl Harness for NamingHarness {
    type Repository = Broken;
    fn fresh(&self, name: &str) -> Broken {
        let mut names = locked(&self.0);
        names.open.push(name.to_owned());
        names.all.push(name.to_owned());
        assert_eq!(names.open.len(), 1, "one store at a time");
        names.handles += 1;
        Broken::new(self.1)
    }
    fn second_handle(&self, name: &str, first: &Broken) -> Broken {
        let mut names = locked(&self.0);
        assert_eq!(names.open, [name], "of the store that is open");
        names.handles += 1;
        first.clone()
    }
    fn close(&self, name: &str, _: Broken, second: Option<Broken>) {
        let mut names = locked(&self.0);
        assert_eq!(names.open.pop().as_deref(), Some(name));
        names.handles -= 1 + usize::from(second.is_some());
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

#[test]
fn each_store_is_closed_at_the_end_of_its_case() {
    for flaw in [Flaw::None, Flaw::IgnoresAbsence] {
        let names = Arc::new(Mutex::new(Names::default()));
        let failed = failure(
            NamingHarness(Arc::clone(&names), flaw),
            conformance::one_of_two_racing_creations_wins,
        );
        assert_eq!(failed.is_some(), flaw != Flaw::None);
        let names = locked(&names);
        assert_eq!(
            (names.all.len(), names.open.len(), names.handles),
            (1, 0, 0)
        );
    }
}

#[test]
fn each_store_has_a_name_of_its_own() {
    let names = Arc::new(Mutex::new(Names::default()));
    for _ in 0..2 {
        conformance::run(NamingHarness(Arc::clone(&names), Flaw::None), |_| {});
    }
    let names = &locked(&names).all;
    assert_eq!(names.len(), 2 * (32 + 3 * 12));
    assert_eq!(
        names.iter().collect::<std::collections::HashSet<_>>().len(),
        names.len()
    );
    for name in names {
        let begins = name.starts_with("test_");
        let others = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            begins && name.chars().all(others) && name.len() <= 40,
            "{name}"
        );
    }
}
