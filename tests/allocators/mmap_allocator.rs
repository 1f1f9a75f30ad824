//! `MmapAllocator`: the contract over several sources, and that what it resizes is moved, not
//! copied.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::thread;

use crate::support::CheckingSource;
use crate::support::forking::in_a_child;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use crate::support::maps::{Map, Pool, policy_at};
use crate::support::model::{self, Profile};
use crate::support::{conformance, fault, layout};
use context_allocator::error::SourceError;
use context_allocator::size::{U65536, U262144};
use context_allocator::source::{MmapOptions, NodeSet, NumaPolicy, PageKind, PageLadder, PageLock};
use context_allocator::{AllocError, Allocator, ArenaSource, MemorySource, MmapAllocator, MmapSource};

const MIB: usize = 1 << 20;

fn options() -> MmapOptions {
    MmapSource::builder()
}

fn with(options: MmapOptions) -> MmapAllocator<MmapSource<MmapOptions>> {
    MmapAllocator::new_in(options.build())
}

fn transparent() -> MmapOptions {
    options().pages(PageLadder::only(PageKind::Transparent).or(PageKind::Base))
}

/// Kinds of options under which resizing takes different ways.
fn kinds() -> [(&'static str, MmapOptions); 5] {
    [
        ("plain", options()),
        ("guards", options().guard_pages()),
        ("transparent", transparent()),
        ("populated, on a node", options().populate().numa(NumaPolicy::bind(NodeSet::of(&[0])))),
        ("guards, transparent, locked", transparent().guard_pages().lock_if_possible(PageLock::OnTouch)),
    ]
}

#[test]
fn mmap_conforms() {
    conformance::allocator(MmapAllocator::new);
    conformance::forwarded_allocator(MmapAllocator::new);
    conformance::cloned_allocator(MmapAllocator::new);
}

#[test]
fn mmap_conforms_with_options() {
    conformance::allocator(|| with(options().guard_pages()));
    conformance::allocator(|| with(transparent()));
}

/// Over a source that only obtains and releases, with what it gives longer than what is asked.
#[test]
fn mmap_conforms_over_any_source() {
    let source = CheckingSource::new(MmapSource::new());
    conformance::allocator(|| MmapAllocator::new_in(&source));
    source.assert_all_released();
    let arena = ArenaSource::<_, U65536, U262144>::new_in(CheckingSource::new(MmapSource::new()));
    conformance::allocator(|| MmapAllocator::new_in(&arena));
    assert_eq!(arena.usage().unused, arena.usage().obtained, "an allocator kept a block of the arena");
}

#[test]
fn mmap_against_the_model() {
    model::run(&MmapAllocator::new(), Profile::LARGE);
    model::run(&MmapAllocator::new(), Profile::MIXED.operations(50_000));
    model::run(&MmapAllocator::new(), Profile::SMALL.operations(50_000));
    for (name, options) in kinds() {
        println!("{name}");
        model::run(&with(options), Profile::LARGE.operations(1000));
        model::run(&with(options), Profile::MIXED.operations(10_000));
    }
    let source = CheckingSource::new(MmapSource::new());
    model::run(&MmapAllocator::new_in(&source), Profile::LARGE.operations(500));
    source.assert_all_released();
}

/// The pool runs out on the way, so that blocks of both kinds are resized into each other.
#[test]
fn mmap_against_the_model_on_pages_of_the_pool() {
    let Some(_pool) = Pool::of(2 * MIB, 12) else { return };
    model::run(&with(options().pages(PageLadder::LADDER)), Profile::LARGE.operations(1000));
    let pages = PageLadder::only(PageKind::Huge2MiB).or(PageKind::Base);
    model::run(&with(options().pages(pages).guard_pages()), Profile::LARGE.operations(500));
}

#[test]
fn mmap_against_the_model_on_four_threads() {
    let allocator = MmapAllocator::new();
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || model::run(&allocator, Profile::LARGE.operations(300).seed(seed)));
        }
    });
}

#[test]
fn every_refusal_is_survived() {
    let requests = fault::every_request(|source| {
        fault::work(&MmapAllocator::new_in(source.clone()), 4096);
    });
    assert!(requests >= 100, "each block is a request");
}

/// The page frames behind each page, which this process sees if it is root.
fn frames(block: NonNull<u8>, pages: usize) -> Option<Vec<u64>> {
    let file = File::open("/proc/self/pagemap").expect("the kernel shows its page tables");
    let mut entries = vec![0; pages * 8];
    file.read_exact_at(&mut entries, (block.addr().get() / 4096 * 8) as u64).expect("the block is mapped");
    let entries = entries.chunks(8).map(|entry| u64::from_ne_bytes(entry.try_into().unwrap()));
    let frames: Vec<u64> = entries.map(|entry| entry & ((1 << 55) - 1)).collect();
    frames.iter().all(|&frame| frame != 0).then_some(frames)
}

/// Where a process may not see frames, that the new pages were not touched says as much: nothing
/// was written.
#[test]
fn growing_and_shrinking_moves_pages_and_copies_nothing() {
    for (name, options) in kinds() {
        let allocator = with(options);
        for align in [8, 1 << 16, 4 * MIB] {
            let mut old = layout(MIB, align);
            let mut block = allocator.allocate(old).expect("the kernel gives this").cast::<u8>();
            // SAFETY: The block is that long.
            unsafe { block.write_bytes(7, MIB) };
            let before = frames(block, 256);
            if before.is_none() {
                eprintln!("frames are hidden from this process");
            }
            let others: Vec<_> =
                (0..8).map(|_| allocator.allocate(old).expect("the kernel gives this")).collect();
            for size in [2 * MIB, 3 * MIB, 16 * MIB, 48 * MIB, 5 * MIB, MIB] {
                let new = layout(size, align);
                let resized = if size > old.size() {
                    // SAFETY: The block was returned for `old`.
                    unsafe { allocator.grow(block, old, new) }
                } else {
                    // SAFETY: As above.
                    unsafe { allocator.shrink(block, old, new) }
                };
                let resized = resized.expect("the kernel gives this");
                assert!(resized.len() >= size && resized.cast::<u8>().addr().get().is_multiple_of(align));
                (block, old) = (resized.cast(), new);
                // Huge pages may be put together from small ones by the kernel itself.
                if !name.contains("transparent") {
                    assert_eq!(frames(block, 256), before, "{name}, {align}, {size}");
                }
                // SAFETY: The block is at least that long, and was written so far.
                let contents = unsafe { std::slice::from_raw_parts(block.as_ptr(), MIB) };
                assert!(contents.iter().all(|&byte| byte == 7));
            }
            // SAFETY: As above.
            unsafe { allocator.deallocate(block, old) };
            for other in others {
                // SAFETY: Allocated here with this layout.
                unsafe { allocator.deallocate(other.cast(), layout(MIB, align)) };
            }
        }
    }
}

#[test]
fn what_a_block_grows_by_is_zero_and_untouched() {
    for options in [options(), options().guard_pages()] {
        let allocator = with(options);
        let old = layout(5000, 8);
        let block = allocator.allocate(old).expect("the kernel gives this");
        // More than what was asked for is written, as an owner may.
        // SAFETY: The block is that long.
        unsafe { block.cast::<u8>().write_bytes(7, block.len()) };
        let new = layout(8 * MIB, 8);
        // SAFETY: The block was just returned for `old`.
        let grown = unsafe { allocator.grow_zeroed(block.cast(), old, new) }.expect("the kernel gives this");
        let mut touched = 0;
        MmapSource::nodes_of_pages(grown, |_, node| touched += usize::from(node.is_some()))
            .expect("the kernel says where pages lie");
        assert_eq!(touched, 2);
        // SAFETY: The block is that long, and was written or zeroed.
        let contents = unsafe { std::slice::from_raw_parts(grown.cast::<u8>().as_ptr(), grown.len()) };
        assert!(contents[..5000].iter().all(|&byte| byte == 7));
        assert!(contents[5000..].iter().all(|&byte| byte == 0));
        // SAFETY: The block was just returned for `new`.
        unsafe { allocator.deallocate(grown.cast(), new) };
        let zeroed = allocator.allocate_zeroed(new).expect("the kernel gives this");
        MmapSource::nodes_of_pages(zeroed, |_, node| assert_eq!(node, None)).expect("as above");
        // SAFETY: Just returned for `new`.
        unsafe { allocator.deallocate(zeroed.cast(), new) };
    }
}

#[test]
fn options_go_with_a_block_that_moves() {
    let allocator = with(
        options()
            .numa(NumaPolicy::interleave(NodeSet::of(&[0])))
            .guard_pages()
            .no_core_dump()
            .lock_if_possible(PageLock::OnTouch),
    );
    let old = layout(MIB, 8);
    let block = allocator.allocate(old).expect("the kernel gives this");
    let new = layout(3 * MIB, 1 << 16);
    // SAFETY: The block was just returned for `old`.
    let grown = unsafe { allocator.grow(block.cast(), old, new) }.expect("the kernel gives this");
    let map = Map::of(grown);
    assert_eq!(policy_at(grown.cast::<u8>().addr().get()), "interleave:0");
    assert!(map.has_flag("dd"), "{map:?}");
    for beside in [grown.cast::<u8>().addr().get() - 1, grown.cast::<u8>().addr().get() + grown.len()] {
        assert!(Map::at(beside).expect("a guard").head().contains(" ---p "));
    }
    // SAFETY: The block was just returned for `new`.
    unsafe { allocator.deallocate(grown.cast(), new) };
    let populated = with(options().populate());
    let block = populated.allocate(old).expect("the kernel gives this");
    // SAFETY: The block was just returned for `old`.
    let grown = unsafe { populated.grow(block.cast(), old, new) }.expect("the kernel gives this");
    MmapSource::nodes_of_pages(grown, |_, node| assert!(node.is_some()))
        .expect("the kernel says where pages lie");
    // SAFETY: The block was just returned for `new`.
    unsafe { populated.deallocate(grown.cast(), new) };
}

/// The old guards and what was cut off go too: kept, they would use up the process's maps.
#[test]
fn moving_leaves_nothing_behind() {
    for (name, options) in kinds() {
        let allocator = with(options);
        let (small, large) = (layout(4096, 8), layout(16_384, 1 << 16));
        let mut block = allocator.allocate(small).expect("the kernel gives this").cast::<u8>();
        for _ in 0..40_000 {
            // SAFETY: The block was returned for `small`.
            let grown = unsafe { allocator.grow(block, small, large) }
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            // SAFETY: The block was just returned for `large`.
            block = unsafe { allocator.shrink(grown.cast(), large, small) }.expect("less is there").cast();
        }
        // SAFETY: The block was returned for `small`.
        unsafe { allocator.deallocate(block, small) };
    }
}

#[test]
fn a_block_that_cannot_grow_stays_as_it_was() {
    in_a_child(|| {
        let limit = libc::rlimit { rlim_cur: 8 << 30, rlim_max: 8 << 30 };
        // SAFETY: The limit is readable.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        for (_, options) in kinds() {
            let allocator = with(options);
            let mut ledger = Ledger::new(&allocator);
            let address = ledger.allocate(layout(3 * MIB, 8)).expect("the kernel gives this");
            for align in [8, 1 << 16, 1 << 40] {
                for way in [Way::Grow, Way::GrowZeroed] {
                    let refused = ledger.resize(address, layout(16 << 30, align), way);
                    assert_eq!(refused, Err(AllocError::Source(SourceError::System(libc::ENOMEM))));
                }
            }
            let refused = ledger.resize(address, layout(4096, 1 << 40), Way::Shrink);
            assert_eq!(refused, Err(AllocError::Source(SourceError::System(libc::ENOMEM))));
            ledger.verify();
            ledger.free_all();
        }
    });
}

/// Whoever protects or advises part of a block splits its map, which `mremap` refuses: then the
/// block is copied.
#[test]
fn a_block_whose_map_was_split_still_grows() {
    let allocator = MmapAllocator::new();
    let mut ledger = Ledger::new(&allocator);
    let address = ledger.allocate(layout(16 * 4096, 8)).expect("the kernel gives this");
    let held = ledger.get(address);
    let middle = held.start().as_ptr().wrapping_add(4096);
    // SAFETY: The page is part of the block.
    assert_eq!(unsafe { libc::madvise(middle.cast(), 4096, libc::MADV_DONTDUMP) }, 0);
    ledger.resize(address, layout(MIB, 8), Way::GrowZeroed).expect("the block is copied");
    ledger.free_all();
}

/// Each thread frees and resizes what another allocated.
#[test]
fn blocks_pass_between_threads() {
    static ALLOCATOR: MmapAllocator = MmapAllocator::new();
    let mut hand: Vec<Held> = Vec::new();
    for round in 0..8 {
        let work = move || {
            let mut ledger = Ledger::new(&ALLOCATOR);
            hand.into_iter().for_each(|held| ledger.put(held));
            let addresses: Vec<usize> = ledger.iter().map(Held::address).collect();
            for (number, address) in addresses.into_iter().enumerate() {
                let old = ledger.get(address).layout();
                let (size, way) =
                    if (number + round) % 3 == 1 { (old.size() * 3, Way::Grow) } else { (1, Way::Shrink) };
                if (number + round).is_multiple_of(3) {
                    ledger.free(address);
                } else {
                    ledger.resize(address, layout(size, 8), way).expect("the kernel gives this");
                }
            }
            for size in [1, 4096, 10_000, 3 * MIB] {
                ledger.allocate(layout(size, 8)).expect("the kernel gives this");
            }
            ledger.take_all()
        };
        hand = thread::spawn(work).join().expect("no check failed");
    }
    let mut ledger = Ledger::new(&ALLOCATOR);
    hand.into_iter().for_each(|held| ledger.put(held));
    ledger.free_all();
}

#[test]
fn it_is_shared_as_its_source_is() {
    fn shared<T: Send + Sync + Copy>() {}
    shared::<MmapAllocator>();
    shared::<MmapAllocator<MmapSource<MmapOptions>>>();
    const { assert!(size_of::<MmapAllocator>() == 0) };
    const { assert!(<MmapSource as MemorySource>::ZEROED) };
    let allocator: MmapAllocator = MmapAllocator::default();
    assert_eq!(*allocator.source(), MmapSource::new());
}
