//! Forks: the process's one list of switchable allocators, and its fork handlers.
//!
//! A child of a fork has the memory of all threads and one thread. The locks that the others held
//! would stay locked for ever, so the handlers take all of them before a fork and give them back in
//! the parent and in the child. Every declaration is on one list, and the handlers go over it in
//! steps, so that there is one order for the process:
//!
//! ```text
//!   upper locks of all declarations  ->  global tiers of this library
//!     ->  sources of all declarations  ->  system
//! ```
//!
//! Nothing is called under an upper lock (parking lot, pools of control blocks, lists of large
//! objects) but the system. The first of them is the exception: the process's lock of sweeps, under
//! which the others are taken, and sources called. Below those, compositions of the user's own may
//! nest locks in another order; the forking thread gives way to a thread that holds one
//! ([`sync::fork`](crate::sync)).
//!
//! Handlers run in the order of their registration after a fork, and in reverse before it. These
//! are to be the last before and the first after it, so that other libraries' handlers may
//! allocate, and may wait for threads that allocate. They are registered by a constructor with the
//! lowest priority. A shared library that registered handlers before that, in a constructor of its
//! own, may allocate in them all the same, since the forking thread passes through the locks that
//! it holds; a handler of such a library that waits for another thread which allocates needs
//! [`fork_handlers_first!`](crate::fork_handlers_first).
//!
//! The lists that need no lock are whole at any moment. What other threads' heaps hold is lost to
//! the child, but its blocks can be freed there as everywhere.

use core::ptr::{NonNull, null_mut};

use crate::sync;
#[cfg(not(all(test, loom)))]
use crate::sync::{ForkHold, RawLock, SpinFutexLock};
use crate::sys;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicPtr};

/// A declaration, as the fork handlers see it. Each is in the static of its allocator.
#[derive(Debug)]
pub(crate) struct Member {
    steps: &'static Steps,
    /// Whether it is on the list; written while no fork is under way, so that a child knows it too.
    joined: AtomicBool,
    next: AtomicPtr<Member>,
}

/// What is done for a declaration before a fork, in this order, and after it in reverse.
#[derive(Debug)]
pub(crate) struct Steps {
    /// # Safety
    /// Called before a fork, on the thread that forks, which calls the function of the same place
    /// in `after` afterwards.
    pub(super) before: [unsafe fn(); STEPS],
    /// # Safety
    /// Called after a fork, in the parent or in the child, on the thread that called the function
    /// of the same place in `before`.
    pub(super) after: [unsafe fn(); STEPS],
}

/// Upper locks, global tiers of this library, sources.
pub(super) const STEPS: usize = 3;

/// The process's fork handlers were not registered yet.
const UNREGISTERED: u8 = 0;
/// Some thread registers them just now.
const REGISTERING: u8 = 1;
const REGISTERED: u8 = 2;
const REFUSED: u8 = 3;

/// Whether the process's fork handlers are registered. It has no lock, because a fork while one
/// thread registers them would leave the lock to the child for ever.
#[derive(Debug)]
pub(crate) struct Registration(crate::sync::atomic::AtomicU8);

impl Registration {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self(crate::sync::atomic::AtomicU8::new(UNREGISTERED))
        }
    }

    /// Calls `register` if no thread has, which says whether the system took the handlers. Acquire
    /// and Release, for what `register` did.
    pub(crate) fn once(&self, register: impl FnOnce() -> bool) -> Joined {
        match self.0.compare_exchange(UNREGISTERED, REGISTERING, Relaxed, Acquire) {
            Ok(_) => {
                let state = if register() { REGISTERED } else { REFUSED };
                self.0.store(state, Release);
                if state == REGISTERED { Joined::Yes } else { Joined::Refused }
            }
            Err(REGISTERED) => Joined::Yes,
            Err(REGISTERING) => Joined::NotYet,
            Err(_) => Joined::Refused,
        }
    }
}

#[cfg(not(all(test, loom)))]
static HANDLERS: Registration = Registration::new();
#[cfg(all(test, loom))]
loom::lazy_static! { static ref HANDLERS: Registration = Registration::new(); }
/// The declarations, the one that joined last first; reached under `ONE_AT_A_TIME`.
static FIRST: AtomicPtr<Member> = AtomicPtr::new(null_mut());
/// The declarations that the fork under way is about.
static FORKING: AtomicPtr<Member> = AtomicPtr::new(null_mut());
/// One fork at a time, and no declaration joins meanwhile.
#[cfg(not(all(test, loom)))]
static ONE_AT_A_TIME: SpinFutexLock = SpinFutexLock::FREE;
#[cfg(not(all(test, loom)))]
static HOLD: ForkHold = ForkHold::new();

/// What became of a declaration that wanted to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    Yes,
    /// Another thread registers the handlers just now: to be asked again.
    NotYet,
    /// The system has no room for the handlers.
    Refused,
}

impl Member {
    pub(super) const fn new(steps: &'static Steps) -> Self {
        let (joined, next) = (AtomicBool::new(false), AtomicPtr::new(null_mut()));
        Self { steps, joined, next }
    }

    /// Puts the declaration on the list, if it is not there.
    pub(super) fn join(&'static self) -> Joined {
        let joined = register();
        if joined == Joined::Yes {
            with_list(|| {
                if !self.joined.swap(true, Relaxed) {
                    self.next.store(FIRST.load(Relaxed), Relaxed);
                    FIRST.store(core::ptr::from_ref(self).cast_mut(), Relaxed);
                }
            });
        }
        joined
    }
}

/// Runs `f` while no fork is under way, or on the thread that forks.
fn with_list(f: impl FnOnce()) {
    #[cfg(not(all(test, loom)))]
    let taken = HOLD.lock(&ONE_AT_A_TIME);
    f();
    #[cfg(not(all(test, loom)))]
    if taken {
        // SAFETY: It was taken above.
        unsafe { ONE_AT_A_TIME.unlock() };
    }
}

/// Registers the handlers, once.
fn register() -> Joined {
    #[cfg(not(all(test, loom)))]
    return HANDLERS.once(|| sys::at_fork(before_fork, after_fork_in_parent, after_fork_in_child).is_ok());
    #[cfg(all(test, loom))]
    Joined::Refused
}

/// Registers the fork handlers of this library, if that was not done yet; called by a constructor,
/// and by [`fork_handlers_first!`](crate::fork_handlers_first) before all constructors.
#[doc(hidden)]
pub extern "C" fn register_fork_handlers() {
    register();
}

#[cfg(not(all(test, loom)))]
sys::before_constructors!(register_fork_handlers);

/// The members from the first that the fork is about.
fn members() -> impl Iterator<Item = &'static Member> {
    let mut next = FORKING.load(Relaxed);
    core::iter::from_fn(move || {
        // SAFETY: What joined is in a static.
        let member: &'static Member = unsafe { NonNull::new(next)?.as_ref() };
        next = member.next.load(Relaxed);
        Some(member)
    })
}

unsafe extern "C" fn before_fork() {
    // A fork handler that runs after this one may fork too: the locks are held then.
    #[cfg(not(all(test, loom)))]
    if HOLD.hold_throughout(&ONE_AT_A_TIME) > 1 {
        return;
    }
    FORKING.store(FIRST.load(Relaxed), Relaxed);
    for step in 0..STEPS {
        for member in members() {
            // SAFETY: The fork is under way, on this thread.
            unsafe { member.steps.before[step]() };
        }
    }
}

unsafe extern "C" fn after_fork_in_parent() {
    #[cfg(not(all(test, loom)))]
    if HOLD.times() > 1 {
        // SAFETY: `before_fork` held it.
        unsafe { HOLD.release(&ONE_AT_A_TIME) };
        return;
    }
    for step in (0..STEPS).rev() {
        for member in members() {
            // SAFETY: The system calls this after `before_fork`, on the same thread or, in the
            // child, on its copy.
            unsafe { member.steps.after[step]() };
        }
    }
    #[cfg(not(all(test, loom)))]
    // SAFETY: `before_fork` held it.
    unsafe {
        HOLD.release(&ONE_AT_A_TIME);
    };
}

unsafe extern "C" fn after_fork_in_child() {
    sync::forked();
    // SAFETY: The system calls this after `before_fork`, on the copy of the thread that called it.
    unsafe { after_fork_in_parent() };
}
