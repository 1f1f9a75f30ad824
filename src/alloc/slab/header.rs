//! A slab: the memory of blocks of one class, and its index.
//!
//! ```text
//!   slab (LEN bytes at a multiple of LEN)
//!   +----------------+ - - - +--------+ - - +-------+-------+-------+- - - - - -+
//!   | tier, returned | colour| header |     | block | block | block | not carved|
//!   +----------------+ - - - +--------+ - - +-------+-------+-------+- - - - - -+
//!   0                16      c * 64   c * 64 + 128  first           first + carved * bytes
//! ```
//!
//! The first 16 bytes are the tier's word and, where there are threads, what other threads
//! [return](crate::sync::Returned). The header lies at one of sixteen places, by the slab's
//! number, so that the headers of many slabs do not all fall into the same sets of a cache (slab
//! colouring; J. Bonwick, 1994). Blocks are carved only as they are needed, so that no page is
//! touched before.
//!
//! A free block is on its slab's list, or on the list of its class that allocations pop. The slab
//! counts down as blocks come back to its own list, to the next moment at which something is to be
//! done about it (the idea is snmalloc's, P. Liétar and others, 2019):
//!
//! ```text
//!   until + rest = blocks that are carved, not on the slab's own list, and in no hole
//! ```
//!
//! While a slab waits, a [sweep](super::sweep) may give the memory of its free blocks up: then
//! whole [units](super::grid) of it are holes, until the slab's blocks are taken.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};

use super::grid::Units;
use super::lengths::RESERVED;
#[cfg(feature = "std")]
use super::seen::Seen;
#[cfg(feature = "std")]
use crate::alloc::classes::STEP;
use crate::alloc::classes::{bytes_of, class_of};
use crate::layout::round_up;
use crate::list::{Linked, Links};
use crate::misuse;
use crate::ptr;
pub(super) use crate::sync::FreeBlock;
use crate::sync::FreeList;
#[cfg(feature = "std")]
use crate::sync::Returned;

/// What a slab is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// It has no class; on the list of empty slabs.
    Empty,
    /// The blocks on its class's list are its own; counts down to nothing in particular.
    Current,
    /// No block is free, or too few to bother; counts down to when enough are.
    Full,
    /// It has blocks to give, and waits in its class's queue; counts down to when half of those are
    /// free that are not, or all if they are few.
    Queued,
    /// The heap let go of it: it is in no list of the heap's, and counts down by what is returned
    /// to it, to when enough are free.
    #[cfg(feature = "std")]
    LetGo,
    /// The same, and it has blocks to give: it is in the list of those that the heap may take back;
    /// counts down as a queued one.
    #[cfg(feature = "std")]
    Returned,
}

/// What a current slab counts down from: more than the blocks of a slab.
const NEVER: u32 = 1 << 31;

/// The index of a slab: see the head of this file.
#[repr(C, align(64))]
pub(super) struct Slab {
    /// Where the header of colour 0 lies over what comes before all headers, and which other
    /// threads write meanwhile.
    _before: UnsafeCell<[MaybeUninit<u8>; RESERVED]>,
    /// Links of the queue, of the list of empty slabs, or of the list of returned ones.
    queue_links: Links<Slab>,
    /// Links of the list of all slabs.
    all_links: Links<Slab>,
    /// For the first slab of a region, the region's length in bytes. Otherwise 0.
    pub(super) region: Cell<usize>,
    pub(super) next_region: Cell<*mut Slab>,

    // What every free touches is on a cache line of its own.
    free: FreeList,
    until: Cell<u32>,
    rest: Cell<u32>,
    /// `until + rest` when it was last counted.
    out: Cell<u32>,
    carved: Cell<u32>,
    capacity: Cell<u32>,
    /// Where the free blocks begin that a sweep left apart from the list, in bytes from the slab's
    /// start; 0 if it left none.
    behind: Cell<u32>,
    first: Cell<u32>,
    len: u32,
    start: *mut u8,
    class: Cell<u8>,
    pub(super) state: Cell<State>,
    /// Whether it is a region by itself, which can be released.
    pub(super) is_region: bool,
    /// Whether the heap took it back to free a block: then it is not let go of when it is full.
    #[cfg(feature = "std")]
    pub(super) is_kept: Cell<bool>,
    /// See [`mark_of`].
    mark: u32,
    /// The units whose memory was given up; blocks that reach into them are on no list, but for the
    /// last of this one.
    holes: Cell<Units>,
    /// What a sweep notes about the slab while it waits.
    #[cfg(feature = "std")]
    pub(super) seen: Cell<Seen>,
}

/// Names the list of all slabs of an allocator.
pub(super) struct All;

// SAFETY: The field is for the queues, the lists of empty slabs and those of returned slabs, and a
// slab is in at most one of them.
unsafe impl Linked<()> for Slab {
    #[inline(always)]
    fn links(&self) -> &Links<Self> {
        &self.queue_links
    }
}

// SAFETY: The field is for the list of all slabs only.
unsafe impl Linked<All> for Slab {
    #[inline(always)]
    fn links(&self) -> &Links<Self> {
        &self.all_links
    }
}

/// What is written in the header of a slab at `start` of the heap with that identity, and by chance
/// nowhere else.
const fn mark_of(start: usize, identity: usize) -> u32 {
    ((start ^ identity.rotate_left(17)) >> 12) as u32 ^ 0x51ab_51ab
}

/// What is said of a block that was freed more often than allocated.
pub(super) const TWICE: &str = "a block of a slab allocator was freed twice";
/// What is said of a block that this allocator did not allocate, or not with that layout.
pub(super) const FOREIGN: &str = "a block was freed that is none of this slab allocator's";

/// The size of a header in bytes.
const HEADER: usize = size_of::<Slab>();
const LINE: usize = 64;
const _: () = assert!(HEADER == 2 * LINE || cfg!(all(test, loom)));
// Where pointers are shorter, so are processors' caches, and what a free touches begins within a
// line. (Loom's atomics are larger; no slab is made in its models.)
const _: () =
    assert!(size_of::<usize>() < 8 || cfg!(all(test, loom)) || memoffset::offset_of!(Slab, free) == LINE);
/// Slabs of at least this many bytes have colours.
const COLOURED: usize = 64 * 1024;
const COLOURS: usize = 16;

/// Bytes from the start of the slab at `start`, of `len` bytes, to its header.
#[inline(always)]
const fn header_offset(start: usize, len: usize) -> usize {
    if len < COLOURED { 0 } else { ((start >> len.trailing_zeros()) & (COLOURS - 1)) * LINE }
}

impl Slab {
    /// The header of the slab of `len` bytes in which `address` lies; `base` may access that slab.
    #[inline(always)]
    pub(super) fn of(base: NonNull<u8>, address: usize, len: usize) -> *mut Self {
        let start = address & !(len - 1);
        ptr::at(base.as_ptr(), start | header_offset(start, len)).cast()
    }

    /// Writes the header of an empty slab of `len` bytes at `start`.
    ///
    /// # Safety
    /// The slab is the caller's alone, and at a multiple of `len`, a power of two of at least 4 KiB
    /// and at most 1 GiB.
    pub(super) unsafe fn init(
        start: NonNull<u8>,
        len: usize,
        is_region: bool,
        identity: usize,
    ) -> NonNull<Self> {
        let slab = Self {
            _before: UnsafeCell::new([MaybeUninit::uninit(); RESERVED]),
            queue_links: Links::new(),
            all_links: Links::new(),
            region: Cell::new(0),
            next_region: Cell::new(null_mut()),
            free: FreeList::new(),
            until: Cell::new(0),
            rest: Cell::new(0),
            out: Cell::new(0),
            carved: Cell::new(0),
            capacity: Cell::new(0),
            behind: Cell::new(0),
            first: Cell::new(0),
            len: small(len),
            start: start.as_ptr(),
            class: Cell::new(0),
            state: Cell::new(State::Empty),
            is_region,
            #[cfg(feature = "std")]
            is_kept: Cell::new(false),
            mark: mark_of(start.addr().get(), identity),
            holes: Cell::new(0),
            #[cfg(feature = "std")]
            seen: Cell::new(Seen::NOT_YET),
        };
        let at = Self::of(start, start.addr().get(), len);
        // SAFETY: The header is less than 2 KiB from the slab's start, so it lies in the slab,
        // which is the caller's; what comes before all headers is not written, being uninitialised
        // here. It is a multiple of 64 bytes from a multiple of `len`.
        unsafe { copy_header(at, &slab) };
        // SAFETY: The word lies behind the tier's, in the slab, at a multiple of its size.
        #[cfg(all(feature = "std", not(all(test, loom))))]
        unsafe {
            place_of_returned(start).write(Returned::new());
        }
        // SAFETY: It lies in a slab, whose address is not null.
        unsafe { NonNull::new_unchecked(at) }
    }

    /// Makes an empty slab one of `class`, with nothing carved.
    pub(super) fn begin(&self, class: usize) {
        let (len, bytes) = (self.len(), bytes_of(class));
        let start = self.start.addr();
        let behind = header_offset(start, len) + HEADER;
        // Blocks of a power of two lie at multiples of it.
        let lowest_bit = bytes & bytes.wrapping_neg();
        let first = round_up(behind, lowest_bit).unwrap_or(len);
        self.free.set(null_mut());
        self.holes.set(0);
        self.carved.set(0);
        self.behind.set(0);
        self.first.set(small(first));
        self.capacity.set(small((len - first) / bytes));
        // `class` is less than 256.
        self.class.set(class as u8);
        #[cfg(feature = "std")]
        self.is_kept.set(false);
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        // SAFETY: It was made from a `NonNull`.
        unsafe { NonNull::new_unchecked(self.start) }
    }

    /// Ends the process unless this is the header of a slab of the heap with that identity. Any
    /// thread may ask.
    #[inline]
    pub(super) fn check_header(&self, identity: usize) {
        let address = core::ptr::from_ref(self).addr();
        let is_here = self.mark == mark_of(self.start.addr(), identity)
            && Self::of(self.start(), self.start.addr(), self.len()).addr() == address;
        misuse::check(is_here, FOREIGN, address);
    }

    /// Ends the process unless the slab has no more blocks free than it has.
    #[inline]
    pub(super) fn check_counts(&self) {
        misuse::check(self.out() <= self.carved.get(), TWICE, core::ptr::from_ref(self).addr());
    }

    /// Ends the process if the slab counts no block out, and its list shows within a few steps that
    /// it has not all of them: it leads in a circle, or ends too early.
    pub(super) fn check_all_free(&self) {
        const STEPS: u32 = 64;
        self.join_lists();
        let (head, listed) = (self.free.first(), self.carved.get().wrapping_sub(self.in_holes()));
        let mut next = head;
        for steps in 0..listed.min(STEPS) {
            let is_right = !next.is_null() && (steps == 0 || next != head);
            misuse::check(is_right, TWICE, head.addr());
            // SAFETY: What is on a list are free blocks with links, and this one is not null.
            next = unsafe { (*next).next };
        }
        misuse::check(listed > STEPS || next.is_null(), TWICE, head.addr());
    }

    /// Ends the process unless a block of that class begins at an address.
    #[inline]
    pub(super) fn check_block(&self, address: usize, class: usize) {
        misuse::check(self.class() == class && self.is_block(address), FOREIGN, address);
    }

    /// Whether a block that was carved begins at an address.
    #[inline]
    pub(super) fn is_block(&self, address: usize) -> bool {
        let Some(offset) = address.checked_sub(self.start.addr() + self.first.get() as usize) else {
            return false;
        };
        let bytes = bytes_of(self.class());
        offset.is_multiple_of(bytes) && offset / bytes < self.carved.get() as usize
    }

    pub(super) fn class(&self) -> usize {
        usize::from(self.class.get())
    }

    /// Blocks that are carved and not on the slab's own list.
    #[inline(always)]
    pub(super) fn out(&self) -> u32 {
        self.until.get().wrapping_add(self.rest.get())
    }

    /// Whether there are free blocks on its list.
    #[inline(always)]
    pub(super) fn has_free(&self) -> bool {
        !self.free.first().is_null()
    }

    /// Whether there are blocks to take.
    #[inline(always)]
    pub(super) fn has_some(&self) -> bool {
        self.has_free() || self.holes.get() != 0 || self.carved.get() < self.capacity.get()
    }

    /// Where its first free block is, in units of 16 bytes behind its start, when a sweep looked; 0
    /// if it has none.
    #[cfg(feature = "std")]
    pub(super) fn place_of_free(&self) -> usize {
        self.free.first().addr().saturating_sub(self.start.addr()) / STEP
    }

    /// Puts a block on the slab's list; `true` where the countdown has ended.
    ///
    /// # Safety
    /// The block is one of this slab's, and the caller gives it up.
    #[inline(always)]
    pub(super) unsafe fn push(&self, block: NonNull<u8>) -> bool {
        // SAFETY: The block is given back, so it is ours; it has at least 16 bytes, at a multiple
        // of 16.
        unsafe { self.free.push(block.cast()) };
        let until = self.until.get().wrapping_sub(1);
        self.until.set(until);
        until == 0
    }

    /// The last block of a list of this slab's that begins with `first`, and how many there are.
    pub(super) fn last_of(&self, first: NonNull<FreeBlock>) -> (NonNull<FreeBlock>, u32) {
        let (mut last, mut blocks) = (first, 1);
        // SAFETY: What is on a list are free blocks with links.
        while let Some(next) = NonNull::new(unsafe { last.as_ref() }.next) {
            last = next;
            blocks += 1;
            // Of a block that was freed twice, the list leads to itself.
            misuse::check(blocks <= self.carved.get(), TWICE, next.addr().get());
        }
        (last, blocks)
    }

    /// Puts a list of `blocks` blocks from `first` to `last` on the slab's list.
    pub(super) fn push_all(&self, first: NonNull<FreeBlock>, last: NonNull<FreeBlock>, blocks: u32) {
        // SAFETY: The blocks are free, and so ours.
        unsafe { self.free.push_all(first, last) };
        self.until.set(self.until.get().wrapping_sub(blocks));
    }

    /// Takes all free blocks as a list, and carves some if there are few; null where there are none
    /// and there is no room either.
    #[inline]
    pub(super) fn take(&self) -> *mut FreeBlock {
        let free = self.carved.get().wrapping_sub(self.out());
        if self.holes.get() != 0 {
            return self.take_beside_holes();
        }
        let list = self.free.take();
        if free >= few(self.class()) { list } else { self.carve(list) }
    }

    /// Cuts some more blocks, and links them from the last of a short list on.
    #[inline(never)]
    fn carve(&self, list: *mut FreeBlock) -> *mut FreeBlock {
        let bytes = bytes_of(self.class());
        let carved = self.carved.get();
        let count = blocks_at_once(self.class(), carved, self.first.get()).min(self.capacity.get() - carved);
        if count == 0 {
            return list;
        }
        let first = ptr::up(self.start, self.first.get() as usize + carved as usize * bytes);
        let mut block = first.cast::<FreeBlock>();
        for _ in 1..count {
            let next = ptr::up(block, bytes);
            // SAFETY: The block is below `capacity`, so it lies in the slab, behind the header;
            // nobody has it yet.
            unsafe { block.write(FreeBlock { next }) };
            block = next;
        }
        // SAFETY: As above.
        unsafe { block.write(FreeBlock { next: null_mut() }) };
        self.carved.set(carved + count);
        let mut last = list;
        // SAFETY: What is on a list are free blocks with links.
        while let Some(block) = unsafe { last.as_ref() } {
            if block.next.is_null() {
                // SAFETY: As above; the block is ours.
                unsafe { last.write(FreeBlock { next: first.cast() }) };
                return list;
            }
            last = block.next;
        }
        first.cast()
    }

    /// Begins a countdown of `until`, when `rest` more blocks than that are out; gives how many
    /// more blocks are out than when the last one began.
    #[inline(always)]
    fn arm(&self, until: u32, rest: u32) -> isize {
        self.until.set(until);
        self.rest.set(rest);
        self.recount()
    }

    /// How many more blocks are out than when this was last asked, or the last countdown began.
    #[inline(always)]
    pub(super) fn recount(&self) -> isize {
        let out = self.out();
        // Both are below 2^31.
        out as isize - self.out.replace(out) as isize
    }

    /// All its blocks are out, or on the list of its class.
    #[inline(always)]
    pub(super) fn become_current(&self) -> isize {
        self.state.set(State::Current);
        self.arm(NEVER, self.carved.get().wrapping_sub(self.in_holes()).wrapping_sub(NEVER))
    }

    /// It has nothing to give for now.
    pub(super) fn become_full(&self) -> isize {
        self.state.set(State::Full);
        let wake = self.wake();
        self.arm(wake, self.out() - wake)
    }

    /// So many free blocks are enough: an eighth, so that a slab comes back with some and not with
    /// one, and at most an eighth of the memory waits unused.
    fn wake(&self) -> u32 {
        (self.capacity.get() / 8).clamp(1, 64)
    }

    /// Whether there are enough blocks to take for the slab to be queued.
    #[inline(always)]
    pub(super) fn has_enough(&self) -> bool {
        self.capacity.get().wrapping_sub(self.out()) >= self.wake()
    }

    /// It has blocks to give, and at least one is out.
    #[inline(always)]
    pub(super) fn become_queued(&self) -> isize {
        self.state.set(State::Queued);
        let out = self.out();
        let until = half_way(out);
        self.arm(until, out - until)
    }

    /// No block is out.
    pub(super) fn become_empty(&self) -> isize {
        self.state.set(State::Empty);
        self.arm(0, 0)
    }
}

/// Where the word of the slab at `start` is: behind the tier's.
#[cfg(feature = "std")]
#[inline(always)]
pub(super) const fn place_of_returned(start: NonNull<u8>) -> NonNull<Returned> {
    // SAFETY: It lies in the slab.
    unsafe { start.add(size_of::<usize>()) }.cast()
}
#[cfg(all(feature = "std", not(all(test, loom))))]
const _: () = assert!(size_of::<usize>() + size_of::<Returned>() <= RESERVED);

/// How many of the blocks that are out come back before a slab that waits is looked at again.
const fn half_way(out: u32) -> u32 {
    const FEW: u32 = 32;
    if out < FEW { out } else { out.div_ceil(2) }
}

/// How many blocks are carved at once, behind those that are: a page of them, and a few where that
/// would be fewer, so that a class is not refilled too often. At first what is left of the first
/// page, and then no more than there are, so that a class of few blocks touches few pages.
const fn blocks_at_once(class: usize, carved: u32, first: u32) -> u32 {
    const PAGE: usize = 4096;
    let bytes = bytes_of(class);
    if carved == 0 {
        let left = PAGE.saturating_sub(first as usize) / bytes;
        return if left > 1 { small(left) } else { 1 };
    }
    let page = PAGE / bytes;
    let page = small(page);
    let most = if page > few(class) { page } else { few(class) };
    if most < carved { most } else { carved }
}

/// Fewer free blocks of a class than this are few.
const fn few(class: usize) -> u32 {
    const UP_TO_1_KIB: usize = class_of(1024);
    const UP_TO_8_KIB: usize = class_of(8192);
    if class <= UP_TO_1_KIB {
        16
    } else if class <= UP_TO_8_KIB {
        8
    } else {
        2
    }
}

/// A number of bytes or blocks within a slab.
const fn small(number: usize) -> u32 {
    debug_assert!(number <= u32::MAX as usize);
    number as u32
}

/// Writes all of the header but what comes before all headers.
///
/// # Safety
/// A header can be written at `at`.
unsafe fn copy_header(at: *mut Slab, slab: &Slab) {
    let skip = memoffset::offset_of!(Slab, queue_links);
    let from = core::ptr::from_ref(slab).cast::<u8>();
    // SAFETY: Both have as many bytes, and the new one is a local variable of the caller, apart
    // from the slab.
    unsafe {
        ptr::up(at.cast::<u8>(), skip)
            .copy_from_nonoverlapping(from.wrapping_add(skip), size_of::<Slab>() - skip);
    }
}

#[path = "holes.rs"]
mod holes;
#[cfg(feature = "std")]
#[path = "nobodys.rs"]
mod nobodys;

#[cfg(all(test, feature = "std", not(loom)))]
#[path = "header_check.rs"]
mod check;
