//! What other threads return to a slab that its heap let go of.
//!
//! A heap lets go of a slab that has nothing to give it: nobody has that slab then, until enough of
//! its blocks are returned. (That a full slab belongs to nobody is mimalloc's, D. Leijen, 2024; the
//! countdown to the next moment at which something is to be done is snmalloc's, P. Liétar and
//! others, 2019.) All of it is one word, so that a block is pushed and counted, and the countdown's
//! end seen by one thread, in one step:
//!
//! ```text
//!   head              | count                         | flags
//!   -                   -                               0             the heap's user has the slab
//!   blocks returned     to the end of the countdown     LET_GO        nobody has it
//!   blocks returned     returned in the meantime        LET_GO, HELD  one thread has it
//! ```
//!
//! ```text
//!   heap's --let_go--> nobody's --give, the countdown ends--> held --rearm--> nobody's
//!   nobody's --take_back--> heap's
//!   held, and no block is out --> the holder releases the slab
//!   nobody's, in the list --hold--> held, by a sweep
//! ```
//!
//! Always: only the heap's user (word 0) or the holder touches the slab's header. The step that
//! ends such a turn releases, and the step that begins one acquires. The pushes between them are
//! read-modify-writes, which carry that on.

use core::ptr::{NonNull, null_mut};

use super::atomic::AtomicUsize;
use super::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::{Batch, RemoteBlock, const_fn};
use crate::ptr;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Returned {
    word: AtomicUsize,
}

/// The heap let go of the slab.
const LET_GO: usize = 1;
/// A thread holds the slab: its blocks ended the countdown.
const HELD: usize = 2;

const FLAG_BITS: u32 = 2;
const HEAD_AT: u32 = usize::BITS / 2;
/// The largest number of blocks in the count's bits.
const MOST: usize = (1 << (HEAD_AT - FLAG_BITS)) - 1;
/// Blocks begin at multiples of this many bytes.
const UNIT: usize = 16;

/// What became of blocks in [`Returned::give`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// They are still the caller's: the heap has the slab.
    No,
    /// The slab has them.
    Yes,
    /// The slab has them, and they ended the countdown: the caller holds the slab, and calls
    /// [`LetGo::end_countdown`].
    Last {
        /// How many of them were beyond the countdown.
        beyond: usize,
    },
}

/// What a heap finds in a slab that it takes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenBack {
    /// The first of the blocks that were returned, or null.
    pub(crate) first: *mut RemoteBlock,
    /// What was left of the countdown.
    pub(crate) left: usize,
}

impl Returned {
    const_fn! {
        /// That of a slab which its heap has.
        pub(crate) fn new() -> Self {
            Self { word: AtomicUsize::new(0) }
        }
    }

    /// Whether the word has room for a slab of that many bytes and blocks.
    pub(crate) const fn fits(bytes: usize, blocks: usize) -> bool {
        blocks <= MOST && bytes / UNIT <= usize::MAX >> HEAD_AT
    }

    /// Lets go of the slab: the blocks that are returned from here on count down from `count`,
    /// at least 1. The next thread that has or holds the slab
    /// sees what the caller wrote about it.
    ///
    /// The caller has the slab.
    #[inline]
    pub(crate) fn let_go(&self, count: usize) {
        debug_assert!((1..=MOST).contains(&count) && self.word.load(Relaxed) == 0);
        self.word.store(count << FLAG_BITS | LET_GO, Release);
    }

    /// Whether the slab is let go of, when this looked. To its heap's user that stays true until it
    /// takes the slab back, or the slab's last block is returned.
    #[inline(always)]
    pub(crate) fn is_let_go(&self) -> bool {
        self.word.load(Relaxed) & LET_GO != 0
    }

    /// Gives linked blocks back to the slab, if it is let go of.
    ///
    /// # Safety
    /// The slab begins at `base`, which may access all of it; the blocks are the caller's, lie in
    /// the slab, and are as many as `blocks` says, at least 1.
    #[inline]
    pub(crate) unsafe fn give(&self, base: NonNull<u8>, batch: Batch, blocks: usize) -> Given {
        let first = (batch.first.addr().get() - base.addr().get()) / UNIT;
        let mut word = self.word.load(Relaxed);
        loop {
            if word & LET_GO == 0 {
                return Given::No;
            }
            // SAFETY: The last block is the caller's, and a `RemoteBlock`.
            unsafe { RemoteBlock::link(batch.last, head(base, word)) };
            let count = count(word);
            let (given, count, flags) = if word & HELD != 0 {
                (Given::Yes, count + blocks, LET_GO | HELD)
            } else if blocks < count {
                (Given::Yes, count - blocks, LET_GO)
            } else {
                (Given::Last { beyond: blocks - count }, 0, LET_GO | HELD)
            };
            let next = first << HEAD_AT | count << FLAG_BITS | flags;
            match self.word.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => return given,
                Err(other) => word = other,
            }
        }
    }

    /// Begins another countdown, from `count`, at least 1: nobody has the slab any more. The next
    /// thread that has or holds it sees what the caller wrote about it.
    ///
    /// The caller holds the slab.
    ///
    /// # Errors
    /// How many blocks were returned since this was last called, or since the countdown ended, if
    /// there are any: the caller still holds the slab.
    #[inline]
    fn rearm(&self, count: usize) -> Result<(), usize> {
        debug_assert!((1..=MOST).contains(&count));
        let mut word = self.word.load(Relaxed);
        loop {
            debug_assert!(word & (LET_GO | HELD) == LET_GO | HELD);
            let meanwhile = self::count(word);
            let head = word >> HEAD_AT << HEAD_AT;
            let next = match meanwhile {
                0 => head | count << FLAG_BITS | LET_GO,
                _ => head | LET_GO | HELD,
            };
            match self.word.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) if meanwhile == 0 => return Ok(()),
                Ok(_) => return Err(meanwhile),
                Err(other) => word = other,
            }
        }
    }

    /// Where the block is that was returned last, in units of 16 bytes behind the slab's start,
    /// when this looked; 0 if none was.
    pub(crate) fn place(&self) -> usize {
        self.word.load(Relaxed) >> HEAD_AT
    }

    /// Takes the slab back; `None` if a thread holds it, or it is not let go of.
    ///
    /// The caller is the user of the slab's heap. The slab begins at `base`.
    #[inline]
    fn take_back(&self, base: NonNull<u8>) -> Option<TakenBack> {
        self.take(base, 0)
    }

    /// Holds the slab; `None` if another thread does, or the heap has it: its thread may have taken
    /// it back just now, and not struck it from the list yet. Blocks that are returned from here on
    /// are counted for [`rearm`](Self::rearm).
    ///
    /// The slab begins at `base`.
    fn hold(&self, base: NonNull<u8>) -> Option<TakenBack> {
        self.take(base, LET_GO | HELD)
    }

    /// Takes what was returned, and gives the slab another state.
    #[inline(always)]
    fn take(&self, base: NonNull<u8>, next: usize) -> Option<TakenBack> {
        let mut word = self.word.load(Relaxed);
        loop {
            if word & (LET_GO | HELD) != LET_GO {
                return None;
            }
            match self.word.compare_exchange_weak(word, next, Acquire, Relaxed) {
                Ok(_) => return Some(TakenBack { first: head(base, word), left: count(word) }),
                Err(other) => word = other,
            }
        }
    }
}

/// A slab that its heap lets go of, and the list in which the heap finds it again.
///
/// The methods that an implementor writes are called by the heap's user while it has the slab, or
/// by the thread that holds the slab.
pub(crate) trait LetGo {
    /// Returns the slab's word, and where the slab begins.
    fn word(&self) -> (&Returned, NonNull<u8>);

    /// Takes the list's lock, which dropping the result gives back.
    fn lock(&self) -> impl Sized;

    /// Whether the slab says that it is in the list.
    fn is_listed(&self) -> bool;

    /// Puts the slab on the list.
    ///
    /// # Safety
    /// The lock is held; the caller has or holds the slab, which is in no list.
    unsafe fn enlist(&self);

    /// Takes the slab off the list.
    ///
    /// # Safety
    /// The lock is held; the caller has or holds the slab, which is in the list.
    unsafe fn strike(&self);

    /// Returns how many blocks are out, `beyond` less than the countdown left.
    fn left_beyond(&self, beyond: usize) -> usize;

    /// Returns `blocks` less than `left`.
    fn less(&self, left: usize, blocks: usize) -> usize;

    /// Notes the next countdown, with `left` blocks out; from how many it counts, at least 1.
    fn prepare_next(&self, left: usize) -> usize;

    /// Notes what came back with the slab to its heap.
    fn come_back(&self, taken: TakenBack);

    /// Holds the slab, if the heap or another thread has not just taken it: what was returned. The
    /// caller adds that to what the slab says of itself, so that [`left_beyond`](Self::left_beyond)
    /// is right for none beyond, and ends with [`end_countdown`](Self::end_countdown).
    ///
    /// # Safety
    /// The lock is held, and the slab is in the list.
    unsafe fn hold(&self) -> Option<TakenBack> {
        let (word, start) = self.word();
        word.hold(start)
    }

    /// Goes on with a slab whose countdown ended with `beyond` blocks more: lists it and begins the
    /// next countdown; `true` if no block is out any more, so that the caller releases the slab.
    ///
    /// # Safety
    /// The calling thread holds the slab, and does not touch it again if the answer is `false`.
    unsafe fn end_countdown(&self, beyond: usize) -> bool {
        let mut left = self.left_beyond(beyond);
        if left == 0 && !self.is_listed() {
            return true;
        }
        let _lock = self.lock();
        if !self.is_listed() {
            // SAFETY: The lock was just taken; the slab is held, and says that it is in no list.
            unsafe { self.enlist() };
        }
        while left > 0 {
            let count = self.prepare_next(left);
            match self.word().0.rearm(count) {
                Ok(()) => return false,
                Err(meanwhile) => left = self.less(left, meanwhile),
            }
        }
        // SAFETY: The lock is held, and the slab too, which is in the list.
        unsafe { self.strike() };
        true
    }

    /// Takes the slab back, which is let go of; whether no other thread holds it.
    ///
    /// The caller is the user of the slab's heap.
    fn take_back(&self) -> bool {
        let (word, start) = self.word();
        let Some(taken) = word.take_back(start) else { return false };
        if self.is_listed() {
            let _lock = self.lock();
            // SAFETY: The lock was just taken; the caller has the slab, which says so.
            unsafe { self.strike() };
        }
        self.come_back(taken);
        true
    }

    /// Takes the slab back, which is in the list; whether no other thread holds it.
    ///
    /// # Safety
    /// The caller is the user of the slab's heap, and holds the lock.
    unsafe fn take_listed(&self) -> bool {
        let (word, start) = self.word();
        let Some(taken) = word.take_back(start) else { return false };
        // SAFETY: The lock is held; the caller has the slab, which is in the list.
        unsafe { self.strike() };
        self.come_back(taken);
        true
    }
}

const fn count(word: usize) -> usize {
    (word >> FLAG_BITS) & MOST
}

/// The first block that was returned to the slab at `base`; null if none was, since no block lies
/// at a slab's start.
fn head(base: NonNull<u8>, word: usize) -> *mut RemoteBlock {
    match word >> HEAD_AT {
        0 => null_mut(),
        units => ptr::up(base.as_ptr(), units * UNIT).cast(),
    }
}
