//! A region source gives its one range to one user at a time.

use core::mem::MaybeUninit;
use std::boxed::Box;

use super::ground::Place;
use super::{explore, together};
use crate::layout::NonZeroLayout;
use crate::size::U64;
use crate::source::{InlineRegion, MemorySource, RegionSource};

struct Range {
    source: RegionSource<'static>,
    place: Place,
}

impl Range {
    fn new(bytes: &mut [MaybeUninit<u8>; 64]) -> Self {
        let start = core::ptr::NonNull::from(bytes).cast();
        // SAFETY: The models keep the bytes for longer than the range, and do not use them.
        let source = unsafe { RegionSource::from_raw(start, 64) };
        Self { source, place: Place::new() }
    }

    fn use_it(&self) {
        let layout = NonZeroLayout::of::<u64>().unwrap();
        if let Ok(region) = self.source.obtain(layout) {
            assert!(region.len() >= layout.size());
            self.place.touch();
            // SAFETY: Just obtained with this layout.
            unsafe { self.source.release(region, layout) };
        }
    }
}

#[test]
fn one_user_at_a_time() {
    explore("region source", 3, || {
        let mut bytes = Box::new([MaybeUninit::uninit(); 64]);
        let range = together(Range::new(&mut bytes), Range::use_it, [Range::use_it, Range::use_it]);
        let uses = range.place.touch();
        range.use_it();
        assert_eq!(range.place.touch(), uses + 2, "the region came back");
        assert!((2..=4).contains(&uses));
    });
}

/// The same of a region inline in a static.
#[test]
fn one_user_of_inline_bytes_at_a_time() {
    struct Inline {
        bytes: InlineRegion<U64>,
        place: Place,
    }
    let use_it = |inline: &Inline| {
        let layout = NonZeroLayout::of::<u64>().unwrap();
        let source = &inline.bytes;
        if let Ok(region) = source.obtain(layout) {
            inline.place.touch();
            // SAFETY: Just obtained with this layout.
            unsafe { source.release(region, layout) };
        }
    };
    explore("inline region", 3, move || {
        let inline = Inline { bytes: InlineRegion::new(), place: Place::new() };
        together(inline, use_it, [use_it, use_it]);
    });
}
