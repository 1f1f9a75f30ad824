//! The owners of a shared value: it is dropped once, after all that its owners did with it, and
//! changed only by an owner that is alone.

use std::alloc::System;
use std::sync::Arc as Counter;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::thread;

use super::explore;
use crate::adapt::GlobalAllocToAllocatorAdaptor;
use crate::alloc::Allocator;
use crate::collections::Arc;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use core::ptr::NonNull;

/// The system's allocator, counting the blocks it has out.
#[derive(Clone)]
struct Counting {
    blocks: Counter<AtomicUsize>,
}

const SYSTEM: GlobalAllocToAllocatorAdaptor<'static, System> = GlobalAllocToAllocatorAdaptor::new(&System);

// SAFETY: Everything is the system's; a clone is the same allocator.
unsafe impl Allocator for Counting {
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.blocks.fetch_add(1, Relaxed);
        SYSTEM.allocate(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        self.blocks.fetch_sub(1, Relaxed);
        // SAFETY: The caller's promises.
        unsafe { SYSTEM.deallocate(block, layout) };
    }
}

/// A value that loom sees read, written and dropped.
struct Watched {
    cell: UnsafeCell<usize>,
    drops: Counter<AtomicUsize>,
}

// SAFETY: The cell is reached by `read` through shared owners, and by `write` and the drop through
// the only one; loom looks on.
unsafe impl Sync for Watched {}

impl Watched {
    fn read(&self) -> usize {
        // SAFETY: Whoever writes is alone, which is what the models check.
        self.cell.with(|value| unsafe { *value })
    }

    fn write(&mut self) {
        // SAFETY: As above.
        self.cell.with_mut(|value| unsafe { *value += 1 });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.write();
        self.drops.fetch_add(1, Relaxed);
    }
}

type Owner = Arc<Watched, Counting>;

/// Runs a model with one owner of a value, and checks at the end that the value was dropped once
/// and its block freed.
fn with_owner(name: &str, threads: usize, model: impl Fn(Owner) + Send + Sync + 'static) {
    explore(name, threads, move || {
        let drops = Counter::new(AtomicUsize::new(0));
        let blocks = Counter::new(AtomicUsize::new(0));
        let value = Watched { cell: UnsafeCell::new(0), drops: drops.clone() };
        model(Arc::new_in(value, Counting { blocks: blocks.clone() }));
        assert_eq!(drops.load(Relaxed), 1, "the value is dropped once");
        assert_eq!(blocks.load(Relaxed), 0, "the block is freed");
    });
}

/// Runs `a` here and `b` on another thread.
fn both(a: impl FnOnce(), b: impl FnOnce() + Send + 'static) {
    let other = thread::spawn(b);
    a();
    other.join().expect("no check failed");
}

/// Writes if this is the only owner, and reads in either case.
fn write_if_alone(mut owner: Owner) {
    if let Some(value) = Arc::get_mut(&mut owner) {
        value.write();
    }
    owner.read();
}

#[test]
fn the_last_owner_drops() {
    with_owner("counts: the last of three owners drops", 3, |owner| {
        let (second, third) = (owner.clone(), owner.clone());
        let other = thread::spawn(move || drop((third.read(), third)));
        both(
            || drop((owner.read(), owner)),
            move || {
                let again = second.clone();
                drop(second);
                again.read();
            },
        );
        other.join().expect("no check failed");
    });
}

#[test]
fn an_upgrade_finds_the_value_or_nothing() {
    with_owner("counts: a weak owner upgrades while the last strong one goes", 2, |owner| {
        let weak = Arc::downgrade(&owner);
        both(
            || drop((owner.read(), owner)),
            move || {
                if let Some(owner) = weak.upgrade() {
                    owner.read();
                }
            },
        );
    });
}

#[test]
fn who_is_alone_may_write() {
    with_owner("counts: an owner writes once it is alone", 2, |owner| {
        let other = owner.clone();
        both(move || write_if_alone(owner), move || drop((other.read(), other)));
    });
}

#[test]
fn a_weak_owner_made_meanwhile_is_seen() {
    with_owner("counts: an owner wants to write while another makes a weak one", 2, |owner| {
        let other = owner.clone();
        both(
            move || write_if_alone(owner),
            move || {
                let weak = Arc::downgrade(&other);
                drop(other);
                if let Some(owner) = weak.upgrade() {
                    owner.read();
                }
            },
        );
    });
}

#[test]
fn the_value_comes_out_once() {
    with_owner("counts: two owners unwrap", 2, |owner| {
        let other = owner.clone();
        let unwrap = |owner: Owner| match Arc::try_unwrap(owner) {
            Ok(mut value) => value.write(),
            Err(owner) => drop((owner.read(), owner)),
        };
        both(|| unwrap(owner), move || unwrap(other));
    });
}
