//! Memory maps on huge pages: of the pool, which the test fills and empties, and transparent ones.

use crate::support::conformance;
use crate::support::forking::signal_in_a_child;
use crate::support::mapped::{self, Region, options, refusal};
use crate::support::maps::{Map, Pool};
use context_allocator::MmapSource;
use context_allocator::error::SourceError;
use context_allocator::source::{Decommit, NodeSet, NumaPolicy, OnFork, PageKind, PageLadder, PageLock};

const MIB: usize = 1 << 20;
const NODE_0: NodeSet = NodeSet::of(&[0]);

#[test]
fn sources_of_the_pool_conform() {
    let Some(_pool) = Pool::of(2 * MIB, 64) else { return };
    let pages = PageLadder::only(PageKind::Huge2MiB).or(PageKind::Base);
    // The bigger regions have pages of the pool while it lasts.
    conformance::source(|| options().pages(pages).build(), 3 * MIB);
    conformance::source(|| options().pages(pages).guard_pages().build(), 2 * MIB);
}

#[test]
fn the_ladder_says_what_it_got() {
    let ladder = options().pages(PageLadder::LADDER).build();
    let only = options().pages(PageLadder::only(PageKind::Huge2MiB)).build();
    if let Some(pool) = Pool::of(2 * MIB, 3) {
        let region = Region::of(&ladder, 3 * MIB);
        assert_eq!((region.report.pages, region.region.len()), (PageKind::Huge2MiB, 4 * MIB));
        assert_eq!(Map::of(region.region).bytes("KernelPageSize:"), 2 * MIB);
        region.fill(1);
        assert_eq!(Region::of(&ladder, 2 * MIB - 1).report.pages, PageKind::Base, "less than a page");
        // One page is left.
        assert_eq!(refusal(&only, 3 * MIB), SourceError::System(libc::ENOMEM));
        let small = Region::of(&only, 1);
        assert_eq!((small.report.pages, small.region.len()), (PageKind::Huge2MiB, 2 * MIB));
        let next = Region::of(&ladder, 2 * MIB);
        assert_eq!(next.report.pages, PageKind::Transparent, "the pool is empty");
        assert!(next.address().is_multiple_of(2 * MIB));
        drop((region, small));
        // A child that another test forked meanwhile has them until it ends.
        let came_back = || Region::of(&ladder, 6 * MIB).report.pages == PageKind::Huge2MiB;
        assert!(mapped::soon(came_back), "the pages came back");
        drop(pool);
    }
    if let Some(_empty) = Pool::of(2 * MIB, 0) {
        assert_eq!(refusal(&only, 1), SourceError::System(libc::ENOMEM));
        assert_eq!(Region::of(&ladder, 5 * MIB).report.pages, PageKind::Transparent);
        assert_eq!(Region::of(&ladder, 5000).report.pages, PageKind::Base);
    }
}

#[test]
fn transparent_pages_are_huge_once_touched() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if enabled.is_empty() || enabled.contains("[never]") {
        eprintln!("skipped: transparent huge pages are off");
        return;
    }
    let source = options().pages(PageLadder::only(PageKind::Transparent)).populate().guard_pages().build();
    let region = Region::of(&source, 7 * MIB);
    assert_eq!((region.report.pages, region.region.len()), (PageKind::Transparent, 8 * MIB));
    assert_eq!(Map::of(region.region).bytes("AnonHugePages:"), 8 * MIB);
}

#[test]
fn pages_of_the_pool_between_guards_and_at_any_alignment() {
    let Some(_pool) = Pool::of(2 * MIB, 4) else { return };
    let only = PageLadder::only(PageKind::Huge2MiB);
    for options in
        [options(), options().guard_pages(), options().guard_pages().numa(NumaPolicy::bind(NODE_0))]
    {
        let source = options.pages(only).build();
        for align in [1, 2 * MIB, 8 * MIB, 1 << 30] {
            let region = Region::aligned(&source, 3 * MIB, align);
            assert_eq!(Map::of(region.region).bytes("KernelPageSize:"), 2 * MIB);
            assert!(region.all_are(0..4096, 0));
            region.fill(3);
            // SAFETY: This lies beside the region; it ends the child before anything is read.
            let touch = || assert_eq!(unsafe { region.byte(-1).read_volatile() }, 0);
            if options != MmapSource::builder() {
                assert_eq!(signal_in_a_child(touch), Some(libc::SIGSEGV));
            }
        }
    }
    // What was reserved came back each time.
    let source = options().pages(only).build();
    let region = Region::of(&source, 8 * MIB);
    region.fill(1);
    // The unit is a page of the pool, and less of it is refused.
    assert_eq!(source.decommit_unit(), 2 * MIB);
    // SAFETY: The range lies in a region that is held; its contents are not needed.
    assert!(unsafe { source.decommit(region.part(0..4096)) }.is_err());
    // SAFETY: As above.
    match unsafe { source.decommit(region.part(2 * MIB..4 * MIB)) } {
        Ok(()) => assert!(region.all_are(2 * MIB..4 * MIB, 0)),
        Err(error) => assert_eq!(error, SourceError::Unsupported, "Linux 5.18 has it"),
    }
    assert!(region.all_are(0..2 * MIB, 1) && region.all_are(4 * MIB..8 * MIB, 1));
}

/// What does not go with pages of the pool is refused, or makes the ladder go down, rather than
/// left out.
#[test]
fn options_that_the_pool_does_not_have() {
    let Some(_pool) = Pool::of(2 * MIB, 2) else { return };
    let only = options().pages(PageLadder::only(PageKind::Huge2MiB));
    let ladder = options().pages(PageLadder::LADDER);
    assert_eq!(refusal(&only.on_fork(OnFork::Zeroed).build(), 1), SourceError::Unsupported);
    assert_eq!(
        Region::of(&ladder.on_fork(OnFork::Zeroed).build(), 2 * MIB).report.pages,
        PageKind::Transparent
    );
    assert!(matches!(
        refusal(&only.named(c"pool").build(), 1),
        SourceError::System(libc::EBADF) | SourceError::Unsupported
    ));
    let source =
        only.named_if_possible(c"pool").lock(PageLock::Now).no_core_dump().on_fork(OnFork::Absent).build();
    let region = Region::of(&source, 1);
    assert!(!region.report.named);
    let map = Map::of(region.region);
    assert!(map.has_flag("dd") && map.has_flag("dc") && map.has_flag("ht"), "{map:?}");
}

#[test]
fn a_page_of_a_gibibyte() {
    let Some(_pool) = Pool::of(1 << 30, 1) else { return };
    let source = options().pages(PageLadder::LADDER.or(PageKind::Huge1GiB)).build();
    let region = Region::of(&source, 1 << 30);
    assert_eq!((region.report.pages, region.region.len()), (PageKind::Huge1GiB, 1 << 30));
    assert_eq!(Map::of(region.region).bytes("KernelPageSize:"), 1 << 30);
    region.write((1 << 30) - 1, 1);
    let second = Region::of(&source, (1 << 30) + 1);
    assert_ne!(second.report.pages, PageKind::Huge1GiB, "the pool is empty");
    assert_eq!(second.region.len(), 2 << 30);
}
