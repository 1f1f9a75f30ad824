//! The source under a heap's allocator: it records whose the memory is.
//!
//! Over a source of equal blocks (`BLOCK` not zero) each block begins with a header that leads to
//! the heap, and the page map says how to find the header:
//!
//! ```text
//!   block (BLOCK bytes, multiple of BLOCK)
//!   +---------+------------------------------------------------+
//!   | control |            region, for the allocator           |
//!   +---------+------------------------------------------------+
//!   0         16 (or the alignment asked for)
//! ```
//!
//! The map's entries for such slices are made once and stay until the source gives the memory back.
//! Over any other source a region is whole slices, entered in the map with the heap itself while
//! the heap holds them; or, if it is shorter than a slice, such a block in a slice of
//! [small regions](super::small_regions). Of an allocator that bumps, all regions are such blocks,
//! the longer ones of whole slices, and each counts the heap's blocks in it once it is no longer
//! the window. They grow by an eighth of what the heap holds, from 1 KiB to 4 MiB; a heap of a
//! control block whose last one held more takes as much in one or two.
//!
//! An allocator of slabs leaves room for the header within its regions, whatever the source: then
//! all of a block, or the slices that it takes to hold what was asked for, are its region, at a
//! multiple of their size, and the map says of each of them how to find the header. What a source
//! gives beyond that is not used.
//!
//! In any case the heap's bytes are charged against its limit before, and refunded after.

use core::cell::Cell;
use core::ptr::NonNull;

use super::allocator::{CacheOf, Declaration, HeapAllocator, HeapsOf, TierSource, bumps};
use super::control::{ControlRef, Shared};
use super::declare::TierAllocator;
use super::small_regions::{Block, LONGEST, SHORTEST, SliceRecord};
use crate::alloc::{LocalAllocator, ThreadCacheFor};
use crate::error::SourceError;
use crate::layout::{NonZeroLayout, round_up};
use crate::page_map::Entry;
use crate::ptr;
use crate::source::request::obtain_units;
use crate::source::through::pass_on_sweep;
use crate::source::{MemorySource, Obtained, SLICE};

/// What a block begins with; of a slab, only the first field is the tier's.
#[repr(C)]
pub(super) struct BlockHeader {
    pub(super) control: ControlRef,
    kind: Cell<Kind>,
}

/// What a block is: one of small regions, with the record of its slice, or whole slices (or what
/// the source calls a block), with how many blocks of its heap are allocated in it, as a number
/// with its lowest bit set.
#[derive(Clone, Copy)]
struct Kind(*mut SliceRecord);

impl Kind {
    fn small(record: NonNull<SliceRecord>) -> Self {
        Self(record.as_ptr())
    }

    fn long(live: usize) -> Self {
        Self(core::ptr::without_provenance_mut(live << 1 | 1))
    }

    #[inline(always)]
    fn record(self) -> Option<NonNull<SliceRecord>> {
        if self.0.addr() & 1 != 0 {
            return None;
        }
        // SAFETY: Without the bit it is a record's pointer.
        Some(unsafe { NonNull::new_unchecked(self.0) })
    }

    /// Of whole slices, one block less.
    #[inline(always)]
    fn one_less(self) -> Self {
        Self(self.0.wrapping_byte_sub(2))
    }
}

const HEADER: usize = 16;

/// Of a source that gives more than is asked for, so much is used, in bytes: then 32 bits count the
/// blocks in a region.
const LONGEST_REGION: usize = 1 << 30;

/// No region is longer, as a power of two, because its heap holds much, or is expected to.
pub(super) const LONGEST_GROWTH: u32 = 22;

/// A free control block keeps a region of at most this many bytes.
pub(super) const MOST_KEPT: usize = 64 * 1024;
const _: () = assert!(size_of::<BlockHeader>() <= HEADER && memoffset::offset_of!(BlockHeader, control) == 0);

/// The heap of a block in a slice of blocks with headers.
///
/// # Safety
/// `entry` is the page map's, of the slice in which the allocated block lies, and says that the
/// slice consists of blocks with headers.
#[inline(always)]
pub(super) unsafe fn header_owner(entry: Entry, block: NonNull<u8>) -> ControlRef {
    let header: *mut ControlRef = entry.block_start(block.addr().get()).cast();
    // SAFETY: The header was written before any block behind it was handed out, and is not written
    // again while one is allocated. It begins with the control block.
    unsafe { header.read() }
}

/// The largest size or alignment in bytes that the allocators of a tier are asked for; what is
/// larger is a large object.
pub(super) const fn largest<D: Declaration, Tier: HeapsOf<D>>() -> usize {
    let allocator = <HeapAllocator<D, Tier> as LocalAllocator>::LARGEST;
    let block = <Stored<D, Tier> as MemorySource>::BLOCK;
    let source = match block {
        // A block that leaves by itself, rather than with its region.
        0 if bumps::<D, Tier>() => SLICE / 2,
        0 => 4 * SLICE,
        block => block / 2,
    };
    if allocator < source { allocator } else { source }
}

/// The source that all heaps of a tier share.
type Stored<D, Tier> = <<Tier as HeapsOf<D>>::Allocator as TierAllocator>::TierSource;

impl<D: Declaration, Tier: HeapsOf<D>> TierSource<D, Tier> {
    const BLOCK: usize = {
        let block = <Stored<D, Tier> as MemorySource>::BLOCK;
        assert!(
            !<Stored<D, Tier> as MemorySource>::SHARES_SLICES,
            "this source cannot stand in a tier, because it may share 64 KiB slices with memory of others: use an \
             ArenaSource by value, whose chunks are at least U65536, or a source of whole regions"
        );
        assert!(
            block == 0 || block >= 256,
            "the blocks of an ArenaSource in a tier must be at least U256, because each begins with a header"
        );
        block
    };

    /// Whether regions are slabs, which the header lies in and not before.
    const SLABS: bool = <CacheOf<D, Tier> as ThreadCacheFor<HeapAllocator<D, Tier>>>::SLABS;

    /// Whether regions that are shorter than a slice are cut from slices which heaps share.
    pub(super) const CUTS: bool = Self::BLOCK == 0 && !Self::SLABS;

    fn shared(&self) -> &Shared {
        self.control.shared()
    }

    fn charge(&self, bytes: usize) -> bool {
        D::allocator().accounts.charge(self.shared(), bytes)
    }

    fn refund(&self, bytes: usize) {
        D::allocator().accounts.refund(self.shared(), bytes);
    }

    /// Bytes before the region in its block.
    fn offset(layout: NonZeroLayout) -> usize {
        layout.align().max(HEADER)
    }

    fn obtain_block(&self, layout: NonZeroLayout) -> Result<Obtained, SourceError> {
        let offset = Self::offset(layout);
        let size = layout.size().checked_add(offset).ok_or(SourceError::TooLarge)?;
        if size > Self::BLOCK {
            return Err(SourceError::TooLarge);
        }
        let asked = layout.with_size(size)?;
        let Obtained { region: block, zeroed } = Tier::source().obtain_between(asked, size)?;
        let start = block.cast::<u8>();
        if let Err(error) = enter_block::<D>(start, Self::BLOCK) {
            // SAFETY: Just obtained with this layout; nobody has seen it.
            unsafe { Tier::source().release(block, asked) };
            return Err(error);
        }
        // SAFETY: The block is ours and begins with room for the header.
        unsafe {
            start
                .cast::<BlockHeader>()
                .write(BlockHeader { control: self.control, kind: Cell::new(Kind::long(0)) })
        };
        // SAFETY: `offset` is less than the block's size.
        let region = ptr::bytes(unsafe { start.add(offset) }, Self::BLOCK - offset);
        Ok(Obtained { region, zeroed })
    }

    /// # Safety
    /// As [`MemorySource::release`].
    unsafe fn release_block(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let offset = Self::offset(layout);
        // SAFETY: `obtain_block` put the region `offset` bytes behind the block's start.
        let start = unsafe { region.cast::<u8>().sub(offset) };
        let block = ptr::bytes(start, Self::BLOCK);
        if let Ok(layout) = layout.with_size(Self::BLOCK) {
            // SAFETY: The source holds the block, which nobody uses; it has the length that was
            // returned.
            unsafe { Tier::source().release(block, layout) };
        }
    }

    /// How long the block of a region is best, as a power of two, for a heap whose allocator
    /// prefers so many bytes behind `offset`.
    fn best_order(&self, offset: usize, preferred: usize) -> Option<u32> {
        if !bumps::<D, Tier>() {
            return order(preferred.saturating_add(offset));
        }
        let (held, expected) = (self.shared().held(), self.control.expected());
        let expected = if held == 0 { expected.min(MOST_KEPT) } else { expected.saturating_sub(held) };
        Some((held / 8).max(expected).clamp(1 << SHORTEST, 1 << LONGEST_GROWTH).ilog2())
    }

    /// The longest block, as a power of two.
    const LONGEST_BLOCK: u32 = if bumps::<D, Tier>() { LONGEST_GROWTH } else { LONGEST };

    /// Obtains a region in a block of a power of two: the best that the limit and the source have.
    ///
    /// # Errors
    /// The reason why there is none of the least size.
    fn obtain_power(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let offset = Self::offset(least);
        let needed = least.size().checked_add(offset).ok_or(SourceError::TooLarge)?;
        let shortest = order(needed).ok_or(SourceError::TooLarge)?.max(SHORTEST);
        let mut best = self.best_order(offset, preferred).ok_or(SourceError::TooLarge)?.max(shortest);
        // Of many blocks that are a little too long for the next shorter length, three share a
        // region twice as long.
        let little_too_long = (1 << shortest >> 1..=3 << shortest >> 2).contains(&needed);
        if bumps::<D, Tier>() && little_too_long && self.shared().held() >= 1 << shortest {
            best = best.max(shortest + 1).min(LONGEST_GROWTH.max(shortest));
        }
        if shortest > Self::LONGEST_BLOCK || (best > LONGEST && !bumps::<D, Tier>()) {
            return Err(SourceError::TooLarge);
        }
        let mut order = best;
        loop {
            let refusal = match self.obtain_block_of(order, offset) {
                Ok(obtained) => return Ok(obtained),
                Err(refusal) => refusal,
            };
            if order == shortest {
                return Err(refusal);
            }
            order -= 1;
        }
    }

    /// Obtains a block of that length; the region behind its first `offset` bytes.
    fn obtain_block_of(&self, order: u32, offset: usize) -> Result<Obtained, SourceError> {
        if !self.charge(1 << order) {
            return Err(SourceError::HeapLimitReached);
        }
        let obtained = if order <= LONGEST { Self::cut(order) } else { Self::obtain_long(order) };
        let (start, kind, zeroed) = obtained.inspect_err(|_| self.refund(1 << order))?;
        let header = BlockHeader { control: self.control, kind: Cell::new(kind) };
        // SAFETY: The block is ours and begins with room for the header.
        unsafe { start.cast::<BlockHeader>().write(header) };
        // SAFETY: The caller made room for the offset in the shortest block.
        let region = ptr::bytes(unsafe { start.add(offset) }, (1 << order) - offset);
        Ok(Obtained { region, zeroed })
    }

    /// Obtains whole slices for a block, which the map leads to from each of them.
    fn obtain_long(order: u32) -> Result<(NonNull<u8>, Kind, bool), SourceError> {
        let asked = NonZeroLayout::from_size_align(1 << order, 1 << order)?;
        let Obtained { region, zeroed } = Tier::source().obtain_between(asked, asked.size())?;
        let start = region.cast::<u8>();
        let entry = Entry::masked(start, order);
        if let Err(error) = D::page_map().insert_range(start.addr().get(), asked.size(), entry) {
            // SAFETY: Just obtained with this layout; nobody has seen it.
            unsafe { Tier::source().release(region, asked) };
            return Err(error);
        }
        Ok((start, Kind::long(0), zeroed))
    }

    /// Takes a block from a slice of the tier, or from a new one.
    fn cut(order: u32) -> Result<(NonNull<u8>, Kind, bool), SourceError> {
        if let Some(block) = Tier::small_regions().take(order) {
            return Ok((block.start, Kind::small(block.record), false));
        }
        let asked = slices(NonZeroLayout::of::<u8>().ok_or(SourceError::TooLarge)?)?;
        let slice = Tier::source().obtain(asked)?.cast::<u8>();
        let address = slice.addr().get();
        let entered = D::page_map().insert(address, Entry::masked(slice, order));
        // SAFETY: The slice was just obtained, and whoever takes a block has it from here.
        let block = entered.and_then(|()| unsafe { Tier::small_regions().add(slice, order) });
        let block = block.inspect_err(|_| {
            if entered.is_ok() {
                D::page_map().remove(address);
            }
            // SAFETY: Just obtained with this layout; nobody has seen it.
            unsafe { Tier::source().release(ptr::bytes(slice, SLICE), asked) };
        })?;
        Ok((block.start, Kind::small(block.record), false))
    }

    /// # Safety
    /// As [`MemorySource::release`]; the region lies in a block of a power of two.
    unsafe fn release_power(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let offset = Self::offset(layout);
        // SAFETY: `obtain_block_of` put the region `offset` bytes behind the block's start.
        let start = unsafe { region.cast::<u8>().sub(offset) };
        let len = region.len() + offset;
        self.refund(len);
        // SAFETY: The block begins with its header, which `obtain_block_of` wrote.
        let kind = unsafe { start.cast::<BlockHeader>().as_ref() }.kind.get();
        if let Some(record) = kind.record() {
            // SAFETY: The block was taken with that record, and nobody uses it.
            if let Some(slice) = unsafe { Tier::small_regions().give(Block { start, record }) } {
                Self::release_slice(slice);
            }
            return;
        }
        D::page_map().remove_range(start.addr().get(), len);
        if let Ok(asked) = NonZeroLayout::from_size_align(len, len) {
            // SAFETY: `obtain_long` obtained the block with this layout; nobody uses it.
            unsafe { Tier::source().release(ptr::bytes(start, len), asked) };
        }
    }

    /// Notes how many blocks of the heap are allocated in a region, if it lies in a block of a
    /// power of two.
    ///
    /// # Safety
    /// This source obtained the region, at an alignment of at most 16, and holds it; the caller is
    /// the heap's user.
    pub(super) unsafe fn set_live(region: NonNull<u8>, live: usize) {
        if !Self::CUTS || region.addr().get().is_multiple_of(SLICE) {
            return;
        }
        // SAFETY: The region is none of whole slices, so it begins behind its block's header.
        let start = unsafe { region.sub(HEADER) };
        // SAFETY: As above.
        let header = unsafe { start.cast::<BlockHeader>().as_ref() };
        let Some(record) = header.kind.get().record() else {
            return header.kind.set(Kind::long(live));
        };
        // SAFETY: The block was taken with that record; the caller is the heap's user.
        let count = unsafe { Block { start, record }.live() };
        count.set(u16::try_from(live).unwrap_or(u16::MAX));
    }

    /// Counts a block that was freed in the region behind a header, for which `set_live` noted how
    /// many were allocated; the region, if that was the last.
    ///
    /// # Safety
    /// The header is that of a region which this source obtained, at an alignment of at most 16,
    /// and holds, and may access it; the caller is the heap's user.
    #[inline(always)]
    pub(super) unsafe fn count_freed_behind(start: NonNull<u8>) -> Option<NonNull<u8>> {
        // SAFETY: The block begins with its header, which was written before the region was handed
        // out.
        let header = unsafe { start.cast::<BlockHeader>().as_ref() };
        let kind = header.kind.get();
        let none_left = match kind.record() {
            Some(record) => {
                // SAFETY: The block was taken with that record; the caller is the heap's user.
                let live = unsafe { Block { start, record }.live() };
                live.set(live.get().wrapping_sub(1));
                live.get() == 0
            }
            None => {
                header.kind.set(kind.one_less());
                header.kind.get().0.addr() == Kind::long(0).0.addr()
            }
        };
        // SAFETY: The region lies behind the header, in the same block.
        none_left.then(|| unsafe { start.add(HEADER) })
    }

    /// Gives slices that are wholly free back to the source.
    pub(super) fn release_empty_slices() {
        while let Some(slice) = Tier::small_regions().take_empty() {
            Self::release_slice(slice);
        }
    }

    /// Gives a slice back that just left the small regions.
    fn release_slice(slice: NonNull<u8>) {
        D::page_map().remove(slice.addr().get());
        if let Ok(asked) = NonZeroLayout::from_size_align(SLICE, SLICE) {
            // SAFETY: `cut` obtained the slice with this layout; none of its blocks is held.
            unsafe { Tier::source().release(ptr::bytes(slice, SLICE), asked) };
        }
    }

    fn obtain_slab(&self, layout: NonZeroLayout) -> Result<Obtained, SourceError> {
        let (asked, len) = Self::for_slab(layout)?;
        if layout.size() > len {
            return Err(SourceError::TooLarge);
        }
        let region = Tier::source().obtain(asked)?;
        let start = region.cast::<u8>();
        let entered = if Self::BLOCK == 0 {
            D::page_map().insert_range(start.addr().get(), len, Entry::masked(start, len.ilog2()))
        } else {
            enter_block::<D>(start, len)
        };
        if let Err(error) = entered {
            // SAFETY: Just obtained with this layout; nobody has seen it.
            unsafe { Tier::source().release(region, asked) };
            return Err(error);
        }
        // SAFETY: The slab is ours, and its allocator leaves the first word to us.
        unsafe { start.cast::<ControlRef>().write(self.control) };
        Ok(Obtained { region: ptr::bytes(start, len), zeroed: false })
    }

    /// # Safety
    /// As [`MemorySource::release`].
    unsafe fn release_slab(&self, start: NonNull<u8>, layout: NonZeroLayout) {
        let Ok((asked, len)) = Self::for_slab(layout) else { return };
        self.refund(len);
        if Self::BLOCK == 0 {
            D::page_map().remove_range(start.addr().get(), len);
        }
        // SAFETY: The source holds the region, which nobody uses, and which is at least that long.
        unsafe { Tier::source().release(ptr::bytes(start, len), asked) };
    }

    /// What the source is asked for where an allocator asks for a slab, and how long the region is
    /// then: a power of two.
    fn for_slab(layout: NonZeroLayout) -> Result<(NonZeroLayout, usize), SourceError> {
        if Self::BLOCK != 0 {
            return Ok((layout, Self::BLOCK));
        }
        let asked = slices(layout)?;
        Ok((asked, asked.size()))
    }

    /// Obtains whole slices; `least` and `preferred` are such.
    fn obtain_slices(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let obtained = obtain_units(Tier::source(), least, preferred, SLICE)?;
        let obtained = obtained.cut(obtained.region.len().min(LONGEST_REGION.max(preferred)));
        let (start, len) = (obtained.region.cast::<u8>(), obtained.region.len());
        if let Err(error) =
            D::page_map().insert_range(start.addr().get(), len, Entry::direct(self.control.as_ptr()))
        {
            let fits = NonZeroLayout::of_region(len, least.align())?;
            // SAFETY: Just obtained, and nobody has seen it; whole slices of a region fit it.
            unsafe { Tier::source().release(obtained.region, fits) };
            return Err(error);
        }
        Ok(obtained)
    }

    /// Charges whole slices, as many as preferred or as the heap's limit leaves; returns how many
    /// bytes that was.
    fn charge_slices(&self, least: usize, preferred: usize) -> Option<usize> {
        let shared = self.shared();
        let left = shared.limit().saturating_sub(shared.held()) & !(SLICE - 1);
        let most = preferred.min(left).max(least);
        if self.charge(most) {
            return Some(most);
        }
        (most > least && self.charge(least)).then_some(least)
    }

    /// Obtains a block, a slab, or whole slices.
    fn obtain_whole(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let charged = if Self::BLOCK == 0 {
            let (least, most) = (slices(least)?.size(), Self::MAX_REGION);
            let preferred = if Self::CUTS { (preferred.min(most) & !(SLICE - 1)).max(least) } else { least };
            self.charge_slices(least, preferred)
        } else {
            self.charge(Self::BLOCK).then_some(Self::BLOCK)
        };
        let charged = charged.ok_or(SourceError::HeapLimitReached)?;
        let obtained = match Self::BLOCK {
            _ if Self::SLABS => self.obtain_slab(least),
            0 => slices(least).and_then(|least| self.obtain_slices(least, charged)),
            _ => self.obtain_block(least),
        };
        match obtained {
            Err(_) => self.refund(charged),
            // A source may give more slices than asked; they count, though no limit refuses them
            // any more.
            Ok(Obtained { region, .. }) if Self::CUTS && region.len() > charged => {
                D::allocator().accounts.charge_beyond_limit(self.shared(), region.len() - charged);
            }
            Ok(Obtained { region, .. }) if Self::CUTS => self.refund(charged - region.len()),
            Ok(_) => {}
        }
        obtained
    }

    /// # Safety
    /// As [`MemorySource::release`].
    unsafe fn release_slices(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // The region's length may be cut to what fits, but slices are entered whole.
        let (Ok(asked), Some(len)) = (slices(layout), round_up(region.len(), SLICE)) else { return };
        let start = region.cast::<u8>();
        D::page_map().remove_range(start.addr().get(), len);
        // SAFETY: The source holds the region, which nobody uses; alignment and length fit it.
        unsafe { Tier::source().release(ptr::bytes(start, len), asked) };
    }
}

/// The power of two that so many bytes need.
fn order(bytes: usize) -> Option<u32> {
    Some(bytes.checked_next_power_of_two()?.ilog2())
}

/// The layout in whole slices.
fn slices(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
    let size = round_up(layout.size(), SLICE).ok_or(SourceError::TooLarge)?;
    Ok(NonZeroLayout::from_size_align(size, layout.align().max(SLICE))?)
}

/// Sees to it that the map knows the slices of a block of `size` bytes.
///
/// Blocks of one source have one size, and the map keeps their entries, so that nearly always this
/// finds them there.
fn enter_block<D: Declaration>(start: NonNull<u8>, size: usize) -> Result<(), SourceError> {
    let first = start.addr().get() & !(SLICE - 1);
    // The entry's pointer may access the slice: a block that is smaller than a slice comes from a
    // chunk of whole slices.
    let base = ptr::at(start.as_ptr(), first);
    let Some(base) = NonNull::new(base) else { return Err(SourceError::AddressOutOfRange) };
    let entry = Entry::masked(base, size.ilog2());
    let page_map = D::page_map();
    if page_map.get(first) == entry {
        return Ok(());
    }
    // The first slice last, so that its entry says that all are there.
    for slice in (first..first + size.max(SLICE)).step_by(SLICE).rev() {
        page_map.insert(slice, entry)?;
    }
    Ok(())
}

// SAFETY: A region is part of a block, or all of a region, of the tier's source, for which that
// source vouches; the header lies before it, or in what an allocator of slabs leaves to it. It is
// as aligned as asked: a block at a multiple of its size, plus an offset that is a multiple of the
// alignment; or slices asked for at that alignment. `BLOCK` is zero, since regions begin behind a
// header or with one.
unsafe impl<D: Declaration, Tier: HeapsOf<D>> MemorySource for TierSource<D, Tier> {
    const MIN_ALIGN: usize = if Self::CUTS {
        HEADER
    } else if Self::BLOCK == 0 {
        SLICE
    } else if Self::SLABS {
        Self::BLOCK
    } else {
        HEADER
    };
    const MAX_REGION: usize = if Self::BLOCK == 0 {
        Stored::<D, Tier>::MAX_REGION & !(SLICE - 1)
    } else if Self::SLABS {
        Self::BLOCK
    } else {
        Self::BLOCK - HEADER
    };

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        if !Self::CUTS {
            return self.obtain_whole(least, preferred);
        }
        self.obtain_power(least, preferred).or_else(|refusal| match refusal {
            SourceError::LimitReached | SourceError::HeapLimitReached if bumps::<D, Tier>() => Err(refusal),
            // Too large for a block, or more aligned than the source gives it.
            _ => self.obtain_whole(least, preferred),
        })
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        if Self::CUTS && !region.addr().get().is_multiple_of(SLICE) {
            // SAFETY: The caller obtained the region here, for that layout, and nobody uses it; it
            // lies behind a header, because all others are whole slices.
            unsafe { self.release_power(region, layout) };
        } else if Self::SLABS {
            // SAFETY: The caller obtained the region here, for that layout, and nobody uses it.
            unsafe { self.release_slab(region.cast(), layout) };
        } else if Self::BLOCK == 0 {
            self.refund(round_up(region.len(), SLICE).unwrap_or(region.len()));
            // SAFETY: The caller obtained the region here, for that layout, and nobody uses it.
            unsafe { self.release_slices(region, layout) };
        } else {
            self.refund(Self::BLOCK);
            // SAFETY: The caller obtained the region here, for that layout, and nobody uses it.
            unsafe { self.release_block(region, layout) };
        }
    }

    pass_on_sweep!(self => Tier::source());
}
