//! Fixtures that the test binaries share.

pub(crate) mod checksum;
pub(crate) mod contexts;
pub(crate) mod generator;
pub(crate) mod hashing;
pub(crate) mod moments;
pub(crate) mod operations;
pub(crate) mod people;
pub(crate) mod polling;
pub(crate) mod records;
pub(crate) mod sheets;
pub(crate) mod sinks;

// Each test binary compiles these files for itself and uses a part of them. What is named here is
// in use for the compiler, so a binary that does without it has no warning.
const _: () = {
    let _ = checksum::sum_again;
    let _ = (contexts::own, contexts::by_admin);
    let _ = (generator::Numbers::new, generator::Numbers::failing_after);
    let _ = (
        hashing::keyring,
        hashing::cheap,
        hashing::cheap_hasher,
        hashing::cheap_hashing,
    );
    let _ = (
        moments::START,
        moments::at,
        moments::start,
        moments::since_start,
    );
    let _ = (
        operations::config,
        operations::backup_codes::<backup_codes::MemoryRepository>,
    );
    let _ = (people::subject, people::alice, people::bob, people::admin);
    let _ = polling::give_way;
    let _ = (
        records::load,
        records::insert,
        records::rewrite::<fn(&str) -> String>,
    );
    let _ = (sheets::code, sheets::wrong);
    let _ = (sinks::Lossy::new, sinks::Lossy::events, sinks::Lossy::take);
};
