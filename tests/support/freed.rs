//! An allocator that looks for secrets in every block it gets back, and a search that uses it.
//!
//! A test binary makes it its own with `#[global_allocator] static ALLOCATOR: Watching = Watching;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize;

/// Secrets are looked for in runs of this many bytes, so that a part of one is found too. Six
/// symbols of a code do not occur in other text by chance.
const RUN: usize = 6;

/// What is looked for is kept in a disguise, so that it is not found where it is kept.
const DISGUISE: u64 = 0x5a5a_5a5a_5a5a;
const MASK: u64 = 0xffff_ffff_ffff;

/// The disguised runs, by a hash of theirs: 0 is a free place.
static RUNS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
const PLACES: usize = 1 << 15;
/// A bit for the last two bytes of each run: nearly every byte of a block is passed over by it.
static ENDINGS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

static PHASE: AtomicU8 = AtomicU8::new(IDLE);
const IDLE: u8 = 0;
const LEARNING: u8 = 1;
const SEARCHING: u8 = 2;

/// Secrets that were named while blocks were looked at, and those that were not known by then.
static NAMED: AtomicUsize = AtomicUsize::new(0);
static UNKNOWN: AtomicUsize = AtomicUsize::new(0);
/// Blocks with a run in them, and the sizes of the first of these.
static FOUND: AtomicUsize = AtomicUsize::new(0);
static SIZES: [AtomicUsize; 32] = [const { AtomicUsize::new(0) }; 32];

fn ending(run: u64) -> (usize, u64) {
    let ending = (run & 0xffff) as usize;
    (ending / 64, 1 << (ending % 64))
}

/// The places where a run may be.
fn places(run: u64) -> impl Iterator<Item = &'static AtomicU64> {
    let first = (run.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
    (0..PLACES).map(move |step| &RUNS[first.wrapping_add(step) % PLACES])
}

fn is_known(run: u64) -> bool {
    let (word, bit) = ending(run);
    ENDINGS[word].load(SeqCst) & bit != 0
        && places(run)
            .map(|place| place.load(SeqCst))
            .take_while(|kept| *kept != 0)
            .any(|kept| kept == run)
}

fn learn(run: u64) {
    let (word, bit) = ending(run);
    ENDINGS[word].fetch_or(bit, SeqCst);
    for place in places(run) {
        let kept = place.load(SeqCst);
        if kept == 0 {
            place.store(run, SeqCst);
        }
        if kept == 0 || kept == run {
            return;
        }
    }
}

/// Goes through the disguised runs of some bytes.
fn runs(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u64> {
    let window = bytes.scan(0, |window: &mut u64, byte| {
        *window = (*window << 8 | u64::from(byte)) & MASK;
        Some(*window ^ DISGUISE)
    });
    window.skip(RUN - 1)
}

/// Says that these bytes are a secret: to be called on both runs of a [`search`].
pub(crate) fn secret(bytes: &[u8]) {
    assert!(bytes.len() >= RUN, "too short to be looked for");
    match PHASE.load(SeqCst) {
        LEARNING => runs(bytes.iter().copied()).for_each(learn),
        _ => {
            NAMED.fetch_add(1, SeqCst);
            if !runs(bytes.iter().copied()).all(is_known) {
                UNKNOWN.fetch_add(1, SeqCst);
            }
        }
    }
}

/// The sizes of the blocks with a secret in them that were given back while `work` was done, on
/// whatever thread.
///
/// It is done twice and has to name the same secrets both times: they are learned at the first
/// and looked for at the second.
pub(crate) fn search(work: impl Fn()) -> Vec<usize> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for word in RUNS.iter().chain(&ENDINGS) {
        word.store(0, SeqCst);
    }
    for count in [&NAMED, &UNKNOWN, &FOUND] {
        count.store(0, SeqCst);
    }
    PHASE.store(LEARNING, SeqCst);
    work();
    PHASE.store(SEARCHING, SeqCst);
    work();
    PHASE.store(IDLE, SeqCst);
    assert!(NAMED.load(SeqCst) > 0, "no secret was named");
    assert_eq!(UNKNOWN.load(SeqCst), 0, "the second run has other secrets");
    let found = FOUND.load(SeqCst);
    let sizes = SIZES.iter().take(found);
    sizes.map(|size| size.load(SeqCst)).collect()
}

/// The system's allocator; it looks at each block that it gets back while a [`search`] runs.
pub(crate) struct Watching;

impl Watching {
    fn look_at(block: *mut u8, size: usize) {
        #[expect(unsafe_code, reason = "the block is the allocator's, up to its size")]
        // Volatile: the bytes are of any kind, and some of them were never written.
        let bytes = (0..size).map(|at| unsafe { block.add(at).read_volatile() });
        if runs(bytes).any(is_known) {
            let found = FOUND.fetch_add(1, SeqCst);
            if let Some(place) = SIZES.get(found) {
                place.store(size, SeqCst);
            }
        }
    }
}

// A block that grows or shrinks is one block given back and another made: so does the default
// `realloc`, and what it gives back comes here too.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if PHASE.load(SeqCst) == SEARCHING {
            Self::look_at(block, layout.size());
        }
        // What is in it must not be found in the next block that is made of it and only partly
        // written.
        let bytes = unsafe { std::slice::from_raw_parts_mut(block, layout.size()) };
        black_box(bytes).zeroize();
        unsafe { System.dealloc(block, layout) }
    }
}
