//! What can be asked of a memory map, as a value built in a constant.

#![forbid(unsafe_code)]

use core::ffi::CStr;

use super::{MmapSource, NumaPolicy, PageKind, PageLadder};

/// What a child has of a region after a fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFork {
    /// A copy, page by page as either side writes; as with all memory.
    #[default]
    Copied,
    /// Nothing: until the child maps something else there, a touch ends it (Linux 2.6.16).
    Absent,
    /// Zeroed pages (Linux 4.14; not on huge pages of the pool).
    Zeroed,
}

/// Which pages are kept from being swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageLock {
    /// All, from when the region is obtained: they are touched then.
    Now,
    /// Each from its first touch on (Linux 4.4).
    OnTouch,
}

/// How a [`MmapSource`] maps its regions: built by [`MmapSource::builder`], in a constant or at run
/// time.
///
/// What the kernel cannot do is an error when a region is obtained,
/// [`SourceError::Unsupported`](crate::error::SourceError::Unsupported) or the kernel's own error
/// number; nothing is left out in silence. Where a method's name ends in `_if_possible`, or the
/// policy says [`or_default`](NumaPolicy::or_default), it is left out, and
/// [`MapReport`](super::MapReport) tells.
///
/// # Examples
/// ```
/// use context_allocator::{BumpAllocator, MmapSource};
/// use context_allocator::source::{MmapOptions, NodeSet, NumaPolicy, OnFork};
///
/// static NEAR: MmapSource<MmapOptions> = MmapSource::builder()
///     .numa(NumaPolicy::bind(NodeSet::of(&[0])).or_default())
///     .named_if_possible(c"request heap")
///     .guard_pages()
///     .no_core_dump()
///     .on_fork(OnFork::Zeroed)
///     .build();
/// let bump = BumpAllocator::new(NEAR);
/// # drop(bump);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "options do nothing before `build`"]
pub struct MmapOptions {
    pub(super) pages: PageLadder,
    pub(super) policy: Option<NumaPolicy>,
    pub(super) lock: Option<(PageLock, Need)>,
    pub(super) name: Option<(&'static CStr, Need)>,
    pub(super) on_fork: OnFork,
    pub(super) populate: bool,
    pub(super) reserve: bool,
    pub(super) dump: bool,
    pub(super) guards: bool,
}

/// Whether a region is refused where an option cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need {
    Required,
    IfPossible,
}

impl Default for MmapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MmapOptions {
    /// Base pages, no policy, nothing locked, no commit reserved, in core dumps, copied on fork: as
    /// `MmapSource::new()`.
    pub const fn new() -> Self {
        Self {
            pages: PageLadder::only(PageKind::Base),
            policy: None,
            lock: None,
            name: None,
            on_fork: OnFork::Copied,
            populate: false,
            reserve: false,
            dump: true,
            guards: false,
        }
    }

    /// The source with these options.
    #[must_use]
    pub const fn build(self) -> MmapSource<Self> {
        MmapSource { settings: self }
    }

    /// On which NUMA nodes pages lie; set before the first of them is touched.
    ///
    /// Needs what [`NumaPolicy`]'s table says.
    /// [`SourceError::Unsupported`](crate::error::SourceError::Unsupported) where the kernel does
    /// not know the policy or has no NUMA; `EINVAL` where a node does not exist or the process may
    /// not use it; `EPERM` where a sandbox forbids it.
    ///
    /// With huge pages of the pool and [`NumaPolicy::bind`] pages are touched when the region is
    /// obtained, because the kernel reserves them without regard to nodes and would kill the
    /// process at a later touch.
    pub const fn numa(mut self, policy: NumaPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Which kinds of pages to try, the largest first; see [`PageLadder`].
    ///
    /// Huge pages of the pool need as many free ones as the region has, or are refused (`ENOMEM`).
    /// With transparent ones a region is aligned to 2 MiB. A child of a fork that writes to a page
    /// of the pool when that is empty is killed; see [`on_fork`](Self::on_fork).
    pub const fn pages(mut self, pages: PageLadder) -> Self {
        self.pages = pages;
        self
    }

    /// Touches all pages when a region is obtained, after the policy is set.
    ///
    /// By `MADV_POPULATE_WRITE` (Linux 5.14); before that, each page is written to from here. Where
    /// memory for a page is lacking, the region is refused. What a region grows by later is touched
    /// as far as there is memory.
    pub const fn populate(mut self) -> Self {
        self.populate = true;
        self
    }

    /// Keeps pages from being swapped out.
    ///
    /// `ENOMEM`, `EAGAIN` or `EPERM` beyond what the process may lock (`ulimit -l`);
    /// [`SourceError::Unsupported`](crate::error::SourceError::Unsupported) for
    /// [`PageLock::OnTouch`] before Linux 4.4. Pages of the pool are never swapped, locked or not.
    pub const fn lock(mut self, lock: PageLock) -> Self {
        self.lock = Some((lock, Need::Required));
        self
    }

    /// As [`lock`](Self::lock), but where that is refused the pages are not locked.
    pub const fn lock_if_possible(mut self, lock: PageLock) -> Self {
        self.lock = Some((lock, Need::IfPossible));
        self
    }

    /// Counts regions against the system's commit limit when they are obtained (off unless asked
    /// for: `MAP_NORESERVE`).
    ///
    /// Then a kernel that is told not to overcommit refuses the region rather than a later touch.
    /// Pages of the pool are always reserved.
    pub const fn reserve_commit(mut self) -> Self {
        self.reserve = true;
        self
    }

    /// Leaves regions out of core dumps (Linux 3.4).
    pub const fn no_core_dump(mut self) -> Self {
        self.dump = false;
        self
    }

    /// Puts a page that nothing may touch before and another behind each region: who runs over its
    /// ends is stopped at once.
    ///
    /// Takes two pages of addresses a region and no memory. Each region is then up to three maps of
    /// the process, which may have 65,530 of them (`vm.max_map_count`).
    pub const fn guard_pages(mut self) -> Self {
        self.guards = true;
        self
    }

    /// Shows regions as `[anon:name]` in `/proc/self/maps`.
    ///
    /// [`SourceError::Unsupported`](crate::error::SourceError::Unsupported) before Linux 5.17 and
    /// in a kernel that is configured without (`CONFIG_ANON_VMA_NAME`); `EBADF` for huge pages of
    /// the pool, which have no names.
    ///
    /// # Panics
    /// Where the name is empty, longer than 79 bytes, or has a byte that is not printable ASCII or
    /// one of ``[]\$` ``; in a constant, when the program is compiled.
    pub const fn named(mut self, name: &'static CStr) -> Self {
        assert_is_name(name);
        self.name = Some((name, Need::Required));
        self
    }

    /// As [`named`](Self::named), but where the kernel takes no names the region has none.
    ///
    /// # Panics
    /// As `named`.
    pub const fn named_if_possible(mut self, name: &'static CStr) -> Self {
        assert_is_name(name);
        self.name = Some((name, Need::IfPossible));
        self
    }

    /// What the child of a fork has of the regions.
    ///
    /// Unless that is a copy, the child must neither use nor drop an allocator over this source,
    /// nor free its blocks: the allocators keep their index in the regions, and at the addresses of
    /// absent ones the child may have mapped something else by then.
    ///
    /// [`SourceError::Unsupported`](crate::error::SourceError::Unsupported) for [`OnFork::Zeroed`]
    /// before Linux 4.14 and on huge pages of the pool.
    pub const fn on_fork(mut self, on_fork: OnFork) -> Self {
        self.on_fork = on_fork;
        self
    }

    /// Whether all pages must be touched before a region is handed out.
    ///
    /// A policy for nodes and pages of the pool do not know of each other: without free pages on
    /// the nodes, the first touch would be fatal.
    pub(super) const fn populates(&self, kind: PageKind) -> bool {
        let strict = matches!(&self.policy, Some(policy) if policy.is_strict());
        self.populate || (strict && kind.pool_bits().is_some())
    }
}

/// The kernel's own rule, checked here because its error number for a wrong name is that for no
/// names at all.
const fn assert_is_name(name: &CStr) {
    let bytes = name.to_bytes();
    assert!(!bytes.is_empty() && bytes.len() < 80, "a map's name has 1 to 79 bytes");
    let mut index = 0;
    while index < bytes.len() {
        let printable = matches!(bytes[index], 0x20..0x7f);
        let special = matches!(bytes[index], b'[' | b']' | b'\\' | b'$' | b'`');
        assert!(
            printable && !special,
            "a map's name is printable ASCII without `[]\\$` and the grave accent"
        );
        index += 1;
    }
}
