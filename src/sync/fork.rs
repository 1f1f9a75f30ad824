//! Locks that are held around a fork, so that the child finds nothing half done.
//!
//! The process's fork handlers take the locks of everything that an allocator stands on. Three
//! things go beyond an ordinary lock:
//!
//! - One arena may stand under both tiers, or under two allocators, so one thread takes its lock
//!   several times over: the first request takes the lock, the last release gives it back, and
//!   those between only count.
//! - A thread that forks may allocate between the handlers that take the locks and those that give
//!   them back: other libraries have handlers too. So a thread that holds a lock for a fork passes
//!   through it ([`ForkHold::lock`]).
//! - Sources of the user's own composition may nest their locks in any order. So the forking thread
//!   never waits for one lock while it holds others: it gives those back, waits, and takes them
//!   again (as `std::lock` of C++ does).
//!
//! Always: a lock on the list of the forking thread is held by it, or it is inside `take`. The
//! first thread that holds a lock for a fork is the forking thread until it holds none; another one
//! that does so meanwhile waits as for any lock.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

use super::RawLock;
use crate::sys;

/// Who holds a lock around a fork, and how many times over.
///
/// Relaxed: a thread finds its own name here only if it wrote it itself, and all the rest is
/// touched by that thread alone. The child's one thread goes by the name of the thread that forked
/// it.
#[derive(Debug)]
pub(crate) struct ForkHold {
    thread: AtomicUsize,
    times: AtomicUsize,
    /// The lock, its methods, and the next on the forking thread's list.
    lock: AtomicPtr<()>,
    methods: AtomicPtr<Methods>,
    next: AtomicPtr<ForkHold>,
    /// Whether it is on that list, and while the lock is given back for a moment, `times`.
    listed: AtomicBool,
    kept_times: AtomicUsize,
}

/// The methods of a lock whose type is not known.
#[derive(Debug)]
struct Methods {
    /// # Safety
    /// The pointer is to a lock of the type that the methods were made for. The same holds for the
    /// others.
    try_lock: unsafe fn(*const ()) -> bool,
    lock: unsafe fn(*const ()),
    /// # Safety
    /// As the others, and the caller holds the lock.
    unlock: unsafe fn(*const ()),
}

/// No thread's name.
const NOBODY: usize = 0;

impl ForkHold {
    /// Nobody forks.
    pub(crate) const fn new() -> Self {
        Self {
            thread: AtomicUsize::new(NOBODY),
            times: AtomicUsize::new(0),
            lock: AtomicPtr::new(core::ptr::null_mut()),
            methods: AtomicPtr::new(core::ptr::null_mut()),
            next: AtomicPtr::new(core::ptr::null_mut()),
            listed: AtomicBool::new(false),
            kept_times: AtomicUsize::new(0),
        }
    }

    /// Takes `lock`, unless this thread holds it for a fork already.
    ///
    /// Neither may move before [`release`](Self::release).
    pub(crate) fn hold<L: RawLock>(&self, lock: &L) {
        if !self.is_held_here() {
            let this = sys::thread_name();
            if forker::claim(this) {
                self.lock.store(core::ptr::from_ref(lock).cast_mut().cast(), Relaxed);
                self.methods.store(core::ptr::from_ref(methods::<L>()).cast_mut(), Relaxed);
                forker::take(self);
                self.listed.store(true, Relaxed);
            } else {
                lock.lock();
            }
            self.thread.store(this, Relaxed);
        }
        self.times.store(self.times.load(Relaxed) + 1, Relaxed);
    }

    /// As [`hold`](Self::hold), but the lock is not given back while this thread waits for another;
    /// returns how many times over this thread holds it now.
    #[cfg(all(feature = "std", not(all(test, loom))))]
    pub(crate) fn hold_throughout<L: RawLock>(&self, lock: &L) -> usize {
        if !self.is_held_here() {
            lock.lock();
            self.thread.store(sys::thread_name(), Relaxed);
        }
        let times = self.times.load(Relaxed) + 1;
        self.times.store(times, Relaxed);
        times
    }

    /// How many times over the lock is held for a fork; for the thread that holds it.
    #[cfg(all(feature = "std", not(all(test, loom))))]
    pub(crate) fn times(&self) -> usize {
        self.times.load(Relaxed)
    }

    /// Gives `lock` back, if this is the last release of those that match the calls of
    /// [`hold`](Self::hold).
    ///
    /// # Safety
    /// This thread, or the thread that forked this process, called `hold` with this lock more often
    /// than this.
    pub(crate) unsafe fn release<L: RawLock>(&self, lock: &L) {
        let times = self.times.load(Relaxed) - 1;
        self.times.store(times, Relaxed);
        if times == 0 {
            self.thread.store(NOBODY, Relaxed);
            let listed = self.listed.swap(false, Relaxed);
            if listed {
                forker::forget(self);
            }
            // SAFETY: `hold` took the lock, and this is the last release, as the caller promises;
            // in the child of a fork the one thread there is the one that took it.
            unsafe { lock.unlock() };
            if listed {
                forker::end_if_done();
            }
        }
    }

    /// Takes `lock`; `false` if this thread holds it for a fork, so that it must not be given back.
    #[inline(always)]
    pub(crate) fn lock<L: RawLock>(&self, lock: &L) -> bool {
        if cfg!(all(test, loom)) {
            // Models do not fork, and each look at the lock costs them interleavings.
            lock.lock();
            return true;
        }
        lock.try_lock() || self.lock_contended(lock)
    }

    #[cold]
    #[inline(never)]
    fn lock_contended<L: RawLock>(&self, lock: &L) -> bool {
        if self.is_held_here() {
            return false;
        }
        lock.lock();
        true
    }

    /// Whether this thread holds the lock for a fork.
    fn is_held_here(&self) -> bool {
        let this = sys::thread_name();
        this != NOBODY && self.thread.load(Relaxed) == this
    }

    /// Calls one of the lock's methods.
    fn with_lock<R>(&self, f: impl FnOnce(&Methods, *const ()) -> R) -> R {
        // SAFETY: `hold` stored the methods, which are constants, before it put this on the list;
        // only what is on the list gets here.
        let methods = unsafe { &*self.methods.load(Relaxed) };
        f(methods, self.lock.load(Relaxed))
    }

    fn try_take(&self) -> bool {
        let taken = (0..super::SPINS).any(|_| {
            super::spin_hint();
            // SAFETY: `hold` stored the methods of the lock's type, and a lock on the list has not
            // moved.
            self.with_lock(|methods, lock| unsafe { (methods.try_lock)(lock) })
        });
        if taken {
            self.remember();
        }
        taken
    }

    fn wait(&self) {
        // SAFETY: As in `try_take`.
        self.with_lock(|methods, lock| unsafe { (methods.lock)(lock) });
        self.remember();
    }

    /// Puts back what [`give_back`](Self::give_back) put aside: this thread has the lock again.
    fn remember(&self) {
        let times = self.kept_times.swap(0, Relaxed);
        if times != 0 {
            self.times.store(times, Relaxed);
            self.thread.store(sys::thread_name(), Relaxed);
            self.listed.store(true, Relaxed);
        }
    }

    /// Gives the lock back for a moment, in which another thread may hold it for a fork too.
    ///
    /// # Safety
    /// This thread holds the lock.
    unsafe fn give_back(&self) {
        self.kept_times.store(self.times.swap(0, Relaxed), Relaxed);
        self.thread.store(NOBODY, Relaxed);
        self.listed.store(false, Relaxed);
        // SAFETY: As in `try_take`; the caller promises the rest.
        self.with_lock(|methods, lock| unsafe { (methods.unlock)(lock) });
    }
}

/// The methods of a lock of a type.
fn methods<L: RawLock>() -> &'static Methods {
    /// # Safety
    /// The pointer is to an `L`.
    unsafe fn try_lock<L: RawLock>(lock: *const ()) -> bool {
        // SAFETY: The caller promises it.
        unsafe { &*lock.cast::<L>() }.try_lock()
    }
    /// # Safety
    /// The pointer is to an `L`.
    unsafe fn lock<L: RawLock>(lock: *const ()) {
        // SAFETY: The caller promises it.
        unsafe { &*lock.cast::<L>() }.lock();
    }
    /// # Safety
    /// The pointer is to an `L`, which the caller holds.
    unsafe fn unlock<L: RawLock>(lock: *const ()) {
        // SAFETY: The caller promises it.
        let lock = unsafe { &*lock.cast::<L>() };
        // SAFETY: The caller holds the lock.
        unsafe { lock.unlock() };
    }
    &const { Methods { try_lock: try_lock::<L>, lock: lock::<L>, unlock: unlock::<L> } }
}

/// The name of the forking thread: one at a time. It hands what it wrote as such to the next.
#[derive(Debug)]
pub(crate) struct Claim(super::atomic::AtomicUsize);

impl Claim {
    super::const_fn! {
        pub(crate) fn new() -> Self {
            Self(super::atomic::AtomicUsize::new(NOBODY))
        }
    }

    /// Whether this is the forking thread; it becomes so if there is none.
    pub(crate) fn claim(&self, this: usize) -> bool {
        this != NOBODY
            && match self.0.compare_exchange(NOBODY, this, Acquire, Relaxed) {
                Ok(_) => true,
                Err(thread) => thread == this,
            }
    }

    /// Whether this is the forking thread.
    #[cfg(feature = "std")]
    fn is(&self, this: usize) -> bool {
        this != NOBODY && self.0.load(Relaxed) == this
    }

    /// There is no forking thread any more.
    pub(crate) fn end(&self) {
        self.0.store(NOBODY, Release);
    }
}

/// What the forking thread holds.
mod forker {
    use super::{AtomicPtr, Claim, ForkHold, Relaxed};
    use core::ptr::{NonNull, null_mut};

    #[cfg(not(all(test, loom)))]
    static THREAD: Claim = Claim::new();
    #[cfg(all(test, loom))]
    loom::lazy_static! { static ref THREAD: Claim = Claim::new(); }

    /// The locks that it holds, the one taken last first. Relaxed: one forking thread hands them to
    /// the next by way of `THREAD`.
    static FIRST: AtomicPtr<ForkHold> = AtomicPtr::new(null_mut());

    /// Whether this thread is the forking thread; it becomes so if there is none.
    pub(super) fn claim(this: usize) -> bool {
        THREAD.claim(this)
    }

    /// Whether this thread is the forking thread.
    #[cfg(feature = "std")]
    pub(super) fn is(this: usize) -> bool {
        THREAD.is(this)
    }

    /// The forking thread is an ordinary one again, if it holds no lock any more.
    pub(super) fn end_if_done() {
        if FIRST.load(Relaxed).is_null() {
            THREAD.end();
        }
    }

    /// Forgets a forking thread that is not this one: this process is the child of a fork, and does
    /// not have it.
    #[cfg(feature = "std")]
    pub(super) fn forget_other(this: usize) {
        if !is(this) {
            FIRST.store(null_mut(), Relaxed);
            THREAD.end();
        }
    }

    /// The locks on the list.
    fn held() -> impl Iterator<Item = &'static ForkHold> {
        let mut next = FIRST.load(Relaxed);
        core::iter::from_fn(move || {
            // SAFETY: What is on the list does not move before it is taken off, as `hold` asks.
            let hold: &'static ForkHold = unsafe { NonNull::new(next)?.as_ref() };
            next = hold.next.load(Relaxed);
            Some(hold)
        })
    }

    /// Takes a lock, without waiting for it while others are held.
    pub(super) fn take(new: &ForkHold) {
        let place = core::ptr::from_ref(new).cast_mut();
        let at_once = new.try_take();
        if !at_once {
            held().for_each(|hold| {
                // SAFETY: What is on the list is held.
                unsafe { hold.give_back() };
            });
        }
        new.next.store(FIRST.load(Relaxed), Relaxed);
        FIRST.store(place, Relaxed);
        if at_once {
            return;
        }
        let mut awaited = place.cast_const();
        loop {
            let is_awaited = |hold: &ForkHold| core::ptr::eq(hold, awaited);
            if let Some(hold) = held().find(|hold| is_awaited(hold)) {
                hold.wait();
            }
            let Some(taken) = held().filter(|hold| !is_awaited(hold)).find(|hold| !hold.try_take()) else {
                return;
            };
            // Another thread holds this one, and may wait for a lock that was taken before it.
            held().take_while(|hold| !core::ptr::eq(*hold, taken)).filter(|hold| !is_awaited(hold)).for_each(
                |hold| {
                    // SAFETY: Those before the one that could not be taken were.
                    unsafe { hold.give_back() };
                },
            );
            if let Some(hold) = held().find(|hold| is_awaited(hold)) {
                // SAFETY: It was waited for above.
                unsafe { hold.give_back() };
            }
            awaited = taken;
        }
    }

    /// Takes a lock off the list, if it is there.
    pub(super) fn forget(hold: &ForkHold) {
        let mut before: Option<&ForkHold> = None;
        for other in held() {
            if core::ptr::eq(other, hold) {
                let next = hold.next.load(Relaxed);
                before.map_or(&FIRST, |before| &before.next).store(next, Relaxed);
                return;
            }
            before = Some(other);
        }
    }
}

/// Whether the calling thread holds locks for a fork.
#[cfg(feature = "std")]
pub(crate) fn forks_here() -> bool {
    forker::is(sys::thread_name())
}

/// Called in the child of a fork, first of all.
#[cfg(feature = "std")]
pub(crate) fn forked() {
    sys::note_fork();
    forker::forget_other(sys::thread_name());
}
