//! The memory store keeps the contract, and no case is left out.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use crate::{lists, records};
use backup_codes::MemoryRepository;
use backup_codes::conformance::{self, Harness, block_on};
use backup_codes::repository::CodeRepository;

struct Memory;

impl Harness for Memory {
    type Repository = MemoryRepository;
    fn fresh(&self, _: &str) -> MemoryRepository {
        MemoryRepository::new()
    }
    fn second_handle(&self, _: &str, first: &MemoryRepository) -> MemoryRepository {
        first.clone()
    }
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(future)
    }
}

mod memory {
    backup_codes::conformance_tests!(super::Memory);
    backup_codes::directory_conformance_tests!(super::Memory);
    backup_codes::settings_conformance_tests!(super::Memory);
}

#[test]
fn no_case_is_left_out() {
    let mut listed = [records::broken::CASES, lists::broken_lists::CASES].concat();
    let mut all = Vec::new();
    conformance::run_all(Memory, |case| all.push(case.to_owned()));
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all);
}

#[test]
fn each_trait_can_be_run_alone() {
    let mut names = Vec::new();
    conformance::run(Memory, |case| names.push(case.to_owned()));
    conformance::run_directory(Memory, |case| names.push(case.to_owned()));
    conformance::run_settings(Memory, |case| names.push(case.to_owned()));
    let mut all = Vec::new();
    conformance::run_all(Memory, |case| all.push(case.to_owned()));
    assert_eq!(names, all);
}

/// The trait is for one's own error types too.
#[test]
fn infallible_is_an_error_type() {
    fn error_of<R: CodeRepository<Error = Infallible>>(_: &R) {}
    error_of(&MemoryRepository::new());
    error_of(&&MemoryRepository::new());
    error_of(&Arc::new(MemoryRepository::new()));
}
