//! The choice of an allocator by lifetime, at run time and at compile time.

use std::mem::MaybeUninit;

use crate::support::CheckingSource;
use crate::support::ledger::Ledger;
use crate::support::model::{self, Profile};
use crate::support::{conformance, fault, layout};
use context_allocator::alloc::{
    AllocatorFor, Lifetime, LivedAs, LocalAllocator, LongLived, MediumLived, Reset, ShortLived,
};
use context_allocator::source::RegionSource;
use context_allocator::{Allocator, ArenaSource, ContextAllocator, MmapSource};

const LIFETIMES: [Lifetime; 3] = [Lifetime::Short, Lifetime::Medium, Lifetime::Long];

const _: () = {
    const fn sent<T: Send>() {}
    sent::<ContextAllocator<MmapSource>>();
};

fn for_lifetime(lifetime: Lifetime) -> ContextAllocator<MmapSource> {
    ContextAllocator::new(MmapSource::new(), lifetime)
}

#[test]
fn each_choice_conforms() {
    conformance::local_allocator::<ContextAllocator<MmapSource>>();
    for lifetime in LIFETIMES {
        let make = || for_lifetime(lifetime);
        assert_eq!(make().lifetime(), lifetime);
        conformance::allocator(make);
        conformance::forwarded_allocator(make);
        conformance::owns(make);
        conformance::reset(make);
        let (grown, shrunk) = conformance::resize_in_place(make);
        assert!(grown > 500 && shrunk > 500, "{lifetime:?}: {grown} {shrunk}");
    }
}

/// Blocks are large enough to be put on a list of freed ones, whatever is asked for.
#[test]
fn blocks_have_sixteen_bytes() {
    for lifetime in LIFETIMES {
        let allocator = for_lifetime(lifetime);
        for size in 1..=16 {
            let block = allocator.allocate(layout(size, 1)).expect("memory");
            assert!(block.len() >= 16 && block.cast::<u64>().is_aligned());
            let zeroed = allocator.allocate_zeroed(layout(size, 1)).expect("memory");
            // SAFETY: What was just asked for has bytes that are zero.
            assert!(unsafe { zeroed.as_ref() }.iter().all(|&byte| byte == 0));
        }
    }
}

#[test]
fn each_choice_against_the_model() {
    for lifetime in LIFETIMES {
        let source = CheckingSource::new(MmapSource::new());
        let mut allocator = ContextAllocator::new(&source, lifetime);
        // A bump uses no memory again before it is reset.
        let operations = if lifetime == Lifetime::Short { 5_000 } else { 300_000 };
        for (profile, share, seed) in
            [(Profile::SMALL, 1, 1), (Profile::MIXED, 4, 2), (Profile::LARGE, 50, 3)]
        {
            model::run(&allocator, profile.operations(operations / share).seed(seed));
            source.assert_sound();
            allocator.reset();
        }
        drop(allocator);
        source.assert_all_released();
    }
}

#[test]
fn every_refusal_is_survived() {
    for lifetime in LIFETIMES {
        let requests = fault::every_request(|source| {
            let served = fault::work(&ContextAllocator::new(source.clone(), lifetime), 1 << 15);
            std::hint::black_box(served);
        });
        assert!(requests > 1, "{lifetime:?}: {requests}");
    }
}

#[test]
fn types_choose_what_values_choose() {
    fn same<L: LivedAs>() {
        let by_type = AllocatorFor::<L, MmapSource>::new_in(MmapSource::new());
        let by_value = for_lifetime(L::LIFETIME);
        let lengths = |allocator: &dyn Fn(usize) -> usize| [16, 100, 1000, 10_000].map(allocator);
        let length_by_type = |size| by_type.allocate(layout(size, 8)).expect("memory").len();
        let length_by_value = |size| by_value.allocate(layout(size, 8)).expect("memory").len();
        assert_eq!(lengths(&length_by_type), lengths(&length_by_value));
        conformance::local_allocator::<AllocatorFor<L, MmapSource>>();
    }
    same::<ShortLived>();
    same::<MediumLived>();
    same::<LongLived>();
}

#[test]
fn each_choice_over_other_sources() {
    let arena: ArenaSource<_> = ArenaSource::new(MmapSource::new());
    for lifetime in LIFETIMES {
        conformance::allocator(|| ContextAllocator::new(&arena, lifetime));
        let mut bytes = vec![MaybeUninit::uninit(); 100_000];
        let allocator = ContextAllocator::new(RegionSource::new(&mut bytes), lifetime);
        let mut ledger = Ledger::new(&allocator);
        let served = (0..).map_while(|_| ledger.allocate(layout(64, 8)).ok()).count();
        assert!(served * 64 > 95_000, "{lifetime:?}: {served}");
    }
}
