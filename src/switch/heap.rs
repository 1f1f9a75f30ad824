//! The handle of a coroutine heap, and being in it.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::panic::{RefUnwindSafe, UnwindSafe};

use super::allocator::{Declaration, HasCoroutineTier, SwitchableAllocator};
use super::context::{Context, tier};
use super::control::ControlRef;
use super::heaps::CoroutineHeap;
use super::name::Name;
use crate::error::AllocError;

/// A heap of the coroutine tier: memory of its own for one request, query, task, frame or
/// coroutine.
///
/// What is allocated inside [`enter`](Self::enter) comes from the heap, and may be freed, grown or
/// shrunk anywhere, also after this handle was dropped. When the handle is dropped, the heap's
/// memory is released at once if no block of it is allocated any more; otherwise the heap is an
/// *orphan* until the last block is freed, wherever that happens.
///
/// Making a heap, entering it, leaving it and dropping it make no system call once the program has
/// warmed up. A heap that holds nothing takes 128 bytes (with a bump allocator). It can be sent to
/// another thread, but not shared.
///
/// ```compile_fail,E0277
/// context_allocator::switchable_allocator!(static ALLOC);
/// fn shared<T: Sync>() {}
/// shared::<context_allocator::Heap<ALLOC>>();
/// ```
///
/// # Examples
/// ```
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
///
/// let heap = ALLOC.heap().expect("memory for a heap");
/// let split = || "each in the heap".split(' ').map(String::from).collect();
/// let words: Vec<String> = heap.enter(split);
/// assert_eq!(heap.statistics().live_blocks, 5);
/// drop(heap);
/// assert_eq!(words.len(), 4); // still there: the heap waits for its last block
/// ```
#[must_use = "dropping the handle ends the heap"]
pub struct Heap<D: Declaration> {
    heap: CoroutineHeap<D>,
    /// The handle may move between threads; two threads may not have it.
    not_sync: PhantomData<core::cell::Cell<()>>,
}

// A panic between `enter` and its end leaves the heap as any other end does.
impl<D: Declaration> UnwindSafe for Heap<D> {}
impl<D: Declaration> RefUnwindSafe for Heap<D> {}

// SAFETY: The heap's allocator and its blocks may be used from any thread, one at a time
// (`LocalAllocator: Send`); the handle moves by moving, which orders what the threads do.
unsafe impl<D: Declaration> Send for Heap<D> {}

/// The heap is entered somewhere else: in an outer scope of this thread, on another thread, or in a
/// saved context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnterError;

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the heap is entered somewhere else already")
    }
}

impl core::error::Error for EnterError {}

/// What a heap holds; see [`Heap::statistics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapStatistics {
    /// Blocks of the heap that are allocated now.
    pub live_blocks: usize,
    /// Blocks of the heap that were freed by a thread or in a context that did not use it.
    pub remote_frees: usize,
    /// Bytes of regions and large objects that the heap holds, and of what it spilled to other
    /// tiers.
    pub held_bytes: usize,
    /// Bytes of its blocks that are allocated now, if the [`Policy`](super::Policy) counts them.
    pub live_bytes: usize,
    /// The most that `held_bytes` should become.
    pub limit_bytes: usize,
}

impl HeapStatistics {
    pub(super) fn of(control: ControlRef) -> Self {
        let (live_blocks, remote_frees) = control.blocks();
        Self {
            live_blocks,
            remote_frees,
            held_bytes: control.held(),
            live_bytes: control.live_bytes(),
            limit_bytes: control.limit(),
        }
    }
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Makes a heap of the coroutine tier, without a limit.
    ///
    /// # Errors
    /// Where the operating system has no memory for its control block.
    #[inline]
    pub fn heap(&self) -> Result<Heap<D>, AllocError>
    where
        D: HasCoroutineTier,
    {
        self.heap_with_limit(usize::MAX)
    }

    /// Makes a heap of the coroutine tier that should hold at most `limit` bytes of regions and
    /// large objects. What would need more is treated as
    /// [`Policy::limit_reached`](super::Policy::limit_reached) says: by default the thread tier
    /// serves it, and [`Heap::check`] returns an error from then on.
    ///
    /// Regions are what the tier's source gives: from 1 KiB on, if it gives slices, as the
    /// recommended one does. A limit below that, or below the size of a source's blocks, leaves
    /// room for nothing.
    ///
    /// # Errors
    /// Where the operating system has no memory for its control block.
    #[inline]
    pub fn heap_with_limit(&self, limit: usize) -> Result<Heap<D>, AllocError>
    where
        D: HasCoroutineTier,
    {
        let heap = self.take_heap(limit)?;
        Ok(Heap { heap, not_sync: PhantomData })
    }
}

impl<D: Declaration> Heap<D> {
    /// The heap's control block.
    pub(super) fn control(&self) -> ControlRef {
        self.heap.control()
    }

    /// Runs `f` in the heap; afterwards, even if `f` panics, what was current before is current
    /// again.
    ///
    /// Scopes nest: inside, other heaps may be entered, and
    /// [`with_thread`](SwitchableAllocator::with_thread) and
    /// [`with_global`](SwitchableAllocator::with_global) used. The heap may be entered again while
    /// it is the one entered last.
    ///
    /// # Panics
    /// Where the heap is entered somewhere else, as [`try_enter`](Self::try_enter) tells.
    #[inline]
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        match self.try_enter(f) {
            Ok(result) => result,
            Err(error) => refuse(error),
        }
    }

    /// As [`enter`](Self::enter), without the panic.
    ///
    /// # Errors
    /// Where the heap is entered already, but is not the one that this thread entered last: in an
    /// outer scope, on another thread, in a saved context, or in a scope that was forgotten. `f` is
    /// not run then.
    #[inline]
    pub fn try_enter<R>(&self, f: impl FnOnce() -> R) -> Result<R, EnterError> {
        let guard = self.guard()?;
        let result = f();
        drop(guard);
        Ok(result)
    }

    /// Enters the heap until the guard is dropped.
    ///
    /// A guard that is forgotten leaves the heap entered for good. One that is held across an
    /// `await` leaves it entered while the task waits: see [`HeapGuard`].
    ///
    /// # Errors
    /// As [`try_enter`](Self::try_enter).
    #[inline]
    pub fn guard(&self) -> Result<HeapGuard<'_, D>, EnterError> {
        let inside = enter(self.heap)?;
        Ok(HeapGuard { heap: self.heap, inside, borrowed: PhantomData })
    }

    /// Charges the heap, which was just made, to an account.
    pub(super) fn charge_to(&self, account: u32) {
        D::allocator().charge_to(self.heap, account);
    }

    /// The heap's name, or that of the account that it is charged to; none if it has none.
    #[must_use]
    pub fn name(&self) -> Name {
        match self.control().standing().account() {
            0 => Name::NONE,
            account => D::allocator().accounts.look(account).name,
        }
    }

    /// Moves a value into the heap: clones it there and drops it. What it owned is then charged to
    /// the heap, and grows there.
    ///
    /// A buffer that was made before the heap was entered stays where it was made while it is used
    /// inside, and stays charged there.
    ///
    /// # Panics
    /// As [`enter`](Self::enter).
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let received = vec![1_u8; 1000];
    /// let heap = ALLOC.heap()?;
    /// let body = heap.adopt(received);
    /// assert!(heap.statistics().held_bytes >= 1000);
    /// # drop(body);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    pub fn adopt<T: Clone>(&self, value: T) -> T {
        self.enter(|| value.clone())
    }

    /// What the heap holds at this moment.
    #[must_use]
    #[inline(never)]
    pub fn statistics(&self) -> HeapStatistics {
        let current = SwitchableAllocator::<D>::current_thread();
        if current.context().is_in(self.heap.control()) {
            current.save();
        }
        HeapStatistics::of(self.heap.control())
    }

    /// Drops the handle and frees the heap with all that is in it, now.
    ///
    /// # Safety
    /// No block of the heap is used any more, or freed, by anybody; and the heap is entered
    /// nowhere, in no saved context either.
    pub unsafe fn destroy(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: The handle is gone with `this`; the caller promises the rest.
        unsafe { D::allocator().destroy_heap(this.heap) };
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn refuse(error: EnterError) -> ! {
    panic!("Heap::enter: {error}")
}

impl<D: Declaration> Drop for Heap<D> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The handle is going.
        if unsafe { self.heap.control().drop_handle() } {
            // SAFETY: Dropping the handle said to retire the heap.
            unsafe { D::allocator().retire_heap(self.heap) };
        }
    }
}

impl<D: Declaration> fmt::Debug for Heap<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

/// Being in a heap, until it is dropped: made by [`Heap::guard`].
///
/// Guards may be dropped in any order; the heap of a guard that is dropped is no longer in the
/// context, and the others stay.
///
/// Do not hold one across an `await`: the heap would stay entered on the thread while the task
/// waits, and other tasks of that thread would allocate from it.
/// [`FutureExt::in_heap`](super::FutureExt::in_heap) enters it for each poll. A future that holds
/// a guard is not `Send`, so that executors with several threads refuse it; for the others, clippy
/// finds it:
///
/// ```toml
/// await-holding-invalid-types = ["context_allocator::switch::HeapGuard"]
/// ```
#[must_use = "the heap is left when the guard is dropped"]
pub struct HeapGuard<'h, D: Declaration> {
    heap: CoroutineHeap<D>,
    /// Where the heap was entered last already: the tier to go back to.
    inside: Option<usize>,
    /// Borrows the handle, and stays on its thread.
    borrowed: PhantomData<(&'h Heap<D>, *mut ())>,
}

impl<D: Declaration> Drop for HeapGuard<'_, D> {
    #[inline]
    fn drop(&mut self) {
        match self.inside {
            None => leave(self.heap),
            Some(tier) => leave_inside(self.heap, tier),
        }
    }
}

impl<D: Declaration> fmt::Debug for HeapGuard<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapGuard").finish_non_exhaustive()
    }
}

/// Enters a heap whose handle the caller holds; the tier to go back to, if the heap was entered
/// last already.
///
/// Not inlined, as [`leave`]: the code around it may run on several threads.
#[inline(never)]
fn enter<D: Declaration>(heap: CoroutineHeap<D>) -> Result<Option<usize>, EnterError> {
    let current = SwitchableAllocator::<D>::current_thread();
    // SAFETY: The caller holds the handle, and this thread runs in the context.
    if !unsafe { heap.control().enter_from_default(current.context()) } {
        return enter_from_heap(heap);
    }
    // SAFETY: The heap was just entered from that context.
    unsafe { current.enter(heap.control(), Context::DEFAULT) };
    Ok(None)
}

/// As [`enter`], from any context.
#[inline(never)]
fn enter_from_heap<D: Declaration>(heap: CoroutineHeap<D>) -> Result<Option<usize>, EnterError> {
    let current = SwitchableAllocator::<D>::current_thread();
    let context = current.context();
    // SAFETY: The caller holds the handle, and this thread runs in the context.
    if !unsafe { heap.control().enter(context) } {
        return enter_again(heap, context);
    }
    // SAFETY: The heap was just entered from that context.
    unsafe { current.enter(heap.control(), context) };
    Ok(None)
}

/// Enters a heap for a poll, which [`leave_polled`] ends. A heap that a forgotten guard left
/// entered last is left by that.
///
/// # Panics
/// If the heap is entered somewhere else.
#[inline(always)]
pub(super) fn enter_to_poll<D: Declaration>(heap: &Heap<D>) {
    enter_default_to_poll(heap.heap);
}

#[inline(never)]
fn enter_default_to_poll<D: Declaration>(heap: CoroutineHeap<D>) {
    let current = SwitchableAllocator::<D>::current_thread();
    // SAFETY: The caller holds the handle, and this thread runs in the context.
    if !unsafe { heap.control().enter_from_default(current.context()) } {
        return enter_from_heap_to_poll(heap);
    }
    // SAFETY: The heap was just entered from that context.
    unsafe { current.enter(heap.control(), Context::DEFAULT) };
}

#[inline(never)]
fn enter_from_heap_to_poll<D: Declaration>(heap: CoroutineHeap<D>) {
    if let Err(error) = enter_from_heap(heap) {
        refuse(error);
    }
}

/// Leaves a heap after a poll.
#[inline(always)]
pub(super) fn leave_polled<D: Declaration>(heap: &Heap<D>) {
    leave(heap.heap);
}

#[cold]
#[inline(never)]
fn enter_again<D: Declaration>(
    heap: CoroutineHeap<D>,
    context: Context,
) -> Result<Option<usize>, EnterError> {
    if !context.is_in(heap.control()) {
        return Err(EnterError);
    }
    SwitchableAllocator::<D>::current_thread().change_tier(tier::COROUTINE);
    Ok(Some(context.tier()))
}

/// Leaves a heap. Not inlined: the code before it may have run on another thread.
#[inline(never)]
fn leave<D: Declaration>(heap: CoroutineHeap<D>) {
    let current = SwitchableAllocator::<D>::current_thread();
    let control = heap.control();
    if current.context() != Context::in_heap(control) {
        return leave_to_heap(heap);
    }
    // SAFETY: The heap is in this thread's context, and a guard borrows its handle.
    if !unsafe { control.was_entered_from_default() } {
        return leave_to_heap(heap);
    }
    current.trim_without_blocks();
    // SAFETY: The heap is in this thread's context, and a guard borrows its handle.
    unsafe { control.leave_by_guard() };
    // SAFETY: The heap was entered last; its handle is borrowed by the guard that this thread
    // drops.
    unsafe { current.leave_to_default(control) };
}

/// As [`leave`], to any context.
#[inline(never)]
fn leave_to_heap<D: Declaration>(heap: CoroutineHeap<D>) {
    let current = SwitchableAllocator::<D>::current_thread();
    let context = current.context();
    if !context.is_in(heap.control()) {
        leave_out_of_order(heap);
        return;
    }
    current.trim_without_blocks();
    // SAFETY: The heap is in this thread's context, and a guard borrows its handle.
    let outer = unsafe { heap.control().leave_by_guard() };
    // SAFETY: The heap was entered last; its handle is borrowed by the guard that this thread
    // drops.
    unsafe { current.leave(heap.control(), outer) };
}

/// Goes back to a tier over a heap that stays entered. Not inlined, as [`leave`].
#[cold]
#[inline(never)]
fn leave_inside<D: Declaration>(heap: CoroutineHeap<D>, tier: usize) {
    let current = SwitchableAllocator::<D>::current_thread();
    let context = current.context();
    if context.is_in(heap.control()) {
        current.change_tier(tier);
    }
}

/// Leaves a heap that is not the one entered last: takes it out of this thread's chain, if it is
/// there. If it is not, its context was saved or is another thread's, and it stays entered there.
#[cold]
#[inline(never)]
fn leave_out_of_order<D: Declaration>(heap: CoroutineHeap<D>) {
    let context = SwitchableAllocator::<D>::current_thread().context();
    // SAFETY: The context is this thread's, and a guard borrows the heap's handle.
    unsafe { context.leave_inner(heap.control()) };
}
