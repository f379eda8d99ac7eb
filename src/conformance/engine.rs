//! Cases about an [`Engine`].

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand_core::TryRng;
use zeroize::Zeroize;

use crate::hash::engine::{KnownAnswer, known_answers};
use crate::hash::{Cost, DefaultEngine, Engine};

/// Clause 1: at 8 and 9 KiB the tags are those of the reference implementation.
pub fn tags_are_those_of_the_reference<E: Engine>(engine: impl Fn() -> E) {
    compare_with_reference(&mut engine(), |answer| answer.memory_kib() <= 9);
}

/// Clause 1: at the memory of each minimum cost, too.
pub fn tags_of_real_costs_are_those_of_the_reference<E: Engine>(engine: impl Fn() -> E) {
    compare_with_reference(&mut engine(), |answer| answer.memory_kib() > 9);
}

fn compare_with_reference(engine: &mut dyn Engine, selected: impl Fn(&KnownAnswer) -> bool) {
    for answer in known_answers().filter(selected) {
        if let Err(error) = answer.check(engine) {
            panic!("clause 1: {error}");
        }
    }
}

/// The inputs of one evaluation.
#[derive(Debug, Clone)]
struct Inputs {
    cost: Cost,
    secret: Vec<u8>,
    salt: [u8; 16],
    message: Vec<u8>,
}

impl Inputs {
    /// Draws 8 to 103 KiB, 1 to 4 passes, no secret or one of 32 to 1024 bytes, 0 to 600 bytes.
    fn random() -> Self {
        let mut bytes = [0; 2048];
        getrandom::SysRng.try_fill_bytes(&mut bytes).unwrap();
        let (numbers, bytes) = bytes.split_at(16);
        let number = |at: usize| u16::from_le_bytes([numbers[at], numbers[at + 1]]);
        let (secret, bytes) = bytes.split_at(1024);
        let (salt, message) = bytes.split_at(16);
        let secret_len = match number(0) % 4 {
            0 => 0,
            _ => 32 + usize::from(number(2)) % 993,
        };
        Self {
            cost: Cost::new(8 + u32::from(number(4) % 96), 1 + u32::from(number(6) % 4)).unwrap(),
            secret: secret[..secret_len].to_vec(),
            salt: salt.try_into().unwrap(),
            message: message[..usize::from(number(8)) % 601].to_vec(),
        }
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
            Err(error) => panic!("clause 4: {error}: {self:?}"),
        }
    }

    fn expected(&self) -> [u8; 32] {
        self.tag(&mut DefaultEngine::new())
    }
}

/// Clause 1: a thousand random inputs give the tags of the default engine.
pub fn tags_of_random_inputs_are_those_of_the_default_engine<E: Engine>(engine: impl Fn() -> E) {
    let mut engine = engine();
    for _ in 0..1000 {
        let inputs = Inputs::random();
        let equal = inputs.tag(&mut engine) == inputs.expected();
        assert!(equal, "clause 1: another tag for {inputs:?}");
    }
}

/// Clause 2: a tag is the same after evaluations of other inputs and after a wipe.
///
/// Each input differs in one argument from the one before it.
pub fn a_tag_does_not_depend_on_earlier_evaluations<E: Engine>(engine: impl Fn() -> E) {
    let first = Inputs {
        cost: Cost::new(64, 2).unwrap(),
        ..Inputs::random()
    };
    let other = |change: fn(&mut Inputs)| {
        let mut inputs = first.clone();
        change(&mut inputs);
        inputs
    };
    let all = [
        first.clone(),
        other(|inputs| inputs.cost = Cost::new(512, 2).unwrap()),
        other(|inputs| inputs.cost = Cost::LEAST),
        other(|inputs| inputs.cost = Cost::new(64, 3).unwrap()),
        other(|inputs| inputs.secret = vec![7; 32]),
        other(|inputs| inputs.secret = Vec::new()),
        other(|inputs| inputs.salt[15] ^= 1),
        other(|inputs| inputs.message.push(1)),
        other(|inputs| inputs.message.clear()),
    ];
    let all = all.map(|inputs| (inputs.expected(), inputs));
    let mut engine = engine();
    for round in 0..2 {
        for other in &all {
            for (expected, inputs) in [other, &all[0], other] {
                let equal = inputs.tag(&mut engine) == *expected;
                assert!(
                    equal,
                    "clause 2: another tag in a later evaluation of {inputs:?}"
                );
                if round == 1 {
                    engine.wipe();
                }
            }
        }
    }
}

/// Clause 2: engines on four threads do not disturb each other.
pub fn engines_do_not_disturb_each_other<E: Engine>(engine: impl Fn() -> E) {
    thread::scope(|scope| {
        for mut engine in [engine(), engine(), engine(), engine()] {
            scope.spawn(move || {
                for _ in 0..100 {
                    let inputs = Inputs::random();
                    let equal = inputs.tag(&mut engine) == inputs.expected();
                    assert!(
                        equal,
                        "clause 2: another tag beside other engines: {inputs:?}"
                    );
                }
            });
        }
    });
}

/// Clause 3: a wiped engine leaves no block of its matrix in the memory of the process.
///
/// See [`a_dropped_engine_leaves_no_matrix`].
pub fn a_wiped_engine_leaves_no_matrix<E: Engine>(engine: impl Fn() -> E) {
    leaves_no_matrix(engine(), |mut engine| {
        engine.wipe();
        Some(engine)
    });
}

/// Clause 3: a dropped engine leaves no block of its matrix in the memory of the process.
///
/// The case searches the memory of its own process for the words of the blocks. It first shows that
/// it can find them while an evaluation is running, so an engine that computes elsewhere, or in
/// another layout than 64-bit words, fails the case and has to show the wipe in another way. It
/// works on Linux alone; elsewhere it prints that it was skipped.
pub fn a_dropped_engine_leaves_no_matrix<E: Engine>(engine: impl Fn() -> E) {
    leaves_no_matrix(engine(), |engine| {
        drop(engine);
        None
    });
}

fn leaves_no_matrix<E: Engine>(engine: E, end: impl FnOnce(E) -> Option<E>) {
    let inputs = Inputs {
        cost: Cost::new(16_384, 1).unwrap(),
        ..Inputs::random()
    };
    let matrix = Matrix::of(&inputs);
    if matrix.words_in_memory().is_none() {
        eprintln!("skipped: this system does not let a process read its own memory as a file");
        return;
    }
    let (mut engine, found) = (engine, AtomicBool::new(false));
    thread::scope(|scope| {
        let evaluating = scope.spawn(|| {
            while !found.load(Ordering::Relaxed) {
                let _ = inputs.tag(&mut engine);
            }
        });
        // A search may meet an engine that has just wiped its memory, but not twenty times.
        let is_found = || matrix.words_in_memory() != Some(0);
        let seen = (0..20).any(|_| evaluating.is_finished() || is_found());
        found.store(true, Ordering::Relaxed);
        assert!(
            seen,
            "the matrix was not found in memory, so this case cannot show that it is wiped"
        );
    });
    let engine = end(engine);
    let left = matrix.words_in_memory();
    assert_eq!(left, Some(0), "clause 3: words of the matrix are left");
    drop(engine);
}

/// The words of the first half of a matrix, inverted, so that a search does not find them here.
///
/// The second half is left out: a compression function may keep its last blocks on the stack, which
/// no engine can wipe.
struct Matrix(HashSet<u64>);

impl Matrix {
    fn of(inputs: &Inputs) -> Self {
        let mut engine = DefaultEngine::new();
        let _ = inputs.tag(&mut engine);
        let blocks = engine.blocks();
        let half = blocks[..blocks.len() / 2].iter().step_by(16);
        Self(half.copied().flatten().map(|word| !word).collect())
    }

    /// Returns how many words of the process's memory are of this matrix, if it can be read.
    #[cfg(target_os = "linux")]
    fn words_in_memory(&self) -> Option<usize> {
        use std::os::unix::fs::FileExt;

        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        let memory = std::fs::File::open("/proc/self/mem").ok()?;
        let mut chunk = vec![0; 1 << 20];
        let mut found = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some((start, end)), Some(rights)) = (words.next()?.split_once('-'), words.next())
            else {
                return None;
            };
            if !rights.starts_with("rw") {
                continue;
            }
            let end = u64::from_str_radix(end, 16).ok()?;
            let mut at = u64::from_str_radix(start, 16).ok()?;
            while at < end {
                let wanted =
                    usize::try_from(end - at).map_or(chunk.len(), |left| left.min(chunk.len()));
                // A mapping may have ended since, or be one that nobody can read.
                let Ok(read @ 1..) = memory.read_at(&mut chunk[..wanted], at) else {
                    break;
                };
                let words = chunk[..read].chunks_exact(8);
                found += words
                    .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
                    .filter(|word| *word != 0 && self.0.contains(&!word))
                    .count();
                at += read as u64;
            }
        }
        chunk.zeroize();
        Some(found)
    }

    #[cfg(not(target_os = "linux"))]
    fn words_in_memory(&self) -> Option<usize> {
        None
    }
}
