//! Sources made of sources keep the contract towards what is behind them, over a source that gives
//! odd lengths, more than asked.

use std::alloc::System;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::support::CheckingSource;
use crate::support::ledger::Ledger;
use crate::support::model::{self, Profile};
use crate::support::{conformance, layout};
use context_allocator::adapt::{AllocatorSource, GlobalAllocToAllocatorAdaptor};
use context_allocator::alloc::{Lifetime, SizeClassAllocator};
use context_allocator::error::SourceError;
use context_allocator::size::{U512, U4096};
use context_allocator::source::{
    CachingSource, CountingSource as Counting, FallbackSource, InlineRegion, LimitSource, RegionSource,
};
use context_allocator::testing::RefusingSource;
use context_allocator::{
    Allocator, BitSetAllocator, BumpAllocator, ContextAllocator, MemorySource,
    MultipleBinarySearchTreeAllocator, NonZeroLayout,
};

/// What regions are long: a multiple of this, so that most ends are at odd addresses.
const STEP: usize = 1007;

/// Regions of the system's allocator, longer than asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Generous;

impl Generous {
    const SYSTEM: GlobalAllocToAllocatorAdaptor<'static, System> =
        GlobalAllocToAllocatorAdaptor::new(&System);

    /// The layout of the region: the same for every length from the one asked for to the one
    /// returned.
    fn whole(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
        let len = layout.size().checked_next_multiple_of(STEP).ok_or(SourceError::TooLarge)?;
        Ok(layout.with_size(len)?)
    }
}

// SAFETY: Regions are blocks of the system, which go back with the layout that they were allocated
// with.
unsafe impl MemorySource for Generous {
    const SHARES_SLICES: bool = true;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let whole = Self::whole(layout)?;
        let region = Self::SYSTEM.allocate(whole).map_err(|_| SourceError::Exhausted)?;
        Ok(NonNull::slice_from_raw_parts(region.cast(), whole.size()))
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let whole = Self::whole(layout).expect("a region that was obtained");
        // SAFETY: The caller's promises.
        unsafe { Self::SYSTEM.deallocate(region.cast(), whole) };
    }
}

type Index = CheckingSource<Generous>;

/// Runs the source's conformance, and every allocator's model, on what `make` puts around a source
/// with index.
fn stack<'a, S: MemorySource>(index: &'a Index, make: impl Fn(&'a Index) -> S) {
    conformance::source(|| make(index), 100_000);
    index.assert_all_released();
    let profile = Profile { largest: 4000, ..Profile::MIXED.operations(30_000) };
    model::run(&BumpAllocator::new(make(index)), profile);
    model::run(&SizeClassAllocator::new(make(index)), profile);
    model::run(&BitSetAllocator::new(make(index)), profile);
    model::run(&MultipleBinarySearchTreeAllocator::new(make(index)), profile);
    for lifetime in [Lifetime::Short, Lifetime::Medium, Lifetime::Long] {
        model::run(&ContextAllocator::new(make(index), lifetime), profile);
    }
    index.assert_all_released();
}

#[test]
fn what_stands_around_a_source_keeps_its_contract() {
    let index = Index::new(Generous);
    stack(&index, |index| index);
    stack(&index, |index| LimitSource::new(index, usize::MAX));
    stack(&index, Counting::new);
    stack(&index, RefusingSource::never);
    stack(&index, |index| -> CachingSource<_> { CachingSource::new(index) });
    stack(&index, |index| {
        let bytes = Vec::leak(vec![MaybeUninit::uninit(); 5001]);
        FallbackSource::new(RegionSource::new(&mut bytes[1..]), index)
    });
    stack(&index, |index| AllocatorSource::new(MultipleBinarySearchTreeAllocator::new(index)));
    stack(&index, |index| AllocatorSource::new(BitSetAllocator::new(index)));
    stack(&index, |index| {
        let cache: CachingSource<_> = CachingSource::new(LimitSource::new(index, 1 << 30));
        AllocatorSource::new(MultipleBinarySearchTreeAllocator::new(Counting::new(cache)))
    });
}

/// Allocates all kinds of sizes and alignments until little is left, frees every second one, and
/// does it again.
fn use_up<A: Allocator>(allocator: &A, (low, high): (usize, usize)) {
    let mut ledger = Ledger::new(allocator);
    let mut random = fastrand::Rng::with_seed(high as u64);
    for _ in 0..3 {
        for _ in 0..200 {
            let magnitude = random.u32(..13);
            let size = 1 + random.usize(..1 << magnitude);
            let Ok(address) = ledger.allocate(layout(size, 1 << random.u32(..10))) else { continue };
            assert!(low <= address && address + size <= high, "a block lies outside the region");
        }
        for (size, align) in
            [(isize::MAX as usize, 1), (1, 1 << 62), (1 << 62, 1 << 62), (usize::MAX / 4, 64)]
        {
            assert!(ledger.allocate(layout(size, align)).is_err());
        }
        let addresses: Vec<_> = ledger.iter().map(crate::support::ledger::Held::address).collect();
        addresses.iter().step_by(2).for_each(|&address| ledger.free(address));
    }
    ledger.free_all();
}

/// No length and no address of a region is too odd or too small.
#[test]
fn regions_of_every_length_at_every_address() {
    for len in (0..700).chain((700..9000).step_by(331)) {
        let skew = len * 7 % 17;
        let mut bytes = vec![MaybeUninit::new(0x5A_u8); skew + len + 16];
        let start = bytes.as_ptr().addr() + skew;
        let range = (start, start + len);
        let mut over = |number: usize| {
            let source = RegionSource::new(&mut bytes[skew..skew + len]);
            match number {
                0 => use_up(&BumpAllocator::new(source), range),
                1 => use_up(&SizeClassAllocator::new(source), range),
                2 => use_up(&BitSetAllocator::new(source), range),
                3 => use_up(&BitSetAllocator::<_, U512>::new_in(source), range),
                4 => use_up(&MultipleBinarySearchTreeAllocator::new(source), range),
                5 => use_up(&MultipleBinarySearchTreeAllocator::<_, typenum::U1>::new_in(source), range),
                _ => use_up(&BumpAllocator::new(LimitSource::new(Counting::new(source), 5000)), range),
            }
        };
        (0..7).for_each(&mut over);
        let outside = bytes[..skew].iter().chain(&bytes[skew + len..]);
        // SAFETY: Every byte was initialised, and what lies outside of the region was not lent to
        // anybody.
        assert!(outside.map(|byte| unsafe { byte.assume_init() }).all(|byte| byte == 0x5A));
    }
    static NONE: InlineRegion<typenum::U0> = InlineRegion::new();
    static SMALL: InlineRegion<typenum::U100> = InlineRegion::new();
    static PAGE: InlineRegion<U4096> = InlineRegion::new();
    assert!(BumpAllocator::new(&NONE).allocate(layout(1, 1)).is_err());
    assert!(MultipleBinarySearchTreeAllocator::new(&NONE).allocate(layout(1, 1)).is_err());
    let anywhere = (0, usize::MAX);
    use_up(&BumpAllocator::new(&SMALL), anywhere);
    use_up(&MultipleBinarySearchTreeAllocator::new(&SMALL), anywhere);
    use_up(&MultipleBinarySearchTreeAllocator::new(&PAGE), anywhere);
    use_up(
        &ContextAllocator::new(RegionSource::new(&mut [MaybeUninit::uninit(); 999]), Lifetime::Long),
        anywhere,
    );
}
