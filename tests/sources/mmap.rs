//! Memory maps with options: what each does, as the kernel itself tells, and what happens where it
//! cannot be had.

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use crate::support::forking::{in_a_child, signal_in_a_child};
use crate::support::mapped::{Region, Source, nodes, options, refusal};
use crate::support::maps::{Map, PoolLock, policy_at};
use crate::support::{conformance, layout};
use context_allocator::error::SourceError;
use context_allocator::source::{
    Decommit, MmapOptions, NodeSet, NumaPolicy, OnFork, PageKind, PageLadder, PageLock,
};
use context_allocator::{MemorySource, MmapSource};

const MIB: usize = 1 << 20;
const NODE_0: NodeSet = NodeSet::of(&[0]);

/// Every option of one node and base pages at once.
const EVERYTHING: MmapOptions = MmapSource::builder()
    .numa(NumaPolicy::bind(NODE_0))
    .lock_if_possible(PageLock::OnTouch)
    .named_if_possible(c"context-allocator test")
    .on_fork(OnFork::Zeroed)
    .no_core_dump()
    .guard_pages()
    .reserve_commit();

#[test]
fn sources_with_options_conform() {
    let _pool = PoolLock::shared();
    conformance::source(|| options().build(), 1 << 20);
    conformance::source(|| options().guard_pages().build(), 1 << 18);
    conformance::source(|| options().numa(NumaPolicy::interleave(NODE_0)).populate().build(), 1 << 18);
    conformance::source(|| EVERYTHING.build(), 1 << 18);
    conformance::forwarded_source(|| EVERYTHING.build(), 1 << 15);
    conformance::source(|| options().pages(PageLadder::LADDER).build(), 3 * MIB);
    conformance::source(|| options().pages(PageLadder::LADDER).guard_pages().build(), 3 * MIB);
}

#[test]
fn sources_are_small_and_go_between_threads() {
    fn goes_anywhere<T: Copy + Send + Sync + 'static>() {}
    goes_anywhere::<MmapSource>();
    goes_anywhere::<Source>();
    const { assert!(size_of::<MmapSource>() == 0 && size_of::<Source>() <= 256) };
}

/// Each policy, as the kernel names it afterwards, and where it puts pages on one node.
#[test]
fn policies_are_set_before_the_first_touch() {
    let policies = [
        (NumaPolicy::DEFAULT, "default"),
        (NumaPolicy::LOCAL, "local"),
        (NumaPolicy::bind(NODE_0), "bind:0"),
        (NumaPolicy::bind(NODE_0).static_nodes(), "bind=static:0"),
        (NumaPolicy::bind(NODE_0).relative_nodes(), "bind=relative:0"),
        (NumaPolicy::preferred(0), "prefer:0"),
        (NumaPolicy::preferred(0).static_nodes(), "prefer=static:0"),
        (NumaPolicy::preferred_many(NODE_0), "prefer (many):0"),
        (NumaPolicy::preferred_many(NODE_0).relative_nodes(), "prefer (many)=relative:0"),
        (NumaPolicy::interleave(NODE_0), "interleave:0"),
        (NumaPolicy::interleave(NODE_0).static_nodes(), "interleave=static:0"),
        (NumaPolicy::weighted_interleave(NODE_0), "weighted interleave:0"),
        (NumaPolicy::weighted_interleave(NODE_0).relative_nodes(), "weighted interleave=relative:0"),
    ];
    for (policy, name) in policies {
        // Guards keep the map apart from its neighbours.
        let source = options().numa(policy).guard_pages().build();
        let region = match Region::try_of(&source, layout(64 * 4096, 8)) {
            Ok(region) => region,
            // An older kernel says that it does not know the policy.
            Err(error) => {
                assert_eq!(error, SourceError::Unsupported);
                assert!(name.starts_with("weighted") || name.contains("many"), "{name}");
                eprintln!("skipped: the kernel does not know {name}");
                continue;
            }
        };
        assert!(region.report.policy);
        assert_eq!(policy_at(region.address()), name);
        assert_eq!(region.nodes(), [None; 64], "pages were touched before they were asked for");
        region.fill(1);
        assert_eq!(region.nodes(), [Some(0); 64]);
    }
}

#[test]
fn nodes_that_do_not_exist_are_an_error_or_the_default() {
    for node in [900, 1023] {
        for policy in [
            NumaPolicy::bind(NodeSet::of(&[node])),
            NumaPolicy::preferred(node),
            NumaPolicy::interleave(NodeSet::of(&[node])),
        ] {
            assert_eq!(
                refusal(&options().numa(policy).build(), 4096),
                SourceError::System(libc::EINVAL),
                "{policy:?}"
            );
            let source = options().numa(policy.or_default()).guard_pages().build();
            let region = Region::of(&source, 4096);
            assert!(!region.report.policy);
            assert_eq!(policy_at(region.address()), "default");
        }
    }
    // Nodes that go with no policy, and a policy that goes with no nodes.
    for wrong in [NumaPolicy::bind(NodeSet::EMPTY), NumaPolicy::LOCAL.static_nodes()] {
        assert_eq!(refusal(&options().numa(wrong).build(), 4096), SourceError::System(libc::EINVAL));
    }
}

#[test]
fn nodes_of_this_machine() {
    let allowed = NodeSet::allowed().expect("the kernel has NUMA");
    let here = MmapSource::current_node().expect("the kernel says where a thread runs");
    assert!(NodeSet::current().expect("as above").contains(here));
    let online = std::fs::read_to_string("/sys/devices/system/node/has_memory").expect("the kernel has NUMA");
    if online.trim() == "0" {
        assert_eq!((allowed, here), (NODE_0, 0));
    }
    assert!(!allowed.is_empty());
}

#[test]
fn pages_are_counted_from_the_one_with_the_first_byte() {
    let source = options().build();
    // More than one batch of the system call.
    let region = Region::of(&source, 300 * 4096);
    for touched in [0, 127, 128, 299] {
        region.write(touched * 4096 + 5, 1);
    }
    let found = region.nodes();
    assert_eq!(found.len(), 300);
    for (page, node) in found.into_iter().enumerate() {
        assert_eq!(node.is_some(), matches!(page, 0 | 127 | 128 | 299), "page {page}");
    }
    // Parts of pages count.
    assert_eq!(nodes(region.part(127 * 4096 + 4095..128 * 4096 + 1)).len(), 2);
    assert_eq!(nodes(region.part(126 * 4096..127 * 4096)), [None]);
    assert!(nodes(region.part(5..5)).len() <= 1);
    // A page that was only read is not there yet, nor one that is not mapped.
    assert_eq!(region.read(4096), 0);
    assert_eq!(nodes(region.part(4096..4097)), [None]);
    assert_eq!(
        nodes(NonNull::slice_from_raw_parts(NonNull::without_provenance(4096.try_into().unwrap()), 1)),
        [None]
    );
}

#[test]
fn populated_pages_are_there() {
    for options in [options(), options().numa(NumaPolicy::bind(NODE_0)), EVERYTHING] {
        let source = options.populate().build();
        let region = Region::aligned(&source, 100 * 4096, 1 << 16);
        assert_eq!(region.nodes(), [Some(0); 100]);
        assert!(region.all_are(0..region.region.len(), 0));
    }
}

#[test]
fn locked_pages_stay() {
    let now = options().lock(PageLock::Now).guard_pages().build();
    let region = Region::of(&now, 16 * 4096);
    assert!(region.report.locked);
    let map = Map::of(region.region);
    assert!(map.has_flag("lo"), "{map:?}");
    assert_eq!(map.bytes("Locked:"), 16 * 4096);
    let on_touch = options().lock(PageLock::OnTouch).guard_pages().build();
    let region = Region::of(&on_touch, 16 * 4096);
    region.write(4096, 1);
    let map = Map::of(region.region);
    assert!(map.has_flag("lo"), "{map:?}");
    assert_eq!(map.bytes("Locked:"), 4096);
    // Locked pages can be given up, if they are given up at once.
    // SAFETY: The range lies in a region that is held; its contents are not needed.
    let lazily = unsafe { on_touch.decommit_lazily(region.part(4096..8192)) };
    assert_eq!(lazily, Err(SourceError::Unsupported));
    assert_eq!(region.read(4096), 1);
    // SAFETY: As above.
    match unsafe { on_touch.decommit(region.part(4096..8192)) } {
        Ok(()) => assert_eq!(region.read(4096), 0),
        Err(error) => assert_eq!(error, SourceError::Unsupported, "Linux 5.18 has it"),
    }
}

/// A process that may lock nothing: an error, or pages that are not locked, as asked; and nothing
/// is left behind.
#[test]
fn locks_that_are_forbidden() {
    in_a_child(|| {
        limit(libc::RLIMIT_MEMLOCK, 0);
        // Other tests may have mapped much just now.
        limit(libc::RLIMIT_AS, mapped_bytes() + (64 << 30));
        // SAFETY: Always callable; it fails where the process is not root, which then has no right
        // to lock either.
        unsafe { libc::setresuid(65534, 65534, 65534) };
        for lock in [PageLock::Now, PageLock::OnTouch] {
            let required = options().lock(lock).guard_pages().build();
            let refused =
                |_| matches!(refusal(&required, 1 << 30), SourceError::System(libc::EPERM | libc::ENOMEM));
            assert!(
                (0..200).all(refused),
                "what was mapped before the lock was refused uses up the address space"
            );
            let optional = options().lock_if_possible(lock).build();
            let region = Region::of(&optional, 4096);
            assert!(!region.report.locked);
            region.write(0, 1);
        }
    });
}

/// The bytes of address space that this process uses.
fn mapped_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux says how much is mapped");
    let pages: u64 =
        status.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    // SAFETY: Always callable.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.cast_unsigned()
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: The limit is readable.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

#[test]
fn flags_of_the_map() {
    let plain = options().guard_pages().build();
    let region = Region::of(&plain, 4096);
    let map = Map::of(region.region);
    assert!(map.has_flag("nr") && !map.has_flag("ac"), "{map:?}");
    for absent in ["dd", "dc", "wf", "lo", "hg"] {
        assert!(!map.has_flag(absent), "{absent} of {map:?}");
    }
    let cases: [(MmapOptions, &str); 5] = [
        (options().no_core_dump(), "dd"),
        (options().reserve_commit(), "ac"),
        (options().on_fork(OnFork::Absent), "dc"),
        (options().on_fork(OnFork::Zeroed), "wf"),
        (options().pages(PageLadder::only(PageKind::Transparent)), "hg"),
    ];
    for (options, flag) in cases {
        let source = options.guard_pages().build();
        let region = Region::of(&source, 4096);
        let map = Map::of(region.region);
        assert!(map.has_flag(flag), "{flag} of {map:?}");
    }
}

#[test]
fn children_have_a_copy_nothing_or_zeros() {
    let copied = options().build();
    let region = Region::of(&copied, 4096);
    region.write(7, 1);
    in_a_child(|| assert_eq!(region.read(7), 1));
    let zeroed = options().on_fork(OnFork::Zeroed).build();
    let region = Region::of(&zeroed, 4096);
    region.write(7, 1);
    in_a_child(|| assert_eq!(region.read(7), 0));
    assert_eq!(region.read(7), 1);
    let absent = options().on_fork(OnFork::Absent).build();
    let region = Region::of(&absent, 4096);
    region.write(7, 1);
    assert_eq!(signal_in_a_child(|| assert_eq!(region.read(7), 0)), Some(libc::SIGSEGV));
}

#[test]
fn names_are_shown_or_refused() {
    let required = options().named(c"request heap").guard_pages().build();
    let optional = options().named_if_possible(c"request heap").guard_pages().build();
    match required.obtain(layout(4096, 8)) {
        Ok(region) => {
            assert!(Map::of(region).head().ends_with("[anon:request heap]"));
            assert!(Region::of(&optional, 4096).report.named);
            // SAFETY: Just obtained with this layout, and not used again.
            unsafe { required.release(region, layout(4096, 8)) };
        }
        Err(error) => {
            eprintln!("the kernel has no names for maps (CONFIG_ANON_VMA_NAME)");
            assert_eq!(error, SourceError::Unsupported);
            let region = Region::of(&optional, 4096);
            assert!(!region.report.named);
            assert!(Map::of(region.region).head().trim_end().ends_with(" 0"));
        }
    }
}

#[test]
fn names_that_the_kernel_would_refuse_do_not_get_there() {
    let long = c"12345678901234567890123456789012345678901234567890123456789012345678901234567890";
    for wrong in [c"", c"[heap]", c"a$b", c"a\\b", c"a`b", c"a\nb", c"\xff", long] {
        assert!(std::panic::catch_unwind(|| options().named(wrong)).is_err(), "{wrong:?}");
    }
    let _longest = options().named(&long[1..]);
}

#[test]
fn guards_stop_who_runs_over_the_ends() {
    let _pool = PoolLock::shared();
    for options in [options().guard_pages(), options().guard_pages().pages(PageLadder::LADDER), EVERYTHING] {
        let source = options.build();
        for (size, align) in [(4096, 8), (10_000, 1 << 16), (3 * MIB, 1 << 22)] {
            let region = Region::aligned(&source, size, align);
            let len = region.region.len();
            region.write(0, 1);
            region.write(len - 1, 1);
            for offset in [-1, -4096, len.cast_signed(), len.cast_signed() + 4095] {
                let beside = region.byte(offset);
                // SAFETY: Nothing lies there that a program could change; this is to end the child.
                let touch = || assert_eq!(unsafe { beside.read_volatile() }, 0);
                assert_eq!(signal_in_a_child(touch), Some(libc::SIGSEGV), "{offset} of {len}");
            }
        }
    }
}

/// Kept, what surrounds a region would use up the address space, or the process's maps, here.
#[test]
fn guards_and_slack_go_with_the_region() {
    let _pool = PoolLock::shared();
    for source in [options().guard_pages().build(), options().guard_pages().pages(PageLadder::LADDER).build()]
    {
        // Of many sizes and alignments, so that what is left behind is not just what the next one
        // needs.
        let mut random = fastrand::Rng::with_seed(5);
        let mut held = Vec::new();
        for _ in 0..20_000 {
            held.push(Region::aligned(&source, random.usize(1..100_000), 1 << random.u32(30..38)));
            if held.len() > 8 {
                held.swap_remove(random.usize(..8));
            }
        }
        drop(held);
        for _ in 0..70_000 {
            drop(Region::of(&source, 4096));
        }
    }
}

#[test]
fn the_error_number_is_left_alone() {
    assert!(File::open("/nonexistent").is_err());
    let before = io::Error::last_os_error().raw_os_error();
    let source = options().numa(NumaPolicy::bind(NodeSet::of(&[1023]))).build();
    let region = source.obtain(layout(4096, 8));
    let misaligned = NonNull::slice_from_raw_parts(NonNull::<u64>::dangling().cast(), 1);
    // SAFETY: What is no whole page is refused.
    let decommitted = unsafe { source.decommit(misaligned) };
    let asked = nodes(misaligned);
    let optional = EVERYTHING.numa(NumaPolicy::bind(NodeSet::of(&[1023])).or_default()).build();
    drop(Region::of(&optional, 4096));
    let after = io::Error::last_os_error().raw_os_error();
    assert_eq!(after, before);
    assert_eq!(region, Err(SourceError::System(libc::EINVAL)));
    assert_eq!(decommitted, Err(SourceError::System(libc::EINVAL)));
    assert_eq!(asked, [None]);
}

#[test]
fn decommitted_memory_is_zero_and_gone() {
    let source = options().guard_pages().build();
    let region = Region::of(&source, 64 * 4096);
    region.fill(7);
    assert_eq!(Map::of(region.region).bytes("Rss:"), 64 * 4096);
    assert_eq!(source.decommit_unit(), 4096);
    // SAFETY: The range lies in a region that is held; its contents are not needed.
    unsafe { source.decommit(region.part(4096..33 * 4096)) }.expect("whole pages can be given up");
    assert_eq!(Map::of(region.region).bytes("Rss:"), 32 * 4096);
    assert!(region.nodes().iter().enumerate().all(|(page, node)| node.is_none() == (1..33).contains(&page)));
    assert!(region.all_are(0..4096, 7) && region.all_are(33 * 4096..64 * 4096, 7));
    assert!(region.all_are(4096..33 * 4096, 0));
    // It can be used again, and given up again.
    region.fill(9);
    // SAFETY: As above.
    unsafe { source.decommit(region.region) }.expect("whole pages can be given up");
    assert!(region.all_are(0..region.region.len(), 0));
}

#[test]
fn lazily_decommitted_memory_is_old_or_zero_until_written() {
    let source = options().guard_pages().build();
    let region = Region::of(&source, 64 * 4096);
    region.fill(7);
    // SAFETY: The range lies in a region that is held; its contents are not needed.
    unsafe { source.decommit_lazily(region.region) }.expect("Linux 4.5 has it");
    let lazy = Map::of(region.region).bytes("LazyFree:");
    assert!(lazy > 32 * 4096, "only {lazy} bytes may be taken");
    for page in 0..64 {
        assert!(
            region.all_are(page * 4096..page * 4096 + 8, 7)
                || region.all_are(page * 4096..page * 4096 + 8, 0)
        );
        region.write(page * 4096, 9);
    }
    assert_eq!(Map::of(region.region).bytes("LazyFree:"), 0);
    assert!((0..64).all(|page| region.read(page * 4096) == 9));
}

/// The kernel would round the length up, and take what was not meant.
#[test]
fn parts_of_pages_are_not_decommitted() {
    let source = options().build();
    let region = Region::of(&source, 4 * 4096);
    region.fill(7);
    for range in [1..4096, 0..4095, 4096..8193, 100..200] {
        // SAFETY: The range lies in a region that is held; its contents are not needed.
        let refused = unsafe { source.decommit(region.part(range.clone())) };
        assert_eq!(refused, Err(SourceError::System(libc::EINVAL)), "{range:?}");
        // SAFETY: As above.
        let refused = unsafe { source.decommit_lazily(region.part(range)) };
        assert_eq!(refused, Err(SourceError::System(libc::EINVAL)));
    }
    assert!(region.all_are(0..4 * 4096, 7));
}

#[test]
fn decommit_goes_through_pointers() {
    fn through<S: Decommit>(source: &S) {
        let wanted = layout(4 * 4096, 8);
        let region = source.obtain(wanted).expect("the kernel gives this");
        // SAFETY: The region is held and writable.
        unsafe { region.cast::<u8>().write_bytes(7, 4 * 4096) };
        // SAFETY: The region is held; its contents are not needed.
        unsafe { source.decommit_lazily(region) }.expect("whole pages can be given up");
        // SAFETY: As above.
        unsafe { source.decommit(region) }.expect("whole pages can be given up");
        assert_eq!((nodes(region), source.decommit_unit()), (vec![None; 4], 4096));
        // SAFETY: Obtained with this layout, and not used again.
        unsafe { source.release(region, wanted) };
    }
    let source = options().build();
    through(&&source);
    through(&std::rc::Rc::new(source));
    through(&std::sync::Arc::new(MmapSource::new()));
}

/// Every system call that maps is refused in turn: a limit on addresses that each source meets at
/// another of its calls.
#[test]
fn a_full_address_space_is_an_error() {
    let _pool = PoolLock::shared();
    in_a_child(|| {
        let every = [options(), options().guard_pages(), options().pages(PageLadder::LADDER), EVERYTHING];
        limit(libc::RLIMIT_AS, 8 << 30);
        for options in every {
            let source = options.build();
            assert_eq!(refusal(&source, 64 << 30), SourceError::System(libc::ENOMEM));
            assert_eq!(refusal(&source, isize::MAX as usize - 4095), SourceError::System(libc::ENOMEM));
            let large = layout(1, 1 << 40);
            assert_eq!(source.obtain(large), Err(SourceError::System(libc::ENOMEM)));
            for _ in 0..100 {
                drop(Region::of(&source, 1 << 30));
            }
        }
    });
}
