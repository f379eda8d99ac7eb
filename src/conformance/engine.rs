//! Cases about an [`Engine`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::thread;

use rand_core::TryRng;

use crate::hash::engine::{KnownAnswer, known_answers};
use crate::hash::{Cost, DefaultEngine, Engine};

/// Clause 1: at 8 and 9 KiB the tags are those of the reference implementation.
pub fn tags_are_those_of_the_reference<E: Engine>(engine: impl Fn() -> E) {
    compare_with_reference(&mut engine(), |answer| answer.memory_kib() <= 9);
}

/// Clause 1: at the memory of each minimum cost the tags are those of the reference implementation,
/// and at 128 MiB that of the default engine.
pub fn tags_of_real_costs_are_those_of_the_reference<E: Engine>(engine: impl Fn() -> E) {
    let mut engine = engine();
    compare_with_reference(&mut engine, |answer| answer.memory_kib() > 9);
    let inputs = Inputs::random(Cost::new(128 * 1024, 1).unwrap());
    inputs.compare(&mut engine, 1);
}

fn compare_with_reference(engine: &mut dyn Engine, selected: impl Fn(&KnownAnswer) -> bool) {
    for answer in known_answers().filter(selected) {
        if let Err(error) = answer.check(engine) {
            panic!("clauses 1 and 4: {error}");
        }
    }
}

/// The inputs of one evaluation.
#[derive(Clone)]
struct Inputs {
    cost: Cost,
    secret: Vec<u8>,
    salt: [u8; 16],
    message: Vec<u8>,
}

fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    getrandom::SysRng.try_fill_bytes(&mut bytes).unwrap();
    bytes
}

/// Draws a number below `bound`, which is at most 65 536.
fn below(bound: usize) -> usize {
    usize::from(u16::from_le_bytes(random())) % bound
}

impl Inputs {
    /// Draws no secret or one of 32 to 1024 bytes, a salt, and a message of 0 to 600 bytes.
    fn random(cost: Cost) -> Self {
        let (secret, message) = (random::<1024>(), random::<600>());
        let secret_len = [0, 32 + below(993)][below(4).min(1)];
        Self {
            cost,
            secret: secret[..secret_len].to_vec(),
            salt: random(),
            message: message[..below(601)].to_vec(),
        }
    }

    /// Draws 8 to 103 KiB and 1 to 4 passes too.
    fn random_and_small() -> Self {
        let kib = u32::try_from(8 + below(96)).unwrap();
        let passes = u32::try_from(1 + below(4)).unwrap();
        Self::random(Cost::new(kib, passes).unwrap())
    }

    fn tag(&self, engine: &mut dyn Engine) -> [u8; 32] {
        let mut tag = [0; 32];
        let Self {
            cost,
            secret,
            salt,
            message,
        } = self;
        match engine.evaluate(*cost, secret, salt, message, &mut tag) {
            Ok(()) => tag,
            Err(error) => panic!("clause 4: {error}: {self}"),
        }
    }

    fn expected(&self) -> [u8; 32] {
        self.tag(&mut DefaultEngine::new())
    }

    fn compare(&self, engine: &mut dyn Engine, clause: u8) {
        let equal = self.tag(engine) == self.expected();
        assert!(equal, "clause {clause}: a wrong tag for {self}");
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, t) = (self.cost.memory_kib(), self.cost.passes());
        let (secret, message) = (self.secret.len(), self.message.len());
        write!(
            f,
            "m={m} KiB, t={t}, a secret of {secret} bytes and a message of {message}"
        )
    }
}

/// Clause 1: a thousand random inputs of 8 to 103 KiB, and ten of 1 to 4 MiB, give the tags of the
/// default engine.
pub fn tags_of_random_inputs_are_those_of_the_default_engine<E: Engine>(engine: impl Fn() -> E) {
    let mut engine = engine();
    for _ in 0..1000 {
        Inputs::random_and_small().compare(&mut engine, 1);
    }
    for _ in 0..10 {
        let kib = u32::try_from(1024 + below(3073)).unwrap();
        Inputs::random(Cost::new(kib, 1).unwrap()).compare(&mut engine, 1);
    }
}

/// Clause 2: a tag is the same after evaluations of other inputs and after a wipe.
///
/// Each input differs from the first in one argument, and the first is evaluated between them.
pub fn a_tag_does_not_depend_on_earlier_evaluations<E: Engine>(engine: impl Fn() -> E) {
    let first = Inputs {
        cost: Cost::new(64, 2).unwrap(),
        secret: vec![5; 64],
        salt: [4; 16],
        message: vec![6; 80],
    };
    let other = |change: fn(&mut Inputs)| {
        let mut inputs = first.clone();
        change(&mut inputs);
        inputs
    };
    let all = [
        first.clone(),
        other(|inputs| inputs.cost = Cost::new(512, 2).unwrap()),
        other(|inputs| inputs.cost = Cost::new(8, 2).unwrap()),
        other(|inputs| inputs.cost = Cost::new(64, 3).unwrap()),
        other(|inputs| inputs.secret = vec![7; 32]),
        other(|inputs| inputs.secret = Vec::new()),
        other(|inputs| inputs.salt[15] ^= 1),
        other(|inputs| inputs.message.push(6)),
        other(|inputs| inputs.message.clear()),
    ];
    let mut engine = engine();
    for wipes in [false, true] {
        for other in &all {
            for inputs in [other, &first, other] {
                inputs.compare(&mut engine, 2);
                if wipes {
                    engine.wipe();
                }
            }
        }
    }
}

/// Clause 2: engines on four threads do not disturb each other.
pub fn engines_do_not_disturb_each_other<E: Engine>(engine: impl Fn() -> E) {
    let together = Barrier::new(4);
    thread::scope(|scope| {
        let engines = [engine(), engine(), engine(), engine()];
        let threads = engines.map(|mut engine| {
            let together = &together;
            scope.spawn(move || {
                let mut compare = || Inputs::random_and_small().compare(&mut engine, 2);
                let mut panic = None;
                for _ in 0..100 {
                    // A thread that has failed goes on waiting, or the others would wait for ever.
                    together.wait();
                    if panic.is_none() {
                        panic = catch_unwind(AssertUnwindSafe(&mut compare)).err();
                    }
                }
                if let Some(panic) = panic {
                    resume_unwind(panic);
                }
            })
        });
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// Clause 3: a wiped engine leaves no block of its matrices in memory.
///
/// See [`a_dropped_engine_leaves_no_matrix`].
pub fn a_wiped_engine_leaves_no_matrix<E: Engine>(engine: impl Fn() -> E) {
    leaves_no_matrix(engine(), |mut engine| {
        engine.wipe();
        Some(engine)
    });
}

/// Clause 3: a dropped engine leaves no block of its matrices in memory.
///
/// The case searches the writable memory of its process for the words of the blocks, after
/// evaluations at three costs. It first shows that it can find them while an evaluation is running,
/// so an engine that computes elsewhere, or in another layout than 64-bit words, fails the case and
/// has to show the wipe in another way. It leaves out the last 64 blocks of each matrix, because copies
/// of the last ones may be on the stack. It works on Linux alone: elsewhere it prints that it was
/// skipped, and counts as passed.
pub fn a_dropped_engine_leaves_no_matrix<E: Engine>(engine: impl Fn() -> E) {
    leaves_no_matrix(engine(), |engine| {
        drop(engine);
        None
    });
}

#[cfg(not(target_os = "linux"))]
fn leaves_no_matrix<E: Engine>(engine: E, end: impl FnOnce(E) -> Option<E>) {
    drop(end(engine));
    eprintln!("skipped: this case reads the memory of its process, which works on Linux alone");
}

#[cfg(target_os = "linux")]
fn leaves_no_matrix<E: Engine>(mut engine: E, end: impl FnOnce(E) -> Option<E>) {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};

    use self::matrices::Matrices;

    // A search copies memory, and with it the matrices of another case at the same time.
    static SEARCH: Mutex<()> = Mutex::new(());
    let _alone = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);

    let all = [4096, 16_384, 2048].map(|kib| Inputs::random(Cost::new(kib, 1).unwrap()));
    let matrices = Matrices::of(&all);
    let [small, large, smaller] = all;
    let _ = small.tag(&mut engine);
    /// Ends the evaluations, also when the search panics.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = Stop(&stop);
        let evaluating = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = large.tag(&mut engine);
            }
        });
        // A search may run just after a wipe, but not twenty times. It cannot find the matrix of an
        // engine that has panicked.
        let found = (0..20).any(|_| evaluating.is_finished() || matrices.words_in_memory() > 0);
        drop(stopping);
        if let Err(panic) = evaluating.join() {
            resume_unwind(panic);
        }
        assert!(
            found,
            "clause 3: the matrix was not found in memory, so this case cannot show that it is wiped"
        );
    });
    let _ = smaller.tag(&mut engine);
    let engine = end(engine);
    let left = matrices.words_in_memory();
    assert_eq!(left, 0, "clause 3: words of a matrix are left");
    drop(engine);
}

#[cfg(target_os = "linux")]
mod matrices {
    use std::collections::HashSet;
    use std::fs::{File, read_to_string};
    use std::os::unix::fs::FileExt;

    use zeroize::Zeroizing;

    use super::Inputs;
    use crate::hash::DefaultEngine;

    /// Every sixteenth word of every sixteenth block of some matrices, inverted, so that a search does
    /// not find them here.
    ///
    /// The last 64 blocks are left out: copies of the last ones may be on the stack, which an engine
    /// cannot wipe.
    pub(super) struct Matrices {
        words: HashSet<u64>,
        /// The low bits of these words: nearly every other word is passed over by them.
        low_bits: Vec<bool>,
    }

    const LOW_BITS: u64 = (1 << 20) - 1;

    impl Matrices {
        pub(super) fn of(all: &[Inputs]) -> Self {
            let (mut words, mut low_bits) = (HashSet::new(), vec![false; 1 << 20]);
            for inputs in all {
                let mut engine = DefaultEngine::new();
                let _ = inputs.tag(&mut engine);
                let blocks = engine.blocks();
                let blocks = blocks[..blocks.len() - 64].iter().step_by(16);
                for word in blocks.flat_map(|block| block.iter().step_by(16)) {
                    words.insert(!word);
                    low_bits[(word & LOW_BITS) as usize] = true;
                }
            }
            Self { words, low_bits }
        }

        /// Returns how many words of the process's writable memory are of these matrices.
        pub(super) fn words_in_memory(&self) -> usize {
            let maps = read_to_string("/proc/self/maps").expect("the process has a memory map");
            let memory = File::open("/proc/self/mem").expect("the process may read its memory");
            let mut chunk = Zeroizing::new(vec![0; 1 << 20]);
            let mut found = 0;
            for line in maps.lines() {
                let mut words = line.split(' ');
                let (range, rights) = (words.next().unwrap(), words.next().unwrap());
                let (start, end) = range.split_once('-').unwrap();
                let address = |digits| u64::from_str_radix(digits, 16).unwrap();
                let (mut at, end) = (address(start), address(end));
                while at < end && rights.starts_with("rw") {
                    let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                    let wanted = left.min(chunk.len());
                    // The mapping may have ended since, or be a device that cannot be read.
                    let Ok(read @ 1..) = memory.read_at(&mut chunk[..wanted], at) else {
                        break;
                    };
                    for word in chunk[..read].chunks_exact(8) {
                        let word = u64::from_ne_bytes(word.try_into().unwrap());
                        let may_be = self.low_bits[(word & LOW_BITS) as usize];
                        found += usize::from(may_be && self.words.contains(&!word));
                    }
                    at += read as u64;
                }
            }
            found
        }
    }
}
