//! The support can fail: it sees what it is there to see.

use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use crate::support::CheckingSource;
use crate::support::ledger::{Ledger, Way};
use crate::support::model::{self, Profile};
use crate::support::{fault, layout};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::error::SourceError;
use context_allocator::source::RegionSource;
use context_allocator::testing::RefusingSource;
use context_allocator::{AllocError, Allocator, BumpAllocator, MemorySource, MmapSource, NonZeroLayout};

/// What [`Broken`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    OverlapsAfterAWhile,
    IgnoresAlignment,
    ForgetsToZero,
    LosesBytesWhenGrowing,
    LosesBytesWhenShrinking,
}

/// An allocator that breaks one line of the contract, inside memory that it owns, so that the test
/// stays sound.
struct Broken {
    flaw: Flaw,
    inner: BumpAllocator<MmapSource>,
    calls: Cell<usize>,
    some: Cell<Option<NonNull<[u8]>>>,
}

// SAFETY: None. It breaks the contract on purpose, and only for a ledger, which stops at the first
// breach; all memory that it gives is mapped and writable.
unsafe impl Allocator for Broken {
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.calls.set(self.calls.get() + 1);
        let wider = layout.with_size(layout.size() + 8)?;
        let block = self.inner.allocate(wider)?;
        match (self.flaw, self.some.get()) {
            (Flaw::OverlapsAfterAWhile, Some(old))
                if self.calls.get() > 500 && old.len() >= layout.size() =>
            {
                return Ok(old);
            }
            (Flaw::IgnoresAlignment, _) if self.calls.get() > 500 && layout.align() > 4 => {
                // SAFETY: Eight bytes more were allocated.
                let shifted = unsafe { block.cast::<u8>().add(4) };
                return Ok(NonNull::slice_from_raw_parts(shifted, layout.size()));
            }
            _ => self.some.set(Some(block)),
        }
        Ok(block)
    }

    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: The whole block was just allocated.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        if self.flaw == Flaw::ForgetsToZero {
            // SAFETY: A block has at least one byte.
            let last = unsafe { block.cast::<u8>().add(block.len() - 1) };
            // SAFETY: As above.
            unsafe { last.write(1) };
        }
        Ok(block)
    }

    unsafe fn deallocate(&self, _: NonNull<u8>, _: NonZeroLayout) {}

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let grown = self.allocate(new)?;
        let lost = usize::from(self.flaw == Flaw::LosesBytesWhenGrowing && old.size() > 100);
        // SAFETY: Both blocks are allocated and have `old.size()` bytes.
        unsafe { grown.cast::<u8>().copy_from_nonoverlapping(block, old.size() - lost) };
        if lost == 1 {
            // SAFETY: The last byte that should have been copied.
            let last = unsafe { grown.cast::<u8>().add(old.size() - 1) };
            // SAFETY: As above. No pattern has a zero.
            unsafe { last.write(0) };
        }
        Ok(grown)
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if self.flaw == Flaw::LosesBytesWhenShrinking {
            return self.allocate_zeroed(new);
        }
        // SAFETY: The caller's promises.
        unsafe { self.inner.shrink(block, old, new) }
    }
}

#[test]
fn the_model_sees_every_flaw() {
    let survives = |flaw| {
        let inner = BumpAllocator::new(MmapSource::new());
        let broken = Broken { flaw, inner, calls: Cell::new(0), some: Cell::new(None) };
        catch_unwind(AssertUnwindSafe(|| model::run(&broken, Profile::SMALL.operations(20_000)))).is_ok()
    };
    assert!(survives(Flaw::None));
    for flaw in [
        Flaw::OverlapsAfterAWhile,
        Flaw::IgnoresAlignment,
        Flaw::ForgetsToZero,
        Flaw::LosesBytesWhenGrowing,
        Flaw::LosesBytesWhenShrinking,
    ] {
        assert!(!survives(flaw), "{flaw:?} was not seen");
    }
}

#[test]
fn the_ledger_sees_a_block_that_somebody_wrote_to() {
    let allocator = SizeClassAllocator::new(MmapSource::new());
    let mut ledger = Ledger::new(&allocator);
    let address = ledger.allocate(layout(10_000, 8)).expect("the allocator serves this");
    let start = ledger.get(address).start();
    // SAFETY: The block has 10,000 bytes.
    let middle = unsafe { start.add(5000) };
    // SAFETY: As above; no reference to the block exists.
    unsafe { middle.write(0) };
    let verified = catch_unwind(AssertUnwindSafe(|| ledger.verify()));
    assert!(verified.is_err());
}

#[test]
fn the_model_repeats_itself() {
    let run = |seed| {
        model::run(&BumpAllocator::new(MmapSource::new()), Profile::SMALL.operations(10_000).seed(seed))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

/// What `misuse` does wrong to a counting source, in its own words.
fn mistake(misuse: impl FnOnce(&CheckingSource<MmapSource>)) -> Option<String> {
    let source = CheckingSource::new(MmapSource::new());
    misuse(&source);
    let panic = catch_unwind(AssertUnwindSafe(|| source.assert_all_released())).err()?;
    Some(panic.downcast_ref::<String>().cloned().expect("an assertion with a text"))
}

#[test]
fn the_counting_source_sees_mistakes() {
    let page = |source: &CheckingSource<MmapSource>| source.obtain(layout(4096, 8)).expect("a page");
    let leak = mistake(|source| assert!(black_box(page(source)).len() >= 4096));
    assert!(leak.expect("a leak is a mistake").contains("leaked"));
    let twice = mistake(|source| {
        let region = page(source);
        for _ in 0..2 {
            // SAFETY: The first is right; the index stop the second.
            unsafe { source.release(region, layout(4096, 8)) };
        }
    });
    assert!(twice.expect("a double release is a mistake").contains("not held"));
    // SAFETY: The index stop it.
    let align = mistake(|source| unsafe { source.release(page(source), layout(4096, 16)) });
    assert!(align.expect("another alignment is a mistake").contains("alignment"));
    // SAFETY: The index stop it.
    let size = mistake(|source| unsafe { source.release(page(source), layout(4095, 8)) });
    assert!(size.expect("a smaller size is a mistake").contains("size"));
    let right = mistake(|source| {
        let region = page(source);
        assert!(source.holds(region.cast::<u8>().addr().get() + 1, 4095));
        assert!(!source.holds(region.cast::<u8>().addr().get() + 1, region.len()));
        // SAFETY: Just obtained with this layout, and not used again.
        unsafe { source.release(region, layout(4096, 8)) };
    });
    assert_eq!(right, None);
}

#[test]
fn the_refusing_source_refuses_what_it_was_told() {
    let answers = |source: RefusingSource<MmapSource>| {
        let source = CheckingSource::new(source);
        let answers: Vec<bool> = (0..4)
            .map(|_| match source.obtain(layout(4096, 8)) {
                Ok(region) => {
                    // SAFETY: Just obtained with this layout, and not used again.
                    unsafe { source.release(region, layout(4096, 8)) };
                    true
                }
                Err(error) => {
                    assert_eq!(error, SourceError::Exhausted);
                    false
                }
            })
            .collect();
        source.assert_all_released();
        answers
    };
    assert_eq!(answers(RefusingSource::never(MmapSource::new())), [true, true, true, true]);
    assert_eq!(answers(RefusingSource::once(MmapSource::new(), 1)), [true, false, true, true]);
    assert_eq!(answers(RefusingSource::from(MmapSource::new(), 1)), [true, false, false, false]);
}

#[test]
#[should_panic(expected = "leaked")]
fn fault_injection_sees_a_leak() {
    fault::every_request(|source| {
        let region = source.obtain(layout(4096, 8));
        if let Ok(first) = region
            && source.obtain(layout(4096, 8)).is_ok_and(|second| second.addr() != first.addr())
        {
            // SAFETY: Just obtained with this layout, and not used again; the second is the leak.
            unsafe { source.release(first, layout(4096, 8)) };
        }
    });
}

#[test]
fn a_workload_without_refusals_has_no_errors() {
    let mut bytes = vec![std::mem::MaybeUninit::uninit(); 4 << 20];
    let bump = BumpAllocator::new(RegionSource::new(&mut bytes));
    assert_eq!(fault::work(&bump, 8192), 0);
    let small = SizeClassAllocator::new(RefusingSource::from(MmapSource::new(), 0));
    assert!(fault::work(&small, 8192) > 0);
}

#[test]
fn ways_are_checked_before_the_allocator_is_called() {
    let allocator = BumpAllocator::new(MmapSource::new());
    let mut ledger = Ledger::new(&allocator);
    let address = ledger.allocate(layout(100, 8)).expect("the allocator serves this");
    let wrong = |new, way| {
        let mut ledger = AssertUnwindSafe(&mut ledger);
        catch_unwind(move || ledger.resize(address, new, way).is_ok()).is_err()
    };
    let mut wrong = wrong;
    assert!(wrong(layout(99, 8), Way::Grow));
    assert!(wrong(layout(101, 8), Way::Shrink));
}
