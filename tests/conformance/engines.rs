//! The default engine keeps the contract, and for every case a broken engine shows that it can fail.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use backup_codes::conformance::{self, run_engine};
use backup_codes::hash::{Cost, DefaultEngine, Engine, HashError, PoolSize};
use backup_codes::{HashParams, Hashing, Keyring, Pepper};
use zeroize::Zeroize;

mod default {
    backup_codes::engine_conformance_tests!(backup_codes::hash::DefaultEngine::new);
}

/// The flaw of a broken engine.
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
    FailsAtFourPasses,
    IsWrongInLargeMemory,
    IsWrongInHugeMemory,
    IsWrongAtTwoMib,
    IsWrongForSomeSecrets,
    RepeatsTheTag,
    KeepsTheFirstSecret,
    NeverUsesLessMemory,
    IsWrongAfterAWipe,
    IsWrongBesideOthers,
    IsWrongDuringOthers,
    PanicsInTheWipe,
    DoesNotWipe,
    WipesHalf,
    WipesTheLastCostOnly,
    GrowsWithoutAWipe,
    DropsWithoutAWipe,
    ComputesNothing,
}

struct Broken {
    flaw: Flaw,
    blocks: Vec<Block>,
    /// The number of blocks that the last evaluation used.
    used: usize,
    number: usize,
    /// The number of the engine that computed last, of all that one function created.
    last: Arc<AtomicUsize>,
    /// The number of evaluations that run now, of all those engines.
    running: Arc<AtomicUsize>,
    secret: Option<Vec<u8>>,
    answered: Option<(Vec<u8>, [u8; 32])>,
    is_wiped: bool,
}

impl Broken {
    /// Computes a tag. A flaw changes the inputs before, or the tag after.
    fn compute(&mut self, cost: Cost, secret: &[u8], salt: &[u8], message: &[u8]) -> [u8; 32] {
        let algorithm = match self.flaw {
            Flaw::IsArgon2i => Algorithm::Argon2i,
            _ => Algorithm::Argon2id,
        };
        let version = match self.flaw {
            Flaw::IsVersion16 => Version::V0x10,
            _ => Version::V0x13,
        };
        let params = Params::new(cost.memory_kib(), cost.passes(), 1, Some(32)).unwrap();
        let argon2 = match secret {
            [] => Argon2::new(algorithm, version, params),
            secret => Argon2::new_with_secret(secret, algorithm, version, params).unwrap(),
        };
        self.used = cost.memory_kib() as usize;
        if self.blocks.len() < self.used {
            let mut before = mem::replace(&mut self.blocks, vec![Block::new(); self.used]);
            match self.flaw {
                Flaw::GrowsWithoutAWipe => mem::forget(before),
                _ => wipe(&mut before),
            }
        }
        let (mut tag, blocks) = ([0; 32], &mut self.blocks[..self.used]);
        let computed = argon2.hash_password_into_with_memory(message, salt, &mut tag, blocks);
        computed.unwrap();
        tag
    }
}

fn wipe(blocks: &mut [Block]) {
    for block in blocks {
        block.as_mut().zeroize();
    }
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
        let (kib, passes) = (cost.memory_kib(), cost.passes());
        let cost_of = |kib, passes| Cost::new(kib, passes).unwrap();
        let first = self.secret.get_or_insert_with(|| secret.to_vec()).clone();
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
            Flaw::IsWrongInHugeMemory => wrong = kib > 100 * 1024,
            Flaw::IsWrongAtTwoMib => wrong = (1024..4097).contains(&kib),
            Flaw::IsWrongForSomeSecrets => wrong = (33..1024).contains(&secret.len()),
            Flaw::KeepsTheFirstSecret => secret = &first,
            Flaw::NeverUsesLessMemory => {
                cost = cost_of(kib.max(u32::try_from(self.used).unwrap()), passes);
            }
            Flaw::IsWrongAfterAWipe => wrong = mem::take(&mut self.is_wiped),
            Flaw::IsWrongBesideOthers => {
                let last = self.last.swap(self.number, Ordering::Relaxed);
                wrong = last != 0 && last != self.number;
            }
            Flaw::IsWrongDuringOthers => {
                self.running.fetch_add(1, Ordering::SeqCst);
                let is_beside = || self.running.load(Ordering::SeqCst) > 1;
                wrong = (0..100_000).any(|_| {
                    std::thread::yield_now();
                    is_beside()
                });
                self.running.fetch_sub(1, Ordering::SeqCst);
            }
            Flaw::FailsAtFourPasses if passes == 4 => return Err(HashError::Memory),
            Flaw::ComputesNothing => return Ok(()),
            _ => {}
        }
        *tag = self.compute(cost, secret, &salt, message);
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
        assert!(self.flaw != Flaw::PanicsInTheWipe, "planted");
        let wiped = match self.flaw {
            Flaw::DoesNotWipe => 0,
            Flaw::WipesHalf => self.blocks.len() / 2,
            Flaw::WipesTheLastCostOnly => self.used,
            _ => self.blocks.len(),
        };
        wipe(&mut self.blocks[..wiped]);
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        match self.flaw {
            Flaw::DropsWithoutAWipe => mem::forget(mem::take(&mut self.blocks)),
            _ => wipe(&mut self.blocks),
        }
    }
}

fn broken(flaw: Flaw) -> impl Fn() -> Broken {
    let (created, last) = (AtomicUsize::new(1), Arc::new(AtomicUsize::new(0)));
    let running = Arc::new(AtomicUsize::new(0));
    move || Broken {
        flaw,
        blocks: Vec::new(),
        used: 0,
        number: created.fetch_add(1, Ordering::Relaxed),
        last: Arc::clone(&last),
        running: Arc::clone(&running),
        secret: None,
        answered: None,
        is_wiped: false,
    }
}

/// Returns the message of a case that fails.
fn failure(case: fn(&dyn Fn() -> Broken), flaw: Flaw) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| case(&broken(flaw)))).err()?;
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Some(
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default(),
    )
}

macro_rules! cases_that_see {
    ($($(#[$attribute:meta])* $case:ident: $($flaw:ident)*;)*) => {
        pub(super) const CASES: &[&str] = &[$(stringify!($case)),*];
        $(
            #[test]
            $(#[$attribute])*
            fn $case() {
                for flaw in [$(Flaw::$flaw),*] {
                    let said = failure(|engine| conformance::$case(engine), flaw).unwrap();
                    assert!(said.contains("clause"), "{flaw:?}: {said}");
                }
            }
        )*
    };
}

mod broken_engines {
    use super::{Flaw, conformance, failure};

    cases_that_see! {
        tags_are_those_of_the_reference:
            IgnoresTheSecret CutsTheSecret CutsTheMessage ReversesTheSalt RoundsTheMemory
            StopsAfterThreePasses IsArgon2i IsVersion16 PanicsWithoutAMessage FailsAtFourPasses;
        tags_of_real_costs_are_those_of_the_reference: IsWrongInLargeMemory IsWrongInHugeMemory;
        tags_of_random_inputs_are_those_of_the_default_engine:
            IsWrongForSomeSecrets IsWrongAtTwoMib;
        a_tag_does_not_depend_on_earlier_evaluations:
            RepeatsTheTag KeepsTheFirstSecret NeverUsesLessMemory IsWrongAfterAWipe;
        engines_do_not_disturb_each_other: IsWrongBesideOthers IsWrongDuringOthers;
        #[cfg_attr(not(target_os = "linux"), ignore = "the case is skipped")]
        a_wiped_engine_leaves_no_matrix:
            DoesNotWipe WipesHalf WipesTheLastCostOnly GrowsWithoutAWipe ComputesNothing;
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
fn no_hashing_starts_with_a_broken_engine() {
    let params = || HashParams::new(Keyring::without_pepper()).unwrap();
    let peppered = || {
        let pepper = Pepper::new([7; 64]).unwrap();
        HashParams::new(Keyring::new("a".parse().unwrap(), pepper)).unwrap()
    };
    let costly = || {
        params()
            .with_cost(Cost::new(128 * 1024, 1).unwrap())
            .unwrap()
    };
    let size = PoolSize::new(2, 8).unwrap();
    for (flaw, params, said) in [
        (
            Flaw::IgnoresTheSecret,
            params(),
            "computed a wrong tag for m=9 KiB, t=1, a secret of 32 bytes",
        ),
        (
            Flaw::RoundsTheMemory,
            params(),
            "computed a wrong tag for m=9 KiB, t=1, a secret of 0 bytes",
        ),
        (
            Flaw::PanicsWithoutAMessage,
            params(),
            "panicked for m=9 KiB, t=1, a secret of 0 bytes and a message of 0",
        ),
        (
            Flaw::IsWrongInLargeMemory,
            params(),
            "computed a wrong tag for m=19456 KiB, t=2, a secret of 32 bytes",
        ),
        (
            Flaw::IsWrongInHugeMemory,
            costly(),
            "computed a wrong tag for m=131072 KiB, t=1",
        ),
        (
            Flaw::IsWrongForSomeSecrets,
            peppered(),
            "computed a wrong check value of the key a",
        ),
        (Flaw::PanicsInTheWipe, params(), "panicked in its wipe"),
        // The second of two workers.
        (
            Flaw::IsWrongBesideOthers,
            params(),
            "computed a wrong tag for m=9 KiB",
        ),
    ] {
        let error = Hashing::pool_with_engine(params, size, broken(flaw)).unwrap_err();
        assert!(
            matches!(&error, HashError::Engine(why) if why.starts_with(said)),
            "{error}"
        );
    }
    for (flaw, params) in [
        (Flaw::IgnoresTheSecret, params()),
        (Flaw::IsWrongInHugeMemory, costly()),
    ] {
        let inline = Hashing::inline_with_engine(params, broken(flaw)());
        assert!(matches!(inline, Err(HashError::Engine(_))), "{flaw:?}");
    }
}

/// An application chooses its engine by a setting.
#[test]
fn a_boxed_engine_is_an_engine() {
    let params = HashParams::new(Keyring::without_pepper()).unwrap();
    let chosen = || -> Box<dyn Engine> { Box::new(DefaultEngine::new()) };
    let size = PoolSize::new(2, 8).unwrap();
    assert!(Hashing::pool_with_engine(params, size, chosen).is_ok());
}
