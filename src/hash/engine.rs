//! The evaluation of Argon2id: the trait for implementations, and the self-test of one.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::machine::HashError;
use crate::hash::cost::Cost;
use crate::hash::stored::{SALT_LEN, TAG_LEN};

/// An implementation of Argon2id, with the memory that it keeps between evaluations.
///
/// [`DefaultEngine`](crate::hash::DefaultEngine) is built in. The package
/// `backup-codes-argon2-simd` has one that takes about half the time with AVX-512, on a younger
/// crate. [`Hashing::pool_with_engine`](crate::hash::Hashing::pool_with_engine) takes any, one for
/// each worker. Nothing that is stored depends on the engine, so it can be changed at every start.
///
/// # Contract
/// 1. **The tag is that of RFC 9106**: Argon2id, version 0x13, one lane, no associated data; for
///    every [`Cost`], for no secret (an empty slice) or one of 32 to 1024 bytes, and for messages of
///    0 to 600 bytes; the messages of this crate are shorter.
/// 2. **An evaluation depends on its arguments alone**: not on earlier ones of this engine, at
///    whatever cost, nor on those of other engines at the same time.
/// 3. **After [`wipe`](Self::wipe), and after a drop, the memory that the engine keeps or frees holds
///    no block that Argon2id computed, and no copy of a message or a secret.** Copies on the stack
///    are excepted. An engine may wipe earlier.
/// 4. **The only error is [`HashError::Memory`]**, and nothing panics. After an error the engine
///    still works.
/// 5. **No branch depends on a byte of the message or the secret, and no address does** except where
///    Argon2id specifies it (RFC 9106, section 3.4.1.3).
///
/// `conformance::run_engine` and `engine_conformance_tests!`, with the feature `conformance`, test
/// clauses 1 and 2, and clause 3 for the blocks.
///
/// ```
/// use backup_codes::hash::{Cost, DefaultEngine, Engine, HashError, self_test};
///
/// /// The default engine, counting.
/// #[derive(Default)]
/// struct Counting {
///     engine: DefaultEngine,
///     evaluations: u64,
/// }
///
/// impl Engine for Counting {
///     fn evaluate(
///         &mut self,
///         cost: Cost,
///         secret: &[u8],
///         salt: &[u8; 16],
///         message: &[u8],
///         tag: &mut [u8; 32],
///     ) -> Result<(), HashError> {
///         self.evaluations += 1;
///         self.engine.evaluate(cost, secret, salt, message, tag)
///     }
///
///     fn wipe(&mut self) {
///         self.engine.wipe();
///     }
/// }
///
/// let mut counting = Counting::default();
/// self_test(&mut counting)?;
/// assert!(counting.evaluations > 0);
/// # Ok::<(), HashError>(())
/// ```
pub trait Engine: Send + 'static {
    /// Computes one tag. The tag is meaningful only when `Ok` is returned.
    ///
    /// # Errors
    /// [`HashError::Memory`] when there is no memory for the evaluation.
    fn evaluate(
        &mut self,
        cost: Cost,
        secret: &[u8],
        salt: &[u8; SALT_LEN],
        message: &[u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), HashError>;

    /// Overwrites what evaluations left in memory; the memory itself may be kept.
    ///
    /// A pool calls it once the answer is out, so that no caller waits for it. Hashing on the calling
    /// thread calls it before it returns.
    fn wipe(&mut self);
}

impl<E: Engine + ?Sized> Engine for Box<E> {
    fn evaluate(
        &mut self,
        cost: Cost,
        secret: &[u8],
        salt: &[u8; SALT_LEN],
        message: &[u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), HashError> {
        (**self).evaluate(cost, secret, salt, message, tag)
    }

    fn wipe(&mut self) {
        (**self).wipe();
    }
}

/// Checks that an engine computes 25 known tags, one of them at [`Cost::MIB_19`], and wipes it.
///
/// [`Hashing`](crate::hash::Hashing) does this before it starts. Call it yourself for an engine that you pass to
/// [`hash`](crate::hash::hash()) and [`verify`](crate::hash::verify()). The tags are those of the
/// reference implementation (`libargon2`).
///
/// # Errors
/// [`HashError::Engine`] when a tag is wrong or the engine panics, [`HashError::Memory`] when there
/// is no memory for an evaluation.
pub fn self_test(engine: &mut dyn Engine) -> Result<(), HashError> {
    quick_self_test(engine)?;
    check(engine, |answer| {
        answer.cost == Cost::MIB_19 && answer.secret_len == 32
    })
}

/// Checks 24 known tags at 9 KiB.
pub(crate) fn quick_self_test(engine: &mut dyn Engine) -> Result<(), HashError> {
    check(engine, |answer| {
        answer.cost.memory_kib() == 9 && matches!(answer.message_len, 0 | 600)
    })
}

/// Checks the known answers that are selected, and wipes the engine.
fn check(
    engine: &mut dyn Engine,
    selected: impl Fn(&KnownAnswer) -> bool,
) -> Result<(), HashError> {
    let mut answers = known_answers().filter(selected);
    checked_and_wiped(engine, |engine| {
        answers.try_for_each(|answer| answer.check(engine))
    })
}

/// Runs a check of an engine, and wipes the engine, which must not panic either.
pub(crate) fn checked_and_wiped(
    engine: &mut dyn Engine,
    check: impl FnOnce(&mut dyn Engine) -> Result<(), HashError>,
) -> Result<(), HashError> {
    let checked = check(engine);
    if !wipe(engine) {
        return Err(HashError::Engine("panicked in its wipe".to_owned()));
    }
    checked
}

/// Wipes an engine, and returns whether that succeeded. A panic in it must not end a worker, or the
/// pool would lose them one by one.
pub(crate) fn wipe(engine: &mut dyn Engine) -> bool {
    catch_unwind(AssertUnwindSafe(|| engine.wipe())).is_ok()
}

/// A tag that the reference implementation computed.
pub(crate) struct KnownAnswer {
    cost: Cost,
    secret_len: usize,
    message_len: usize,
    tag: [u8; TAG_LEN],
}

/// Returns the tags of `known_answers.txt`, which `tests/vectors/argon2id.py` writes.
pub(crate) fn known_answers() -> impl Iterator<Item = KnownAnswer> {
    include_str!("known_answers.txt")
        .lines()
        .filter_map(KnownAnswer::parse)
}

impl KnownAnswer {
    const SALT: [u8; SALT_LEN] =
        *b"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff";

    /// Reads a line: KiB, passes, length of the secret, length of the message, tag.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (memory_kib, passes) = (number()?, number()?);
        let (secret_len, message_len) = (number()?, number()?);
        let digits = words.next()?;
        let mut tag = [0; TAG_LEN];
        for (place, byte) in tag.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        Some(Self {
            cost: Cost::new(memory_kib, passes).ok()?,
            secret_len: usize::try_from(secret_len).ok()?,
            message_len: usize::try_from(message_len).ok()?,
            tag,
        })
    }

    /// Returns the answer of an engine that is known to be right.
    pub(crate) fn of(engine: &mut dyn Engine, cost: Cost) -> Result<Self, HashError> {
        let mut answer = Self {
            cost,
            secret_len: 32,
            message_len: 97,
            tag: [0; TAG_LEN],
        };
        answer.tag = answer.compute(engine)?;
        Ok(answer)
    }

    fn compute(&self, engine: &mut dyn Engine) -> Result<[u8; TAG_LEN], HashError> {
        let bytes = |first: usize, len: usize| -> Vec<u8> {
            let bytes = first..first + len;
            bytes
                .map(|n| u8::try_from(n % 251).unwrap_or_default())
                .collect()
        };
        let (message, secret) = (bytes(0, self.message_len), bytes(100, self.secret_len));
        let mut tag = [0; TAG_LEN];
        engine.evaluate(self.cost, &secret, &Self::SALT, &message, &mut tag)?;
        Ok(tag)
    }

    /// Returns the memory of the evaluation in KiB.
    #[cfg(feature = "conformance")]
    pub(crate) fn memory_kib(&self) -> u32 {
        self.cost.memory_kib()
    }

    /// Checks that an engine computes this tag.
    pub(crate) fn check(&self, engine: &mut dyn Engine) -> Result<(), HashError> {
        let fault = match catch_unwind(AssertUnwindSafe(|| self.compute(engine))) {
            Err(_) => "panicked",
            Ok(Err(error)) => return Err(error),
            Ok(Ok(tag)) if tag == self.tag => return Ok(()),
            Ok(Ok(_)) => "computed a wrong tag",
        };
        Err(HashError::Engine(format!("{fault} for {self}")))
    }
}

impl fmt::Display for KnownAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, t) = (self.cost.memory_kib(), self.cost.passes());
        let (secret, message) = (self.secret_len, self.message_len);
        write!(
            f,
            "m={m} KiB, t={t}, a secret of {secret} bytes and a message of {message}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the evaluations, answers as the default engine does, and fails at one of them.
    struct Failing(
        crate::hash::DefaultEngine,
        usize,
        fn(&mut [u8; TAG_LEN]) -> Result<(), HashError>,
    );

    impl Engine for Failing {
        fn evaluate(
            &mut self,
            cost: Cost,
            secret: &[u8],
            salt: &[u8; SALT_LEN],
            message: &[u8],
            tag: &mut [u8; TAG_LEN],
        ) -> Result<(), HashError> {
            self.0.evaluate(cost, secret, salt, message, tag)?;
            self.1 = self.1.wrapping_sub(1);
            if self.1 == 0 { (self.2)(tag) } else { Ok(()) }
        }

        fn wipe(&mut self) {
            self.0.wipe();
        }
    }

    #[test]
    fn every_line_of_the_known_answers_is_read() {
        assert_eq!(known_answers().count(), 228);
        assert_eq!(include_str!("known_answers.txt").lines().count(), 228);
    }

    #[test]
    fn the_self_test_sees_a_fault_in_each_of_its_25_evaluations() {
        let engine = |at, fault| Failing(crate::hash::DefaultEngine::new(), at, fault);
        for at in 1..=25 {
            let flipped = self_test(&mut engine(at, |tag| {
                tag[31] ^= 1;
                Ok(())
            }));
            assert!(matches!(flipped, Err(HashError::Engine(_))), "{at}");
        }
        assert!(self_test(&mut engine(26, |_| panic!("there is no 26th evaluation"))).is_ok());
    }

    #[test]
    fn the_self_test_says_what_was_wrong() {
        let mut wrong = Failing(crate::hash::DefaultEngine::new(), 1, |tag| {
            tag[0] ^= 1;
            Ok(())
        });
        assert_eq!(
            self_test(&mut wrong).unwrap_err().to_string(),
            "the Argon2 engine computed a wrong tag for m=9 KiB, t=1, a secret of 0 bytes and a \
             message of 0: use another engine, or another version of this one"
        );
        let mut panics = Failing(crate::hash::DefaultEngine::new(), 1, |_| panic!("planted"));
        let said = self_test(&mut panics).unwrap_err().to_string();
        assert!(said.contains("engine panicked for m=9 KiB"), "{said}");
        let mut poor = Failing(crate::hash::DefaultEngine::new(), 1, |_| {
            Err(HashError::Memory)
        });
        assert!(matches!(self_test(&mut poor), Err(HashError::Memory)));
    }
}
