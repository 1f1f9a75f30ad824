//! `Rc` and `Arc` over an allocator: each value is dropped once, each block freed once, with the
//! layout it was allocated with.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread;

use context_allocator::adapt::GlobalAllocToAllocatorAdaptor;
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::collections::{Arc, Rc, RcWeak, Vec};
use context_allocator::error::SourceError;
use context_allocator::testing::RefusingSource;
use context_allocator::{AllocError, Allocator, BumpAllocator, Locked, MmapSource, NonZeroLayout};
use std::alloc::System;
use std::ptr::NonNull;

/// The system's allocator, with a check at each free: as many bytes as were allocated, of the same
/// alignment.
#[derive(Default)]
struct Checked {
    blocks: RefCell<std::vec::Vec<(NonNull<u8>, NonZeroLayout)>>,
}

const SYSTEM: GlobalAllocToAllocatorAdaptor<'static, System> = GlobalAllocToAllocatorAdaptor::new(&System);

// SAFETY: Everything is the system's.
unsafe impl Allocator for Checked {
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let block = SYSTEM.allocate(layout)?;
        self.blocks.borrow_mut().push((block.cast(), layout));
        Ok(block)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        let mut blocks = self.blocks.borrow_mut();
        let place = blocks.iter().position(|&known| known == (block, layout));
        blocks.swap_remove(place.expect("the block is allocated with this layout"));
        // SAFETY: The caller's promises.
        unsafe { SYSTEM.deallocate(block, layout) };
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert!(self.blocks.borrow().is_empty(), "a block was not freed");
        }
    }
}

/// Counts its drops.
struct Dropped<'a>(&'a Cell<usize>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn the_last_owner_drops_the_value_and_the_last_of_all_frees_the_block() {
    let (allocator, drops) = (Checked::default(), Cell::new(0));
    let one = Rc::new_in(Dropped(&drops), &allocator);
    let two = one.clone();
    let weak = Rc::downgrade(&one);
    assert!(Rc::ptr_eq(&one, &two));
    assert_eq!((Rc::strong_count(&one), Rc::weak_count(&one), weak.strong_count()), (2, 1, 2));
    drop(one);
    assert_eq!(drops.get(), 0);
    let again = weak.upgrade().expect("it is still there");
    drop(two);
    drop(again);
    assert_eq!((drops.get(), allocator.blocks.borrow().len()), (1, 1), "a weak owner keeps the block");
    assert!(weak.upgrade().is_none());
    let weak_too = weak.clone();
    drop(weak);
    assert!(weak_too.upgrade().is_none());
    drop(weak_too);
    assert!(allocator.blocks.borrow().is_empty());
}

#[test]
fn values_of_any_alignment_and_size() {
    #[repr(align(4096))]
    struct Page(u8);
    let allocator = Checked::default();
    let page = Rc::new_in(Page(7), &allocator);
    assert!((&raw const *page).is_aligned());
    assert_eq!(page.0, 7);
    let nothing = Rc::new_in((), &allocator);
    assert_eq!(*nothing.clone(), ());
    let wide = Rc::<[u128], _>::from_slice_in(&[1, 2, 3], &allocator);
    assert_eq!((wide.len(), wide.iter().sum::<u128>()), (3, 6));
    let odd = Rc::<[u8], _>::from_slice_in(b"seven b", &allocator);
    let empty = Rc::<[u64], _>::from_slice_in(&[], &allocator);
    assert_eq!((&*odd, empty.len()), (&b"seven b"[..], 0));
    let text: Rc<str, _> = Rc::from_str_in("käse", &allocator);
    assert_eq!((&*text, text.clone().to_string()), ("käse", "käse".into()));
    let weak = Rc::downgrade(&text);
    drop(text);
    assert!(weak.upgrade().is_none());
}

#[test]
fn an_owner_that_is_alone_may_change_the_value() {
    let allocator = Checked::default();
    let mut one = Rc::new_in(1, &allocator);
    *Rc::get_mut(&mut one).expect("there is one owner") += 1;
    let other = one.clone();
    assert!(Rc::get_mut(&mut one).is_none());
    *Rc::make_mut(&mut one) += 10;
    assert_eq!((*one, *other), (12, 2), "the other owner keeps its value");
    let weak = Rc::downgrade(&one);
    assert!(Rc::get_mut(&mut one).is_none(), "a weak owner could become a strong one");
    assert_eq!(*weak.upgrade().expect("it is there"), 12);
    drop(weak);
    assert!(Rc::get_mut(&mut one).is_some());
}

#[test]
fn a_value_comes_out_of_its_only_owner() {
    let (allocator, drops) = (Checked::default(), Cell::new(0));
    let one = Rc::new_in(Dropped(&drops), &allocator);
    let two = one.clone();
    let Err(one) = Rc::try_unwrap(one) else { panic!("there are two owners") };
    drop(two);
    let weak = Rc::downgrade(&one);
    let Ok(value) = Rc::try_unwrap(one) else { panic!("there is one owner") };
    assert!(weak.upgrade().is_none());
    assert_eq!(drops.get(), 0);
    drop(value);
    assert_eq!(drops.get(), 1);
}

#[test]
fn an_owner_of_a_trait_object() {
    let allocator = Checked::default();
    let (pointer, by) = Rc::into_raw_with_allocator(Rc::new_in(42_u8, &allocator));
    // SAFETY: Both came from one owner, and the pointer was unsized.
    let shown: Rc<dyn Display, _> = unsafe { Rc::from_raw_in(pointer as *const dyn Display, by) };
    let weak: RcWeak<dyn Display, _> = Rc::downgrade(&shown);
    assert_eq!(shown.clone().to_string(), "42");
    drop(shown);
    assert!(weak.upgrade().is_none());
    #[repr(align(64))]
    struct Aligned(u8);
    impl Display for Aligned {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt(f)
        }
    }
    let (pointer, by) = Rc::into_raw_with_allocator(Rc::new_in(Aligned(9), &allocator));
    // SAFETY: As above.
    let shown: Rc<dyn Display, _> = unsafe { Rc::from_raw_in(pointer as *const dyn Display, by) };
    assert_eq!(shown.to_string(), "9");
}

#[test]
fn a_panic_in_a_drop_frees_the_block() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    let allocator = Checked::default();
    let owner = Rc::new_in(Panics, &allocator);
    let caught = catch_unwind(AssertUnwindSafe(|| drop(owner)));
    assert!(caught.is_err());
    assert!(allocator.blocks.borrow().is_empty());
}

#[test]
fn no_memory_is_an_error_and_drops_the_value() {
    let drops = Cell::new(0);
    let bump = BumpAllocator::new(RefusingSource::from(MmapSource::new(), 0));
    let refused = Rc::try_new_in(Dropped(&drops), &bump);
    assert!(matches!(refused, Err(AllocError::Source(SourceError::Exhausted))));
    assert_eq!(drops.get(), 1);
    assert!(Rc::<[u8], _>::try_from_slice_in(&[1], &bump).is_err());
    assert!(Rc::<str, _>::try_from_str_in("text", &bump).is_err());
}

#[test]
fn values_compare_and_print_as_what_they_hold() {
    let allocator = Checked::default();
    let (one, two) = (Rc::new_in(1, &allocator), Rc::new_in(2, &allocator));
    assert!(one < two && one == Rc::new_in(1, &allocator) && one.max(two.clone()) == two);
    assert_eq!(format!("{two} {two:?}"), "2 2");
    let pinned: Pin<_> = Rc::into_pin(Rc::new_in(5, SYSTEM)).expect("this is the only owner");
    assert_eq!(*pinned, 5);
}

/// What was pinned once is never moved: not by an owner that is not pinned either, after the pinned
/// one is gone.
#[test]
fn a_value_with_other_owners_cannot_be_pinned() {
    struct Stays(PhantomPinned);
    let one = Rc::new_in(Stays(PhantomPinned), SYSTEM);
    let two = one.clone();
    let Err(one) = Rc::into_pin(one) else { panic!("another owner could take the value out") };
    drop(two);
    let weak = Rc::downgrade(&one);
    let Err(one) = Rc::into_pin(one) else {
        panic!("a weak owner could become one that takes the value out")
    };
    drop(weak);
    let pinned: Pin<_> = Rc::into_pin(one).ok().expect("this is the only owner");
    let at = &raw const *pinned;
    let other = pinned.clone();
    drop(pinned);
    assert_eq!(&raw const *other, at);
    drop(other);
}

/// Owners go to threads and back; the last of them, wherever it is, frees.
#[test]
fn owners_on_many_threads() {
    type Shared = Locked<SizeClassAllocator<MmapSource>>;
    let allocator: Shared = Locked::new(SizeClassAllocator::new(MmapSource::new()));
    for round in 0..200 {
        let numbers: Arc<[u64], _> = Arc::from_slice_in(&[round; 100], &allocator);
        let weak = Arc::downgrade(&numbers);
        thread::scope(|scope| {
            for _ in 0..4 {
                let (numbers, weak) = (numbers.clone(), weak.clone());
                scope.spawn(move || {
                    let more: std::vec::Vec<_> = (0..50).map(|_| numbers.clone()).collect();
                    drop(numbers);
                    assert!(weak.upgrade().is_some());
                    assert!(more.iter().all(|numbers| numbers[99] == round));
                });
            }
            drop(numbers);
        });
        assert!(weak.upgrade().is_none());
    }
}

#[test]
fn owners_inside_of_collections() {
    let bump = BumpAllocator::new(MmapSource::new());
    let shared = Rc::new_in(RefCell::new(0), &bump);
    let mut owners = Vec::new_in(&bump);
    owners.resize(100, shared.clone());
    owners.iter().for_each(|owner| *owner.borrow_mut() += 1);
    assert_eq!((*shared.borrow(), Rc::strong_count(&shared)), (100, 101));
}
