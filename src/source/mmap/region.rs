//! Regions with options: made, given back, moved.
//!
//! ```text
//!   one map, or with huge pages of the pool three
//!   +-------+---------------------------------------------+-------+
//!   | guard | region (whole pages of its ladder's rounding) | guard |
//!   +-------+---------------------------------------------+-------+
//!           ^ multiple of the alignment, and of 2 MiB for transparent huge pages
//! ```
//!
//! Always: from the options and the region's start and length alone follows which addresses are
//! mapped for it, so `release` needs no index. The guards are a base page each, or nothing.
//!
//! No map ever replaces another that may be somebody else's: a hole that another thread could have
//! filled in the meantime is only mapped with `MAP_FIXED_NOREPLACE`.

use core::ptr::NonNull;

use super::options::Need;
use super::report::MapReport;
use super::report::lacking;
use super::{MmapOptions, OnFork, PageKind, PageLock};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::sys;
use sys::{Advice, MapKind};

/// How often a hole is made again that another thread filled before the huge pages came.
const ATTEMPTS: usize = 4;

/// A region on the largest pages of the ladder that can be had.
pub(super) fn obtain(
    options: &MmapOptions,
    layout: NonZeroLayout,
) -> Result<(NonNull<[u8]>, MapReport), SourceError> {
    let page = sys::page_size();
    let unit = options.pages.unit(layout.size(), page);
    let len = rounded(options, layout.size())?;
    let mut refusal = SourceError::Unsupported;
    for kind in options.pages.up_to(unit, page) {
        let align = alignment(kind, layout, page);
        let obtained = map(options, kind, len, align).and_then(|start| {
            // SAFETY: The region was just mapped, and nobody has seen it.
            let dressed = unsafe { dress(options, kind, start, len) };
            if dressed.is_err() {
                // SAFETY: As above; it is not used again.
                unsafe { release(options, start, len) };
            }
            Ok((ptr::bytes(start, len), dressed?))
        });
        match obtained {
            Ok(obtained) => return Ok(obtained),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// The length in bytes of a region for `len` bytes.
pub(super) fn rounded(options: &MmapOptions, len: usize) -> Result<usize, SourceError> {
    options.pages.round_up(len, sys::page_size()).ok_or(SourceError::TooLarge)
}

/// What the start of a region on such pages is a multiple of.
pub(super) fn alignment(kind: PageKind, layout: NonZeroLayout, page: usize) -> usize {
    layout.align().max(kind.bytes(page))
}

/// Bytes of the guard at either end of a region.
pub(super) fn guard(options: &MmapOptions) -> usize {
    if options.guards { sys::page_size() } else { 0 }
}

/// Gives a region and its guards back.
///
/// # Safety
/// [`obtain`] with these options, or a move of the region, gave `len` bytes at `start`; nobody uses
/// them any more.
pub(super) unsafe fn release(options: &MmapOptions, start: NonNull<u8>, len: usize) {
    let guard = guard(options);
    // The guards may be maps of their own.
    if let Some(first) = NonNull::new(ptr::down(start.as_ptr(), guard)) {
        // SAFETY: The region and its guards are whole maps, and nobody uses them, as the caller
        // promises.
        unsafe { sys::unmap(first, guard + len + guard) };
    }
}

/// Maps guards and a region of `len` bytes at a multiple of `align` between them; returns the
/// region's start.
fn map(options: &MmapOptions, kind: PageKind, len: usize, align: usize) -> Result<NonNull<u8>, SourceError> {
    match kind.pool_bits() {
        None => map_base(options, len, align),
        Some(bits) => map_pool(options, bits, len, align),
    }
}

fn map_base(options: &MmapOptions, len: usize, align: usize) -> Result<NonNull<u8>, SourceError> {
    let guard = guard(options);
    let kind = MapKind { writable: guard == 0, reserve: options.reserve };
    let start = map_between(guard, len, align, kind)?;
    if guard > 0 {
        // SAFETY: The region between the guards was just mapped, and nobody has seen it.
        if let Err(errno) = unsafe { sys::make_writable(start, len) } {
            // SAFETY: As above; it is not used again.
            unsafe { release(options, start, len) };
            return Err(SourceError::System(errno));
        }
    }
    Ok(start)
}

/// Maps `guard + len + guard` bytes, the middle at a multiple of `align`; returns the start of the
/// middle.
pub(super) fn map_between(
    guard: usize,
    len: usize,
    align: usize,
    kind: MapKind,
) -> Result<NonNull<u8>, SourceError> {
    let slack = align.saturating_sub(sys::page_size());
    let needed = len.checked_add(2 * guard).ok_or(SourceError::TooLarge)?;
    let total = needed.checked_add(slack).ok_or(SourceError::TooLarge)?;
    let mapped = sys::map_as(total, kind).map_err(SourceError::System)?;
    // Both `mapped` and `guard` are whole pages, so at most `slack` bytes are missing to the next
    // multiple.
    let head = ptr::padding(mapped.addr().get() + guard, align);
    debug_assert!(head <= slack);
    // SAFETY: `head` is at most `slack`, so the sum stays inside the mapping.
    let first = unsafe { mapped.add(head) };
    if head > 0 {
        // SAFETY: The first `head` bytes are whole pages of the mapping just made; nothing uses
        // them.
        unsafe { sys::unmap(mapped, head) };
    }
    if head < slack {
        // SAFETY: `head + needed < total`.
        let end = unsafe { first.add(needed) };
        // SAFETY: The last `slack - head` bytes are whole pages of the mapping just made; nothing
        // uses them.
        unsafe { sys::unmap(end, slack - head) };
    }
    // SAFETY: `guard` is less than `needed`.
    Ok(unsafe { first.add(guard) })
}

/// The kernel aligns pages of the pool to their own size. For more than that, and for guards, a
/// hole is made and mapped.
fn map_pool(
    options: &MmapOptions,
    page_bits: u32,
    len: usize,
    align: usize,
) -> Result<NonNull<u8>, SourceError> {
    let guard = guard(options);
    if guard == 0 && align <= 1 << page_bits {
        return sys::map_huge(None, len, page_bits).map_err(lacking);
    }
    let mut refusal = libc::EEXIST;
    for _ in 0..ATTEMPTS {
        let nothing = MapKind { writable: false, reserve: false };
        let start = map_between(guard, len, align, nothing)?;
        // SAFETY: Just mapped; nobody has seen it.
        unsafe { sys::unmap(start, len) };
        match sys::map_huge(Some(start), len, page_bits) {
            Ok(start) => return Ok(start),
            Err(errno) => refusal = errno,
        }
        // SAFETY: The guards were just mapped, and nothing uses them; what is between them now is
        // not ours.
        unsafe { release_guards(guard, start, len) };
        if refusal != libc::EEXIST {
            break;
        }
    }
    Err(lacking(refusal))
}

/// Gives the guards around `len` bytes at `start` back, and nothing between them.
///
/// # Safety
/// `guard` bytes are mapped as a guard at either end, and nothing uses them.
pub(super) unsafe fn release_guards(guard: usize, start: NonNull<u8>, len: usize) {
    if guard > 0 {
        let before = ptr::down(start.as_ptr(), guard);
        let behind = ptr::up(start.as_ptr(), len);
        for range in [before, behind].into_iter().filter_map(NonNull::new) {
            // SAFETY: The guard is whole pages, and nothing uses it, as the caller promises.
            unsafe { sys::unmap(range, guard) };
        }
    }
}

/// Tells the kernel all that the options say of a region. The order matters: what touches pages
/// comes last.
///
/// # Safety
/// The region was mapped with these options, its pages are of this kind, and nobody uses it yet.
unsafe fn dress(
    options: &MmapOptions,
    kind: PageKind,
    start: NonNull<u8>,
    len: usize,
) -> Result<MapReport, SourceError> {
    let mut report = MapReport { pages: kind, policy: false, locked: false, named: false };
    let advise = |advice| {
        // SAFETY: The region is ours and unused, as the caller promises, so no contents are lost.
        unsafe { sys::advise(start, len, advice) }.map_err(lacking)
    };
    if kind == PageKind::Transparent {
        advise(Advice::HugePages)?;
    }
    if let Some(policy) = &options.policy {
        // SAFETY: The region is ours, as the caller promises.
        let bound = unsafe { sys::bind(start, len, policy.mode(), policy.nodes().bits()) };
        report.policy = bound.is_ok();
        if let (Err(errno), false) = (bound, policy.may_fail()) {
            return Err(refused_policy(policy.mode(), errno));
        }
    }
    match options.on_fork {
        OnFork::Copied => {}
        OnFork::Absent => advise(Advice::NoFork)?,
        OnFork::Zeroed => advise(Advice::WipeOnFork)?,
    }
    if !options.dump {
        advise(Advice::NoDump)?;
    }
    if let Some((name, need)) = options.name {
        report.named = settled(sys::name(start, len, name), need)?;
    }
    if let Some((lock, need)) = options.lock {
        // SAFETY: The region is ours, as the caller promises.
        let locked = unsafe { sys::lock(start, len, lock == PageLock::OnTouch) };
        report.locked = settled(locked, need)?;
    }
    if options.populates(kind) {
        // SAFETY: The region is ours and zeroed, as the caller promises.
        unsafe { populate(options, kind, start, len) }?;
    }
    Ok(report)
}

/// Touches the pages of `len` bytes at `start`.
///
/// # Safety
/// The bytes are whole pages of this kind in a region with these options, zero, and nobody accesses
/// them.
pub(super) unsafe fn populate(
    options: &MmapOptions,
    kind: PageKind,
    start: NonNull<u8>,
    len: usize,
) -> Result<(), SourceError> {
    // SAFETY: The pages are ours, as the caller promises, and touching them does not change that
    // they are zero.
    let populated = unsafe { sys::advise(start, len, Advice::Populate) }.map_err(lacking);
    // What a touch from here would do to a region of the pool is to kill the process where the
    // pages lie on the wrong nodes.
    if populated == Err(SourceError::Unsupported) && (kind.pool_bits().is_none() || options.policy.is_none())
    {
        // SAFETY: As above.
        unsafe { sys::touch(start, len, sys::page_size()) };
        return Ok(());
    }
    populated
}

/// Whether it was done; an error where it had to be.
fn settled(result: Result<(), i32>, need: Need) -> Result<bool, SourceError> {
    match (result, need) {
        (Ok(()), _) => Ok(true),
        (Err(_), Need::IfPossible) => Ok(false),
        (Err(errno), Need::Required) => Err(lacking(errno)),
    }
}

/// Why a policy was refused: `EINVAL` is for a policy that the kernel does not know, and for nodes
/// that it does not have.
fn refused_policy(mode: usize, errno: i32) -> SourceError {
    if errno == libc::EINVAL && sys::knows_mode(mode) { SourceError::System(errno) } else { lacking(errno) }
}
