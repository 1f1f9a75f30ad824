//! One allocator of this library behind a lock in the global tier: no other allocator in the
//! program.

use context_allocator::{ArenaSource, Builder, BumpAllocator, Locked, MmapSource, MultipleBinarySearchTreeAllocator};
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::SizeClassAllocator;
use global_tiers::{With, run};

type Global = AllocatorAdaptor<Locked<MultipleBinarySearchTreeAllocator<MmapSource>>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: With<Global> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier_allocator(Locked::new(MultipleBinarySearchTreeAllocator::new(MmapSource::new())))
        .build();
);

fn main() {
    run("locked", &ALLOC);
}
