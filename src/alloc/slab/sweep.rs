//! Giving up the memory of free blocks in slabs that wait, while their thread does something else
//! or nothing.
//!
//! ```text
//!   slab   | header | ## | .. | .. | ## | .. | .. | .. | ## |     ## blocks that are allocated
//!   holes             -    1    1    -    1    1    1    -        units whose memory is given up
//! ```
//!
//! Pages in which every block is free become *holes*. (A fork of mimalloc with a sweeper showed
//! that decommitting them pays.) A sweep looks at the slabs that wait in a heap's lists, and at
//! those that the heap let go of and that have blocks to give. A slab whose free blocks changed
//! since the last tick waits for the next one. Of any other the sweep takes the free blocks that
//! reach into holes off the slab's list, notes the holes, and has the source give the pages up. The
//! heap carves those blocks anew when it needs them.
//!
//! One lock for the process is held while slabs of a heap are swept, and while a heap is made anew.
//! A slab that a sweep holds is in its list; its thread may push blocks on it meanwhile (see
//! [`FreeList`](crate::sync::FreeList)).
//!
//! The first free block that a sweep sees stays on the list, since its thread may push another one
//! before it at any time. If it reaches into a hole, its link is gone: it ends the list, and the
//! blocks behind it are kept apart until the slab's blocks are taken.
//!
//! Always: a block that reaches into a hole is free, and on no list but at the end of its slab's.

use core::sync::atomic::Ordering::Relaxed;

use super::grid::{runs, unit_of};
use super::header::{Slab, State};
use super::heap::{Heap, release};
use super::returned::ReturnedSlabs;
use super::seen::{Look, Round};
use super::waiting::{LISTS, Waiting};
use crate::ptr;
use crate::size::BlockSize;
use crate::source::MemorySource;
use crate::sync::{Guarded, LetGo, yield_now};
use crate::sys;

/// Held while slabs are swept, and while a heap's slabs are taken from it.
#[cfg(not(all(test, loom)))]
static SWEEPING: Guarded<()> = Guarded::new(());
#[cfg(all(test, loom))]
loom::lazy_static! { static ref SWEEPING: Guarded<()> = Guarded::new(()); }

/// Keeps sweeps out until the result is dropped.
pub(crate) fn exclude() -> impl Sized {
    SWEEPING.lock()
}

/// Waits for the sweep that is under way, and keeps others out for the time of a fork.
pub(crate) fn hold_for_fork() {
    SWEEPING.hold_for_fork();
}

/// Gives back what [`hold_for_fork`] took.
///
/// # Safety
/// This thread, or the thread that forked this process, called `hold_for_fork` more often than
/// this.
pub(crate) unsafe fn release_after_fork() {
    // SAFETY: `hold_for_fork` took the lock before the fork, for this call.
    unsafe { SWEEPING.release_after_fork() };
}

/// What a sweep of a heap did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// Bytes whose memory was given up.
    pub bytes: usize,
    /// Whether there is something left for a later tick.
    pub later: bool,
}

/// How many slabs are swept in the first turn, while other sweeps, ends of threads, and forks wait.
const AT_ONCE: usize = 32;
/// The same in later ones: some milliseconds.
const MOST_AT_ONCE: usize = 512;

impl<S: MemorySource, B: BlockSize> Heap<S, B> {
    /// What a sweep reaches of a heap that another thread may be using.
    ///
    /// # Safety
    /// The heap is at `heap`, now and later.
    unsafe fn parts<'a>(heap: *const Self) -> (&'a Waiting, &'a ReturnedSlabs, &'a S) {
        // SAFETY: The heap is there.
        let waiting = unsafe { &(*heap).waiting };
        // SAFETY: The heap is there.
        let returned = unsafe { &(*heap).returned };
        // SAFETY: The heap is there.
        let source = unsafe { &(*heap).source };
        (waiting, returned, source)
    }

    /// Whether there may be something to sweep, which the source can give up. Any thread may ask.
    ///
    /// # Safety
    /// The heap is at `heap`, now and later.
    pub(super) unsafe fn is_unswept(heap: *const Self) -> bool {
        // SAFETY: The heap is there, by this function's own `# Safety`.
        let (waiting, returned, source) = unsafe { Self::parts(heap) };
        let is_unswept = waiting.is_unswept.load(Relaxed) || returned.is_unswept.load(Relaxed);
        is_unswept && can_purge(source, 4 * B::BYTES)
    }

    /// Sweeps a heap. Any thread may call this.
    ///
    /// # Safety
    /// The heap is at `heap`, now and later, and used through thread caches; any thread may use its
    /// source. A thread that changes it other than as its user keeps sweeps out meanwhile, by
    /// [`exclude`].
    pub(super) unsafe fn sweep(heap: *const Self, round: Round) -> Swept {
        let mut swept = Swept::default();
        let mut at_once = AT_ONCE;
        loop {
            // What follows reaches the heap under this lock only: between two turns it may be made
            // anew.
            let exclusive = exclude();
            // SAFETY: The heap is there.
            let (waiting, returned, source) = unsafe { Self::parts(heap) };
            if at_once == AT_ONCE {
                // SAFETY: The heap is there.
                if unsafe { !Self::is_unswept(heap) } && !(round.all && can_purge(source, 4 * B::BYTES)) {
                    return swept;
                }
                // First, so that what is put in from here on is looked at again.
                waiting.is_unswept.store(false, Relaxed);
                returned.is_unswept.store(false, Relaxed);
            }
            let mut left = at_once;
            for list in 0..LISTS {
                // SAFETY: `exclusive` makes this the only sweep, and keeps the heap as it is; the
                // rest is this function's own `# Safety`.
                unsafe { Self::sweep_waiting(heap, list, round, &mut left, &mut swept) };
            }
            // SAFETY: As above.
            unsafe { Self::sweep_returned(heap, round, &mut left, &mut swept) };
            if left > 0 {
                if swept.later {
                    waiting.is_unswept.store(true, Relaxed);
                }
                return swept;
            }
            drop(exclusive);
            // What was swept is passed over each time, so the turns become longer.
            at_once = (2 * at_once).min(MOST_AT_ONCE);
            // For threads that end, and those that fork.
            if round.all {
                yield_now();
            } else {
                sys::sleep_millis(1);
            }
        }
    }

    /// Sweeps a list of slabs that wait.
    ///
    /// # Safety
    /// As [`sweep`](Self::sweep), and the caller is the only sweep.
    unsafe fn sweep_waiting(
        heap: *const Self,
        list: usize,
        round: Round,
        left: &mut usize,
        swept: &mut Swept,
    ) {
        // SAFETY: The heap is there.
        let (waiting, _, source) = unsafe { Self::parts(heap) };
        let mut held = None;
        loop {
            let round = if *left == 0 { None } else { Some(round) };
            // SAFETY: The caller is the only sweep, and holds no other slab of this heap.
            let Some((slab, look)) = (unsafe { waiting.hold_next(list, held, round, &mut swept.later) })
            else {
                return;
            };
            if look == Look::Sweep {
                *left -= 1;
                // SAFETY: The slab is held.
                swept.bytes += unsafe { give_pages_up(slab, source) };
            }
            held = Some(slab);
        }
    }

    /// Sweeps the slabs that the heap let go of and that have blocks to give.
    ///
    /// # Safety
    /// As [`sweep`](Self::sweep), and the caller is the only sweep.
    unsafe fn sweep_returned(heap: *const Self, round: Round, left: &mut usize, swept: &mut Swept) {
        // SAFETY: The heap is there.
        let (_, lists, source) = unsafe { Self::parts(heap) };
        let mut next = if *left > 0 { lists.hold_next(None, round, &mut swept.later) } else { None };
        while let Some((slab, look)) = next {
            if look == Look::Sweep {
                *left -= 1;
                // SAFETY: The slab is held.
                swept.bytes += unsafe { give_pages_up(slab, source) };
            }
            // Before the slab is let go of, after which it may leave its list.
            next = if *left > 0 { lists.hold_next(Some(slab), round, &mut swept.later) } else { None };
            // SAFETY: This thread holds the slab, since `hold_next` gave it.
            if unsafe { lists.of(slab).end_countdown(0) } {
                // SAFETY: The slab is a region by itself, in no list, and none of its blocks is in
                // use.
                unsafe { release(source, slab.start(), slab.region.get(), slab.len()) };
            }
        }
    }
}

/// Whether a source can give units of slabs up that are `len` bytes long.
fn can_purge<S: MemorySource>(source: &S, len: usize) -> bool {
    let needed = source.purge_unit();
    needed != 0 && needed <= unit_of(len)
}

/// Gives up the pages of a slab in which no block is allocated; how many bytes that were.
///
/// # Safety
/// The calling thread holds the slab, which came from that source.
unsafe fn give_pages_up<S: MemorySource>(slab: &Slab, source: &S) -> usize {
    let unit = unit_of(slab.len());
    if !can_purge(source, slab.len()) {
        return 0;
    }
    let units = if slab.state.get() == State::Empty {
        slab.forget_blocks()
    } else {
        // SAFETY: The caller holds the slab.
        unsafe { slab.make_holes() }
    };
    let mut bytes = 0;
    for run in runs(units) {
        // SAFETY: The units lie in the slab.
        let start = unsafe { slab.start().add(run.start * unit) };
        // SAFETY: The pages lie in a slab that is held of the source. No block in them is
        // allocated, and none on a list but at its end, where nobody uses the link: nobody writes
        // to them before the slab is let go of.
        if unsafe { source.purge_part(ptr::bytes(start, run.len() * unit)) } {
            bytes += run.len() * unit;
        }
    }
    bytes
}
