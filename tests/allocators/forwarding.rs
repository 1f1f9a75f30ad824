//! Through a pointer, each method of a trait is the method of the same name, not its default body.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use crate::support::layout;
use crate::support::ledger::{Ledger, Way};
use context_allocator::adapt::GlobalAllocToAllocatorAdaptor;
use context_allocator::{AllocError, Allocator, NonZeroLayout};

type Block = Result<NonNull<[u8]>, AllocError>;

/// An allocator that writes down which methods are called.
struct Calls {
    names: RefCell<Vec<&'static str>>,
    inner: GlobalAllocToAllocatorAdaptor<'static, std::alloc::System>,
}

impl Calls {
    fn none() -> Self {
        let inner = GlobalAllocToAllocatorAdaptor::new(&std::alloc::System);
        Self { names: RefCell::default(), inner }
    }
}

// SAFETY: Each method is the inner allocator's.
unsafe impl Allocator for Calls {
    fn allocate(&self, layout: NonZeroLayout) -> Block {
        self.names.borrow_mut().push("allocate");
        self.inner.allocate(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        self.names.borrow_mut().push("deallocate");
        // SAFETY: The caller's promises.
        unsafe { self.inner.deallocate(block, layout) };
    }

    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Block {
        self.names.borrow_mut().push("allocate_zeroed");
        self.inner.allocate_zeroed(layout)
    }

    unsafe fn grow(&self, block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> Block {
        self.names.borrow_mut().push("grow");
        // SAFETY: The caller's promises.
        unsafe { self.inner.grow(block, old, new) }
    }

    unsafe fn grow_zeroed(&self, block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> Block {
        self.names.borrow_mut().push("grow_zeroed");
        // SAFETY: The caller's promises.
        unsafe { self.inner.grow_zeroed(block, old, new) }
    }

    unsafe fn shrink(&self, block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> Block {
        self.names.borrow_mut().push("shrink");
        // SAFETY: The caller's promises.
        unsafe { self.inner.shrink(block, old, new) }
    }

    unsafe fn before_fork(&self) {
        self.names.borrow_mut().push("before_fork");
    }

    unsafe fn after_fork(&self) {
        self.names.borrow_mut().push("after_fork");
    }
}

fn calls_of<A: Allocator>(allocator: &A) {
    let mut ledger = Ledger::new(allocator);
    let first = ledger.allocate(layout(8, 8)).expect("System serves this");
    let second = ledger.allocate_zeroed(layout(8, 8)).expect("System serves this");
    let first = ledger.resize(first, layout(16, 8), Way::Grow).expect("System serves this");
    let second = ledger.resize(second, layout(16, 8), Way::GrowZeroed).expect("System serves this");
    let first = ledger.resize(first, layout(4, 8), Way::Shrink).expect("System serves this");
    ledger.free(first);
    ledger.free(second);
    // SAFETY: The call that follows is the other one.
    unsafe { allocator.before_fork() };
    // SAFETY: This thread just called `before_fork`, and this is the one call that follows it.
    unsafe { allocator.after_fork() };
}

#[test]
fn pointers_forward_every_method() {
    let expected = [
        "allocate",
        "allocate_zeroed",
        "grow",
        "grow_zeroed",
        "shrink",
        "deallocate",
        "deallocate",
        "before_fork",
        "after_fork",
    ];
    let by_reference = Calls::none();
    calls_of(&&by_reference);
    assert_eq!(*by_reference.names.borrow(), expected);
    let rc = Rc::new(Calls::none());
    calls_of(&rc);
    assert_eq!(*rc.names.borrow(), expected);
    #[allow(clippy::arc_with_non_send_sync, reason = "one thread is enough to see the calls")]
    let arc = Arc::new(Calls::none());
    calls_of(&arc);
    assert_eq!(*arc.names.borrow(), expected);
    let dynamic: &dyn Allocator = &by_reference;
    by_reference.names.borrow_mut().clear();
    calls_of(&dynamic);
    assert_eq!(*by_reference.names.borrow(), expected);
}
