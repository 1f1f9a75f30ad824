//! Values and scopes of a bump allocator.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::CheckingSource;
use context_allocator::source::{LimitSource, RegionSource};
use context_allocator::testing::RefusingSource;
use context_allocator::{AllocError, BumpAllocator, MmapSource};

type Bump = BumpAllocator<MmapSource>;

/// Counts how often it is dropped.
struct Dropped<'a>(&'a Cell<usize>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn values_of_all_shapes() {
    #[repr(align(4096))]
    struct Page(u8);
    let bump = Bump::new(MmapSource::new());
    let number = bump.alloc(7_u64);
    let nothing = bump.alloc(());
    let page = bump.alloc(Page(3));
    let text = bump.alloc_str("text");
    let empty = bump.alloc_str("");
    let numbers = bump.alloc_slice_copy(&[1_u16, 2, 3]);
    let none = bump.alloc_slice_copy::<u128>(&[]);
    *number += 1;
    text.make_ascii_uppercase();
    numbers.reverse();
    assert_eq!((*number, *nothing, page.0, &*text, &*empty), (8, (), 3, "TEXT", ""));
    assert!(std::ptr::from_ref(page).addr().is_multiple_of(4096));
    assert!(none.as_ptr().is_aligned() && none.is_empty());
    assert_eq!(numbers, [3, 2, 1]);
}

/// A slice of an iterator is as long as what it yields, wherever its size hint lies, and other
/// blocks may come between.
#[test]
fn slices_of_iterators() {
    let bump = Bump::new(MmapSource::new());
    for len in [0, 1, 3, 4, 5, 100, 10_000] {
        let known = bump.alloc_iter(0..len);
        let unknown = bump.alloc_iter((0..2 * len).filter(|number| number % 2 == 0).map(|number| number / 2));
        let interrupted = bump.alloc_iter((0..len).map(|number| *bump.alloc(number)));
        let boxes = bump.alloc_iter((0..len).map(|number| bump.alloc_iter(0..number % 5)));
        assert!(known.iter().copied().eq(0..len));
        assert_eq!(known, unknown);
        assert_eq!(known, interrupted);
        assert!((0..len).all(|at| boxes[at].iter().copied().eq(0..at % 5)));
        let nothings = bump.alloc_iter((0..len).map(|_| ()));
        assert_eq!(nothings.len(), len);
    }
    // What the slice does not need is there for the next.
    let before = std::ptr::from_ref(bump.alloc(1_u64)).addr();
    let slice = bump.alloc_iter((0..5_u64).chain(5..9));
    let after = std::ptr::from_ref(bump.alloc(2_u64)).addr();
    assert_eq!((after - before, slice.len()), (8 + 9 * 8, 9));
}

#[test]
fn values_are_not_dropped_and_those_of_a_failed_slice_are() {
    let dropped = Cell::new(0);
    let many = |count| (0..count).map(|_| Dropped(&dropped));
    let mut bytes = [std::mem::MaybeUninit::uninit(); 4096];
    let mut bump = BumpAllocator::new(RegionSource::new(&mut bytes));
    bump.alloc(Dropped(&dropped));
    bump.alloc_iter(many(10));
    bump.scope(|scope| _ = scope.alloc_iter(many(10)));
    assert_eq!(dropped.get(), 0);
    assert!(matches!(bump.try_alloc_iter(many(10_000).filter(|_| true)), Err(AllocError::Source(_))));
    let taken = dropped.replace(0);
    assert!((100..=512).contains(&taken), "{taken} values of 8 bytes in 4096");
    // The block went back with them.
    assert_eq!(bump.alloc_iter(many(100)).len(), 100);
    let panics = many(20).enumerate().map(|(at, value)| if at == 15 { panic!("at {at}") } else { value });
    assert!(catch_unwind(AssertUnwindSafe(|| _ = bump.try_alloc_iter(panics))).is_err());
    assert_eq!(dropped.get(), 16);
    assert!(bump.try_alloc([0_u8; 5000]).is_err() && bump.try_alloc_str(&"x".repeat(5000)).is_err());
    assert!(bump.try_alloc_slice_copy(&[0_u64; 1000]).is_err());
}

#[test]
fn without_memory_the_short_forms_panic_with_the_reason() {
    let bump = BumpAllocator::new(RefusingSource::from(MmapSource::new(), 0));
    let message = |f: &dyn Fn()| {
        let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("there is no memory");
        *panic.downcast::<String>().expect("a message")
    };
    assert_eq!(message(&|| _ = bump.alloc(1)), "alloc: the memory source has no memory left");
    assert!(message(&|| _ = bump.alloc_str("1")).starts_with("alloc_str: "));
    assert!(message(&|| _ = bump.alloc_slice_copy(&[1])).starts_with("alloc_slice_copy: "));
    assert!(message(&|| _ = bump.alloc_iter(0..1)).starts_with("alloc_iter: "));
    let limited = BumpAllocator::new(LimitSource::new(MmapSource::new(), 1 << 20));
    let error = limited.try_alloc([0_u8; 2 << 20]).expect_err("more than the limit");
    assert_eq!(error.to_string(), "the limit in bytes would be passed");
}

/// Scopes of any depth free what is theirs, and what is older stays.
#[test]
fn scopes_nest() {
    fn nest(
        scope: &mut context_allocator::alloc::Scope<'_, '_, &CheckingSource<MmapSource>>,
        depth: usize,
    ) -> usize {
        let mine = scope.alloc_slice_copy(&[depth; 3000]);
        let mut sum = 0;
        if depth > 0 {
            for _ in 0..2 {
                let before = scope.checkpoint();
                sum += scope.scope(|mut inner| nest(&mut inner, depth - 1));
                assert_eq!(format!("{:?}", scope.checkpoint()), format!("{before:?}"));
            }
        }
        assert!(mine.iter().all(|&value| value == depth));
        // Values of an inner scope may borrow from this one.
        sum + scope.scope(|inner| inner.alloc_iter(mine.iter().map(Some)).len())
    }
    let source = CheckingSource::new(MmapSource::new());
    let mut bump = BumpAllocator::new(&source);
    let outer = bump.scope(|mut scope| {
        let outer = scope.alloc_str("outer").to_string();
        assert_eq!(nest(&mut scope, 7), 3000 * 255);
        // A collection in the scope ends with it, or before.
        let mut numbers = allocator_api2_02::vec::Vec::new_in(&*scope);
        numbers.extend(0..1000);
        outer + &numbers.len().to_string()
    });
    assert_eq!(outer, "outer1000");
    assert!(source.counts().held <= 1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        bump.scope(|mut scope| {
            scope.alloc([1; 1000]);
            scope.scope(|inner| {
                inner.alloc([2; 100_000]);
                panic!("in the inner scope");
            })
        })
    }));
    assert!(panicked.is_err() && source.counts().held <= 2);
    drop(bump);
    source.assert_all_released();
}
