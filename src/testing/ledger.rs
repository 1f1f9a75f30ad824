//! The blocks of one allocator, and the only place that calls its unsafe methods.
//!
//! Always: each block in the ledger is currently allocated by the ledger's allocator, its whole
//! real length holds the pattern of its number, and no two blocks overlap. Every call is checked
//! against that and against what the [`Allocator`] contract says of its result, so a test that only
//! goes through a ledger has tested the contract.
//!
//! A block is given back with each kind of layout that fits it in turn: the size asked for, the
//! size returned, and one between them.

use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::vec::Vec;

use crate::alloc::{Allocator, ResizeInPlace};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

use super::pattern::{Pattern, bytes};

/// A block that a ledger holds, or somebody who [took it out](Ledger::take_out) of one.
#[derive(Debug)]
pub struct Held {
    start: NonNull<u8>,
    len: usize,
    layout: NonZeroLayout,
    number: u64,
}

// SAFETY: The bytes are the holder's alone; whether a block may be freed on another thread is the
// allocator's to say, by being `Sync` or `Send`.
unsafe impl Send for Held {}
// SAFETY: What is shared is only read.
unsafe impl Sync for Held {}

impl Held {
    /// Where the block starts.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The address of the block.
    #[must_use]
    pub fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// The real length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no block is empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What was asked for.
    #[must_use]
    pub fn layout(&self) -> NonZeroLayout {
        self.layout
    }

    /// The whole block, each byte of which holds the pattern.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: The block is allocated and filled, as in every `Held`, and only its holder writes
        // it.
        unsafe { bytes(self.start, self.len) }
    }

    /// Checks that every byte is what was written.
    pub fn verify(&self) {
        assert!(Pattern::of(self.number).matches(self.bytes()), "the contents of {self:?} changed");
    }

    /// A layout that fits, of at most `most` bytes where that is not less than what was asked for;
    /// the kinds take turns.
    fn fitting(&self, most: usize) -> NonZeroLayout {
        let asked = self.layout.size();
        let size = match self.number % 3 {
            0 => asked,
            1 => self.len,
            _ => asked.midpoint(self.len),
        };
        self.layout.with_size(size.min(most.max(asked))).unwrap_or(self.layout)
    }
}

/// How a block is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// [`Allocator::grow`].
    Grow,
    /// [`Allocator::grow_zeroed`].
    GrowZeroed,
    /// [`Allocator::shrink`].
    Shrink,
}

/// The blocks of one allocator, by address.
///
/// The allocator is a trait object, so that a test program has the code of its ledgers once.
pub struct Ledger<'a, A: ?Sized = dyn Allocator + 'a> {
    allocator: &'a A,
    blocks: BTreeMap<usize, Held>,
    bytes: usize,
    next: u64,
}

impl<'a> Ledger<'a> {
    /// An empty ledger for `allocator`.
    pub fn new(allocator: &'a (dyn Allocator + 'a)) -> Self {
        Self::of(allocator)
    }
}

impl<'a> Ledger<'a, dyn ResizeInPlace + 'a> {
    /// An empty ledger for `allocator`, whose blocks can be resized where they are.
    pub fn in_place(allocator: &'a (dyn ResizeInPlace + 'a)) -> Self {
        Self::of(allocator)
    }
}

impl<A: ?Sized> fmt::Debug for Ledger<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl<'a, A: Allocator + ?Sized> Ledger<'a, A> {
    /// An empty ledger that knows the type of its allocator, to be used on several threads.
    pub fn of(allocator: &'a A) -> Self {
        Self { allocator, blocks: BTreeMap::new(), bytes: 0, next: 0 }
    }

    /// How many blocks it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether it holds no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes of the blocks, by real length.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The block at `address`, which must be there.
    #[must_use]
    pub fn get(&self, address: usize) -> &Held {
        &self.blocks[&address]
    }

    /// The blocks, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.blocks.values()
    }

    /// Allocates a block; its address is its name from now on.
    ///
    /// # Errors
    /// The allocator's.
    pub fn allocate(&mut self, layout: NonZeroLayout) -> Result<usize, AllocError> {
        let block = self.allocator.allocate(layout)?;
        Ok(self.enter(block, layout))
    }

    /// Allocates a block and checks that all of it is zero.
    ///
    /// # Errors
    /// The allocator's.
    pub fn allocate_zeroed(&mut self, layout: NonZeroLayout) -> Result<usize, AllocError> {
        let block = self.allocator.allocate_zeroed(layout)?;
        // SAFETY: The block was just returned, so it is readable and ours, and zeroed memory is
        // initialised.
        assert_zero(unsafe { bytes(block.cast(), block.len()) });
        Ok(self.enter(block, layout))
    }

    /// Resizes the block at `address`, checks what its bytes became, and returns its new address.
    ///
    /// # Errors
    /// The allocator's; the block was then checked to be unchanged.
    pub fn resize(&mut self, address: usize, new: NonZeroLayout, way: Way) -> Result<usize, AllocError> {
        let most = self.largest_old(address, new, way);
        self.replace(address, new, most, way == Way::GrowZeroed, |allocator, block, old| match way {
            // SAFETY: `replace` passes a block of this allocator and a layout that fits it and is
            // not larger.
            Way::Grow => unsafe { allocator.grow(block, old, new) },
            // SAFETY: As for `Grow`.
            Way::GrowZeroed => unsafe { allocator.grow_zeroed(block, old, new) },
            // SAFETY: `replace` passes a block of this allocator and a layout that fits it and is
            // not smaller.
            Way::Shrink => unsafe { allocator.shrink(block, old, new) },
        })
    }

    /// Frees the block at `address` after a look at its bytes.
    pub fn free(&mut self, address: usize) {
        let held = self.take(address);
        self.free_as(&held, held.fitting(usize::MAX).size());
    }

    /// Frees `held`, taken from a ledger of the same allocator, with a layout of `size` bytes,
    /// which must fit.
    pub fn free_as(&self, held: &Held, size: usize) {
        held.verify();
        assert!((held.layout.size()..=held.len).contains(&size));
        let layout = held.layout.with_size(size).expect("the sizes on both sides are sizes of layouts");
        // SAFETY: What a ledger held is allocated by its allocator, and it was taken out, so this
        // is the last use; the size was just checked to fit, and the alignment is the one asked
        // for.
        unsafe { self.allocator.deallocate(held.start, layout) };
    }

    /// Takes a block out of the ledger, still allocated.
    ///
    /// # Safety
    /// While the block is used, by [`Held::bytes`] or [`Held::verify`] or in another ledger, its
    /// allocator lives and has not been reset. It is put back or freed at most once, with a ledger
    /// of the same allocator.
    pub unsafe fn take_out(&mut self, address: usize) -> Held {
        self.take(address)
    }

    /// Takes all blocks out of the ledger, still allocated.
    ///
    /// # Safety
    /// As [`take_out`](Self::take_out), for each of them.
    pub unsafe fn take_all_out(&mut self) -> Vec<Held> {
        self.take_all()
    }

    /// As [`take_out`](Self::take_out), for those who keep its promises.
    pub(super) fn take(&mut self, address: usize) -> Held {
        let held = self.blocks.remove(&address).expect("the ledger holds the block");
        self.bytes -= held.len;
        held
    }

    /// As [`take_all_out`](Self::take_all_out), for those who keep its promises.
    pub(super) fn take_all(&mut self) -> Vec<Held> {
        self.bytes = 0;
        std::mem::take(&mut self.blocks).into_values().collect()
    }

    /// Puts in a block that was [taken out](Self::take_out) of a ledger of the same allocator.
    pub fn put(&mut self, held: Held) {
        held.verify();
        self.check_apart(held.address(), held.len);
        self.next = self.next.max(held.number + 1);
        self.insert(held);
    }

    fn insert(&mut self, held: Held) {
        self.bytes += held.len;
        self.blocks.insert(held.address(), held);
    }

    /// Checks every block.
    pub fn verify(&self) {
        self.blocks.values().for_each(Held::verify);
    }

    /// Checks and frees every block.
    pub fn free_all(&mut self) {
        while let Some((&address, _)) = self.blocks.first_key_value() {
            self.free(address);
        }
    }

    /// The largest size that the old layout may have, for a resize that must be possible.
    fn largest_old(&self, address: usize, new: NonZeroLayout, way: Way) -> usize {
        let asked = self.get(address).layout.size();
        if way == Way::Shrink {
            assert!(new.size() <= asked, "the test shrinks {asked} bytes to {new:?}");
            usize::MAX
        } else {
            assert!(new.size() >= asked, "the test grows {asked} bytes to {new:?}");
            new.size()
        }
    }

    fn replace(
        &mut self,
        address: usize,
        new: NonZeroLayout,
        most: usize,
        zeroed: bool,
        call: impl FnOnce(&A, NonNull<u8>, NonZeroLayout) -> Result<NonNull<[u8]>, AllocError>,
    ) -> Result<usize, AllocError> {
        let held = self.take(address);
        held.verify();
        let old = held.fitting(most);
        let block = match call(self.allocator, held.start, old) {
            Ok(block) => block,
            Err(error) => {
                held.verify();
                self.insert(held);
                return Err(error);
            }
        };
        let kept = old.size().min(new.size());
        assert!(block.len() >= new.size(), "{new:?} became {} bytes", block.len());
        // SAFETY: The block was just returned, so it is readable and ours; the contract says that
        // these bytes keep their values, which `held` had initialised.
        let contents = unsafe { bytes(block.cast(), kept) };
        assert!(Pattern::of(held.number).matches(contents), "resizing {held:?} to {new:?} lost bytes");
        if zeroed {
            // SAFETY: As above; zeroed memory is initialised.
            assert_zero(&unsafe { bytes(block.cast(), block.len()) }[kept..]);
        }
        Ok(self.enter(block, new))
    }

    /// Checks what the allocator returned for `layout`, fills it and keeps it.
    fn enter(&mut self, block: NonNull<[u8]>, layout: NonZeroLayout) -> usize {
        let held = Held { start: block.cast(), len: block.len(), layout, number: self.next };
        assert!(held.len >= layout.size(), "{layout:?} was given {} bytes", held.len);
        assert!(held.len <= isize::MAX as usize);
        assert!(held.address().is_multiple_of(layout.align()), "{layout:?} was put at {:#x}", held.address());
        self.check_apart(held.address(), held.len);
        // SAFETY: The block was just returned with this length, so all of it is writable.
        unsafe { Pattern::of(held.number).fill(held.start, held.len) };
        self.next += 1;
        let address = held.address();
        self.insert(held);
        address
    }

    /// Checks that no block overlaps the `len` bytes at `address`.
    fn check_apart(&self, address: usize, len: usize) {
        let end = address.checked_add(len).expect("a block does not wrap around");
        if let Some((_, below)) = self.blocks.range(..end).next_back() {
            let below_end = below.address() + below.len;
            assert!(below_end <= address, "{len} bytes at {address:#x} overlap {below:?}");
        }
    }
}

impl Ledger<'_, dyn ResizeInPlace + '_> {
    /// Resizes the block at `address` where it is.
    ///
    /// # Errors
    /// The allocator's, which must be [`AllocError::NotInPlace`]; the block was checked to be
    /// unchanged.
    pub fn resize_in_place(
        &mut self,
        address: usize,
        new: NonZeroLayout,
        way: Way,
    ) -> Result<(), AllocError> {
        let most = self.largest_old(address, new, way);
        let result = self.replace(address, new, most, false, |allocator, block, old| match way {
            // SAFETY: `replace` passes a block of this allocator and a layout that fits it and is
            // not smaller.
            Way::Shrink => unsafe { allocator.shrink_in_place(block, old, new) },
            // SAFETY: `replace` passes a block of this allocator and a layout that fits it and is
            // not larger.
            Way::Grow | Way::GrowZeroed => unsafe { allocator.grow_in_place(block, old, new) },
        });
        match result {
            Ok(same) => assert_eq!(same, address, "a block resized in place moved"),
            Err(error) => assert_eq!(error, AllocError::NotInPlace),
        }
        result.map(drop)
    }
}

#[track_caller]
fn assert_zero(bytes: &[u8]) {
    assert!(bytes.iter().all(|&byte| byte == 0), "memory said to be zeroed is not");
}
