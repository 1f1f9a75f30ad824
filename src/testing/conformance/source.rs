//! The contract of `MemorySource`, line by line, through a [`CheckingSource`], which checks each
//! region.

use std::boxed::Box;
use std::hint::black_box;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::source::{MemorySource, Obtained};

use super::{alignments, impossible_sizes, sizes};
use crate::testing::layout;
use crate::testing::pattern::{Pattern, bytes};
use crate::testing::{CheckingSource, Counts};

/// A source as a trait object: its constants are methods.
trait Tested {
    fn constants(&self) -> Constants;
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError>;
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError>;
    /// # Safety
    /// As for [`MemorySource::release`].
    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout);
    /// # Safety
    /// As for [`MemorySource::before_fork`] and, afterwards, [`MemorySource::after_fork`], which
    /// are both called here.
    unsafe fn fork(&self);
}

#[derive(Clone, Copy)]
struct Constants {
    zeroed: bool,
    min_align: usize,
    max_region: usize,
    block: usize,
}

impl<S: MemorySource> Tested for S {
    fn constants(&self) -> Constants {
        Constants { zeroed: S::ZEROED, min_align: S::MIN_ALIGN, max_region: S::MAX_REGION, block: S::BLOCK }
    }

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        MemorySource::obtain(self, layout)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        MemorySource::obtain_between(self, least, preferred)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The same promises, by the caller.
        unsafe { MemorySource::release(self, region, layout) };
    }

    unsafe fn fork(&self) {
        // SAFETY: The call that follows is the other one.
        unsafe { self.before_fork() };
        // SAFETY: This thread just called `before_fork`, and this is the one call that follows it.
        unsafe { self.after_fork() };
    }
}

/// A region of a source, filled with a pattern, released when it is dropped.
struct Region<'a> {
    source: &'a dyn Tested,
    region: NonNull<[u8]>,
    layout: NonZeroLayout,
    pattern: Pattern,
    /// What to release it with.
    fitting: (usize, usize),
}

impl<'a> Region<'a> {
    fn obtain(source: &'a dyn Tested, layout: NonZeroLayout, number: u64) -> Result<Self, SourceError> {
        let Constants { zeroed, min_align, block, .. } = source.constants();
        let region = source.obtain(layout)?;
        let address = region.cast::<u8>().addr().get();
        assert!(region.len() >= layout.size() && address.is_multiple_of(layout.align().max(min_align)));
        assert!(block == 0 || (region.len() == block && address.is_multiple_of(block)));
        if zeroed {
            // SAFETY: The region was just obtained, so it is readable and ours; zeroed memory is
            // initialised.
            let contents = unsafe { bytes(region.cast(), region.len()) };
            assert!(contents.iter().all(|&byte| byte == 0), "a region said to be zeroed is not");
        }
        let pattern = Pattern::of(number);
        // SAFETY: The region was just obtained with this length, so all of it is writable.
        unsafe { pattern.fill(region.cast(), region.len()) };
        let sizes = [layout.size(), layout.size().midpoint(region.len()), region.len()];
        let fitting = (sizes[(number % 3) as usize], sizes[(number / 3 % 3) as usize]);
        Ok(Self { source, region, layout, pattern, fitting })
    }

    fn obtain_between(
        source: &'a dyn Tested,
        least: NonZeroLayout,
        preferred: usize,
        number: u64,
    ) -> Result<Self, SourceError> {
        let constants = source.constants();
        let Constants { min_align, block, .. } = constants;
        let Obtained { region, zeroed } = source.obtain_between(least, preferred)?;
        let (address, len) = (region.cast::<u8>().addr().get(), region.len());
        assert!(len >= least.size() && address.is_multiple_of(least.align().max(min_align)));
        assert!(block == 0 || (len == block && address.is_multiple_of(block)));
        assert!(zeroed || !constants.zeroed, "a source of zeroed regions forgot that this is one");
        if zeroed {
            // SAFETY: The region was just obtained, so it is readable and ours; zeroed memory is
            // initialised.
            let contents = unsafe { bytes(region.cast(), len) };
            assert!(contents.iter().all(|&byte| byte == 0), "a region said to be zeroed is not");
        }
        let pattern = Pattern::of(number);
        // SAFETY: The region was just obtained with this length, so all of it is writable.
        unsafe { pattern.fill(region.cast(), len) };
        let fits = preferred.max(least.size()).min(len);
        let sizes = [fits, fits.midpoint(len), len];
        let fitting = (sizes[(number % 3) as usize], sizes[(number / 3 % 3) as usize]);
        Ok(Self { source, region, layout: least, pattern, fitting })
    }

    fn verify(&self) {
        // SAFETY: The region is held, and `obtain` filled it.
        let contents = unsafe { bytes(self.region.cast(), self.region.len()) };
        assert!(self.pattern.matches(contents), "the contents of a region changed");
    }
}

impl Drop for Region<'_> {
    fn drop(&mut self) {
        let region = NonNull::slice_from_raw_parts(self.region.cast(), self.fitting.0);
        let layout = self.layout.with_size(self.fitting.1).unwrap_or(self.layout);
        // SAFETY: `obtain` got the region from this source, and this is its end; both sizes lie
        // between the one asked for and the one returned.
        unsafe { self.source.release(region, layout) };
    }
}

/// One test of a source, which has the counts of its regions and gives `largest` bytes.
type Test = fn(source: &dyn Tested, counts: &dyn Fn() -> Counts, largest: usize);

/// Tests everything that the `MemorySource` contract says of one value.
///
/// A source that `make` made must give `largest` bytes at every alignment up to 4096 bytes and up
/// to `largest`, at least one such region at a time, again and again.
pub fn source<S: MemorySource>(make: impl Fn() -> S, largest: usize) {
    assert!(largest <= S::MAX_REGION && S::MIN_ALIGN.is_power_of_two());
    assert!(S::BLOCK == 0 || S::BLOCK.is_power_of_two());
    let counting = || CheckingSource::new(make());
    let tests: [Test; 5] =
        [one_at_a_time, many_at_a_time, lengths_between, refusals_change_nothing, fork_hooks];
    for test in tests {
        let source = counting();
        test(&source, &|| source.counts(), largest);
        source.assert_all_released();
    }
    moved(counting(), largest);
}

/// Tests a source through each pointer that forwards to it.
pub fn forwarded_source<S: MemorySource>(make: impl Fn() -> S, largest: usize) {
    let shared = make();
    source(|| &shared, largest);
    source(|| Rc::new(make()), largest);
    source(|| Arc::new(make()), largest);
    between(&&shared, &shared, largest);
    let counted = Rc::new(make());
    between(&counted, &*counted, largest);
    let counted = Arc::new(make());
    between(&counted, &*counted, largest);
}

/// What one obtains the other releases, and the promises in the constants are the same, but for
/// `BLOCK`.
fn between<P: MemorySource, S: MemorySource>(pointer: &P, source: &S, largest: usize) {
    assert_eq!((P::ZEROED, P::MIN_ALIGN, P::MAX_REGION), (S::ZEROED, S::MIN_ALIGN, S::MAX_REGION));
    assert_eq!(P::BLOCK, 0, "behind a pointer, somebody else could reclaim the memory");
    assert_eq!(P::SHARES_SLICES, S::SHARES_SLICES || S::BLOCK != 0);
    for number in 0..9 {
        let obtained = Region::obtain(pointer, layout(largest, 8), number).expect("the source gives this");
        let (region, layout) = (obtained.region, obtained.layout);
        let other = Region { source, region, layout, pattern: obtained.pattern, fitting: obtained.fitting };
        std::mem::forget(obtained);
        other.verify();
    }
}

fn layouts(largest: usize) -> impl Iterator<Item = NonZeroLayout> {
    alignments().take_while(move |&align| align <= largest).flat_map(move |align| {
        sizes(largest).filter(|size| size % 5 < 2).map(move |size| layout(size, align))
    })
}

fn one_at_a_time(source: &dyn Tested, _: &dyn Fn() -> Counts, largest: usize) {
    for (number, layout) in (0..).zip(layouts(largest)) {
        let region = Region::obtain(source, layout, number).expect("the source gives this");
        region.verify();
    }
    for number in 0..9 {
        Region::obtain(source, layout(largest, 1), number).expect("the source gives its largest").verify();
    }
}

fn many_at_a_time(source: &dyn Tested, _: &dyn Fn() -> Counts, largest: usize) {
    let mut held = Vec::new();
    for (number, layout) in (0..).zip(layouts(largest)) {
        match Region::obtain(source, layout, number) {
            Ok(region) => held.push(region),
            // A source of few regions may refuse, but not when nothing is held.
            Err(_) => assert!(!held.is_empty()),
        }
        if held.len() > 40 {
            let region = held.swap_remove(number as usize % held.len());
            region.verify();
        }
    }
    assert!(!held.is_empty());
    held.iter().for_each(Region::verify);
}

/// Whatever is preferred, a region of the least length comes, and is all that it is said to be.
fn lengths_between(source: &dyn Tested, _: &dyn Fn() -> Counts, largest: usize) {
    for (number, least) in (0..).zip(layouts(largest).step_by(11)) {
        let size = least.size();
        let preferred =
            [0, size + 1, 3 * size, size.midpoint(largest), 2 * largest + 5][(number % 5) as usize];
        let region = Region::obtain_between(source, least, preferred, number);
        region.expect("the source gives this").verify();
    }
    let largest_is_least = Region::obtain_between(source, layout(largest, 1), 1, 5);
    assert!(largest_is_least.expect("the source gives its largest").region.len() >= largest);
}

fn refusals_change_nothing(source: &dyn Tested, counts: &dyn Fn() -> Counts, largest: usize) {
    let held = Region::obtain(source, layout(largest, 1), 7).expect("the source gives its largest");
    let beyond = source.constants().max_region.checked_add(1);
    for size in impossible_sizes().chain(beyond) {
        for align in [1, 4096, 1 << 40] {
            let Ok(huge) = NonZeroLayout::from_size_align(size, align) else { continue };
            assert!(source.obtain(black_box(huge)).is_err(), "{huge:?} was granted");
            for preferred in [0, size] {
                let obtained = source.obtain_between(black_box(huge), preferred);
                assert!(obtained.is_err(), "{huge:?} was granted");
            }
        }
    }
    let misfit = black_box(layout(1, 1 << 62));
    assert!(source.obtain(misfit).is_err(), "{misfit:?} was granted");
    assert_eq!(counts().held, 1);
    held.verify();
    drop(held);
    Region::obtain(source, layout(largest, 1), 8).expect("the source gives its largest").verify();
}

fn fork_hooks(source: &dyn Tested, _: &dyn Fn() -> Counts, largest: usize) {
    for number in 0..3 {
        let held = Region::obtain(source, layout(largest, 1), number).expect("the source gives its largest");
        // SAFETY: No other fork is under way, as far as this source goes: the test has it alone.
        unsafe { source.fork() };
        held.verify();
    }
}

/// Moving the source leaves its regions where they are.
fn moved<S: MemorySource>(source: CheckingSource<S>, largest: usize) {
    let before = Region::obtain(&source, layout(largest, 1), 3).expect("the source gives its largest");
    let (region, layout, pattern, fitting) = (before.region, before.layout, before.pattern, before.fitting);
    std::mem::forget(before);
    let elsewhere = black_box(Box::new(source));
    let after = Region { source: &*elsewhere, region, layout, pattern, fitting };
    after.verify();
    drop(after);
    elsewhere.assert_all_released();
}
