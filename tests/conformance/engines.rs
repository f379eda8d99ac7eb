//! The default engine keeps the contract, and for every case a broken engine shows that it can fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use backup_codes::conformance::{self, run_engine};
use backup_codes::hash::{Cost, DefaultEngine, Engine, HashError, PoolSize};
use backup_codes::{HashParams, Hashing, Keyring};

mod default {
    backup_codes::engine_conformance_tests!(backup_codes::hash::DefaultEngine::new);
}

/// What is wrong with an engine.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    IgnoresTheSecret,
    CutsTheSecret,
    CutsTheMessage,
    ReversesTheSalt,
    RoundsTheMemory,
    StopsAfterThreePasses,
    IsArgon2i,
    IsVersion16,
    PanicsWithoutAMessage,
    IsWrongInLargeMemory,
    IsWrongForSomeSecrets,
    RepeatsTheTag,
    KeepsTheFirstSecret,
    NeverUsesLessMemory,
    IsWrongAfterAWipe,
    IsWrongBesideOthers,
    DoesNotWipe,
    DropsWithoutAWipe,
    ComputesNothing,
}

struct Broken {
    flaw: Flaw,
    engine: Option<DefaultEngine>,
    number: usize,
    /// The engine that computed last, of all that one function created.
    last: Arc<AtomicUsize>,
    secret: Option<Vec<u8>>,
    answered: Option<(Vec<u8>, [u8; 32])>,
    cost: Cost,
    is_wiped: bool,
}

impl Engine for Broken {
    fn evaluate(
        &mut self,
        cost: Cost,
        secret: &[u8],
        salt: &[u8; 16],
        message: &[u8],
        tag: &mut [u8; 32],
    ) -> Result<(), HashError> {
        let (mut cost, mut secret, mut salt, mut message) = (cost, secret, *salt, message);
        let cost_of = |kib, passes| Cost::new(kib, passes).unwrap();
        let first = self.secret.get_or_insert_with(|| secret.to_vec());
        let (kib, passes) = (cost.memory_kib(), cost.passes());
        let mut wrong = false;
        match self.flaw {
            Flaw::IgnoresTheSecret => secret = &[],
            Flaw::CutsTheSecret => secret = &secret[..secret.len().min(64)],
            Flaw::CutsTheMessage => message = &message[..message.len().min(512)],
            Flaw::ReversesTheSalt => salt.reverse(),
            Flaw::RoundsTheMemory => cost = cost_of(kib / 4 * 4, passes),
            Flaw::StopsAfterThreePasses => cost = cost_of(kib, passes.min(3)),
            Flaw::PanicsWithoutAMessage => assert!(!message.is_empty(), "planted"),
            Flaw::IsWrongInLargeMemory => wrong = kib > 10 * 1024,
            Flaw::IsWrongForSomeSecrets => wrong = (33..1024).contains(&secret.len()),
            Flaw::KeepsTheFirstSecret => secret = first,
            Flaw::NeverUsesLessMemory => {
                cost = cost_of(kib.max(self.cost.memory_kib()), passes);
                self.cost = cost;
            }
            Flaw::IsWrongAfterAWipe => wrong = std::mem::take(&mut self.is_wiped),
            Flaw::IsWrongBesideOthers => {
                let last = self.last.swap(self.number, Ordering::Relaxed);
                wrong = last != 0 && last != self.number;
            }
            Flaw::ComputesNothing => return Ok(()),
            _ => {}
        }
        match self.flaw {
            Flaw::IsArgon2i => plain(
                Algorithm::Argon2i,
                Version::V0x13,
                cost,
                message,
                &salt,
                tag,
            ),
            Flaw::IsVersion16 => plain(
                Algorithm::Argon2id,
                Version::V0x10,
                cost,
                message,
                &salt,
                tag,
            ),
            _ => {
                let engine = self.engine.get_or_insert_default();
                engine.evaluate(cost, secret, &salt, message, tag)?;
            }
        }
        match &self.answered {
            Some((answered, before)) if self.flaw == Flaw::RepeatsTheTag && answered == message => {
                *tag = *before;
            }
            _ => self.answered = Some((message.to_vec(), *tag)),
        }
        tag[0] ^= u8::from(wrong);
        Ok(())
    }

    fn wipe(&mut self) {
        self.is_wiped = true;
        if let (Some(engine), true) = (&mut self.engine, self.flaw != Flaw::DoesNotWipe) {
            engine.wipe();
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if self.flaw == Flaw::DropsWithoutAWipe {
            std::mem::forget(self.engine.take());
        }
    }
}

fn broken(flaw: Flaw) -> impl Fn() -> Broken {
    let (created, last) = (AtomicUsize::new(1), Arc::new(AtomicUsize::new(0)));
    move || Broken {
        flaw,
        engine: None,
        number: created.fetch_add(1, Ordering::Relaxed),
        last: Arc::clone(&last),
        secret: None,
        answered: None,
        cost: Cost::LEAST,
        is_wiped: false,
    }
}

/// Computes a tag without a secret, with the algorithm and version given.
fn plain(
    algorithm: Algorithm,
    version: Version,
    cost: Cost,
    message: &[u8],
    salt: &[u8],
    tag: &mut [u8; 32],
) {
    let params = Params::new(cost.memory_kib(), cost.passes(), 1, Some(32)).unwrap();
    let argon2 = Argon2::new(algorithm, version, params);
    argon2.hash_password_into(message, salt, tag).unwrap();
}

fn passes(case: fn(&dyn Fn() -> Broken), flaw: Flaw) -> bool {
    catch_unwind(AssertUnwindSafe(|| case(&broken(flaw)))).is_ok()
}

macro_rules! cases_that_see {
    ($($(#[$attribute:meta])* $case:ident: $($flaw:ident)*;)*) => {
        pub(super) const CASES: &[&str] = &[$(stringify!($case)),*];
        $(
            #[test]
            $(#[$attribute])*
            fn $case() {
                for flaw in [$(Flaw::$flaw),*] {
                    let passes = passes(|engine| conformance::$case(engine), flaw);
                    assert!(!passes, "{flaw:?} is not seen");
                }
            }
        )*
    };
}

mod broken_engines {
    use super::{Flaw, conformance, passes};

    cases_that_see! {
        tags_are_those_of_the_reference:
            IgnoresTheSecret CutsTheSecret CutsTheMessage ReversesTheSalt RoundsTheMemory
            StopsAfterThreePasses IsArgon2i IsVersion16 PanicsWithoutAMessage;
        tags_of_real_costs_are_those_of_the_reference: IsWrongInLargeMemory;
        tags_of_random_inputs_are_those_of_the_default_engine: IsWrongForSomeSecrets;
        a_tag_does_not_depend_on_earlier_evaluations:
            RepeatsTheTag KeepsTheFirstSecret NeverUsesLessMemory IsWrongAfterAWipe;
        engines_do_not_disturb_each_other: IsWrongBesideOthers;
        #[cfg_attr(not(target_os = "linux"), ignore = "the case is skipped")]
        a_wiped_engine_leaves_no_matrix: DoesNotWipe ComputesNothing;
        #[cfg_attr(not(target_os = "linux"), ignore = "the case is skipped")]
        a_dropped_engine_leaves_no_matrix: DropsWithoutAWipe;
    }
}

#[test]
fn no_case_about_an_engine_is_left_out() {
    let mut all = Vec::new();
    run_engine(DefaultEngine::new, |case| all.push(case.to_owned()));
    assert_eq!(broken_engines::CASES, all);
}

#[test]
fn no_pool_starts_with_a_broken_engine() {
    let params = || HashParams::new(Keyring::without_pepper()).unwrap();
    let size = PoolSize::new(2, 8).unwrap();
    for (flaw, said) in [
        (
            Flaw::IgnoresTheSecret,
            "a wrong tag for m=9 KiB, t=1, a secret of 32 bytes",
        ),
        (
            Flaw::RoundsTheMemory,
            "a wrong tag for m=9 KiB, t=1, a secret of 0 bytes",
        ),
        (
            Flaw::PanicsWithoutAMessage,
            "a panic for m=9 KiB, t=1, a secret of 0 bytes and a message of 0",
        ),
        (
            Flaw::IsWrongInLargeMemory,
            "a wrong tag for m=19456 KiB, t=2, a secret of 32 bytes",
        ),
        // Of two workers the second.
        (Flaw::IsWrongBesideOthers, "a wrong tag for m=9 KiB"),
    ] {
        let Err(HashError::Engine(why)) = Hashing::pool_with_engine(params(), size, broken(flaw))
        else {
            panic!("a pool started with {flaw:?}");
        };
        assert!(why.starts_with(said), "{flaw:?}: {why}");
        if flaw != Flaw::IsWrongBesideOthers {
            let inline = Hashing::inline_with_engine(params(), broken(flaw)());
            assert!(matches!(inline, Err(HashError::Engine(same)) if same == why));
        }
    }
}
