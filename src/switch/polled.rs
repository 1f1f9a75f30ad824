//! Something that is polled in a heap, and dropped in it: a future, a stream, a body.
//!
//! Always: it is pinned as its slot is, and gone once its slot is empty. Each poll, and its drop,
//! is between [`Inside::new`] and the drop of that, also if it panics.

use core::convert::Infallible;
use core::pin::Pin;

use super::allocator::Declaration;
use super::heap::{Heap, enter_to_poll, leave_polled};
use super::limit::LimitExceeded;

/// Being in a heap for one poll.
struct Inside<'h, D: Declaration>(&'h Heap<D>);

impl<'h, D: Declaration> Inside<'h, D> {
    /// # Panics
    /// If the heap is entered somewhere else.
    #[inline(always)]
    fn new(heap: &'h Heap<D>) -> Self {
        enter_to_poll(heap);
        Self(heap)
    }
}

impl<D: Declaration> Drop for Inside<'_, D> {
    #[inline(always)]
    fn drop(&mut self) {
        leave_polled(self.0);
    }
}

/// Polls what is in the slot with `poll` in the heap, and drops it there if `is_last` says so of
/// the answer: what it still owns goes before the answer leaves the heap.
///
/// # Panics
/// If the slot is empty.
#[inline(always)]
pub(super) fn poll_in<T, D: Declaration, R>(
    slot: Pin<&mut Option<T>>,
    heap: &Heap<D>,
    poll: impl FnOnce(Pin<&mut T>) -> R,
    is_last: impl FnOnce(&R) -> bool,
) -> R {
    let Ok(polled) = poll_unless(slot, heap, poll, is_last, || Ok::<(), Infallible>(()));
    polled
}

/// As [`poll_in`]; if the heap is over a limit then, drops the answer too.
///
/// # Errors
/// If the heap is over a limit. The slot is empty then.
///
/// # Panics
/// As `poll_in`.
#[inline(always)]
pub(super) fn poll_checked_in<T, D: Declaration, R>(
    slot: Pin<&mut Option<T>>,
    heap: &Heap<D>,
    poll: impl FnOnce(Pin<&mut T>) -> R,
    is_last: impl FnOnce(&R) -> bool,
) -> Result<R, LimitExceeded> {
    poll_unless(slot, heap, poll, is_last, || heap.check())
}

/// Polls in the heap, and drops the answer and what is in the slot if `check` fails then.
#[inline(always)]
fn poll_unless<T, D: Declaration, R, E>(
    mut slot: Pin<&mut Option<T>>,
    heap: &Heap<D>,
    poll: impl FnOnce(Pin<&mut T>) -> R,
    is_last: impl FnOnce(&R) -> bool,
    check: impl FnOnce() -> Result<(), E>,
) -> Result<R, E> {
    let _inside = Inside::new(heap);
    let Some(running) = slot.as_mut().as_pin_mut() else { ended() };
    let polled = poll(running);
    if let Err(error) = check() {
        drop(polled);
        slot.set(None);
        return Err(error);
    }
    if is_last(&polled) {
        slot.set(None);
    }
    Ok(polled)
}

/// Empties the slot in the heap.
pub(super) fn drop_in<T, D: Declaration>(mut slot: Pin<&mut Option<T>>, heap: &Heap<D>) {
    // If somebody forgot a guard of the heap, what was in the slot is dropped outside.
    if slot.is_some() && heap.try_enter(|| slot.set(None)).is_err() {
        slot.set(None);
    }
}

#[cold]
#[inline(never)]
fn ended() -> ! {
    panic!("polled after it had ended")
}
