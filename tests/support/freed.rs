//! An allocator that looks for secrets in every block it gets back, and a search that uses it.
//!
//! A test binary makes it its own with `#[global_allocator] static ALLOCATOR: Watching = Watching;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
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

/// Secrets named since the search began.
static NAMED: AtomicUsize = AtomicUsize::new(0);

/// While a search runs, blocks that are given back are kept as they are.
static SEARCHING: AtomicBool = AtomicBool::new(false);
static KEPT: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: [Block; MOST_BLOCKS] = [const { Block::none() }; MOST_BLOCKS];
const MOST_BLOCKS: usize = 1 << 18;

/// A block that was given back: where it is, its size and its alignment.
struct Block(AtomicPtr<u8>, AtomicUsize, AtomicUsize);

impl Block {
    const fn none() -> Self {
        let (size, align) = (AtomicUsize::new(0), AtomicUsize::new(1));
        Self(AtomicPtr::new(null_mut()), size, align)
    }
}

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

/// Says that these bytes are a secret, in the course of a [`search`].
pub(crate) fn secret(bytes: &[u8]) {
    assert!(bytes.len() >= RUN, "too short to be looked for");
    runs(bytes.iter().copied()).for_each(learn);
    NAMED.fetch_add(1, SeqCst);
}

/// The sizes of the blocks that were given back while `work` was done, on whatever thread, and hold
/// a part of a secret that it named.
pub(crate) fn search(work: impl FnOnce()) -> Vec<usize> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for word in RUNS.iter().chain(&ENDINGS) {
        word.store(0, SeqCst);
    }
    NAMED.store(0, SeqCst);
    let mut found = Vec::new();
    let ended = Ended;
    SEARCHING.store(true, SeqCst);
    work();
    SEARCHING.store(false, SeqCst);
    assert!(NAMED.load(SeqCst) > 0, "no secret was named");
    let kept = KEPT.load(SeqCst);
    assert!(kept <= MOST_BLOCKS, "{kept} blocks are too many to keep");
    for Block(block, size, _) in &BLOCKS[..kept] {
        let size = size.load(SeqCst);
        if holds_a_secret(block.load(SeqCst), size) {
            found.push(size);
        }
    }
    drop(ended);
    found
}

fn holds_a_secret(block: *const u8, size: usize) -> bool {
    if block.is_null() {
        return false;
    }
    #[expect(unsafe_code, reason = "the block is kept, and has this size")]
    // Volatile: some of the bytes may never have been written.
    let bytes = (0..size).map(|at| unsafe { block.add(at).read_volatile() });
    runs(bytes).any(is_known)
}

/// Ends a search when it is dropped, after a panic too: the blocks go back to the system.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        SEARCHING.store(false, SeqCst);
        let kept = KEPT.swap(0, SeqCst);
        for Block(block, size, align) in BLOCKS.iter().take(kept) {
            let block = block.swap(null_mut(), SeqCst);
            let layout = Layout::from_size_align(size.load(SeqCst), align.load(SeqCst));
            if let (false, Ok(layout)) = (block.is_null(), layout) {
                #[expect(unsafe_code, reason = "this is how the block was given back")]
                unsafe {
                    give_back(block, layout);
                }
            }
        }
    }
}

/// Wipes a block, so that what is in it is not found in the next one that is made of it and only
/// partly written, and gives it to the system.
#[expect(unsafe_code, reason = "the caller's block is given back")]
unsafe fn give_back(block: *mut u8, layout: Layout) {
    unsafe {
        black_box(std::slice::from_raw_parts_mut(block, layout.size())).zeroize();
        System.dealloc(block, layout);
    }
}

/// The system's allocator; while a [`search`] runs it keeps what it is given back.
pub(crate) struct Watching;

// A block that grows or shrinks is one made and another given back: so does the default `realloc`.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let number = SEARCHING.load(SeqCst).then(|| KEPT.fetch_add(1, SeqCst));
        match number.and_then(|number| BLOCKS.get(number)) {
            Some(Block(kept, size, align)) => {
                size.store(layout.size(), SeqCst);
                align.store(layout.align(), SeqCst);
                kept.store(block, SeqCst);
            }
            None => unsafe { give_back(block, layout) },
        }
    }
}
