//! The hooks of a declaration: a key by which the ends of threads are seen, and its place on the
//! list of those that take part in forks.
//!
//! The end of a thread is seen through a key of the threads library, whose functions run after the
//! destructors of Rust's thread-locals, so that those can still allocate and free as before. Later
//! functions of other keys allocate from the global tier and free remotely.
//!
//! A shared library that declares a switchable allocator stays loaded from the first time that a
//! thread keeps something for it: the system would call the key's function after the library was
//! unloaded.

use core::ffi::c_void;

use super::fork::{Joined, Member, Steps, register_fork_handlers};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{forks_here, yield_now};
use crate::sys;

/// Whether the hooks are set.
#[derive(Debug)]
pub(crate) struct Hooks {
    once: HooksOnce,
    /// The declaration on the list of those that take part in forks.
    member: Member,
}

/// The function that a thread's end calls.
pub(crate) type ThreadEnds = unsafe extern "C" fn(*mut c_void);

/// The key was refused, or there is no room for fork handlers.
const REFUSED: u64 = 2;
/// The number of the threads library's key plus this is the state of hooks that are set.
const KEY: u64 = 3;

impl Hooks {
    crate::sync::const_fn! {
        pub(crate) fn new(steps: &'static Steps) -> Self {
            Self { once: HooksOnce::new(), member: Member::new(steps) }
        }
    }

    /// Has the end of the calling thread call `thread_ends`; sets the hooks if no thread has.
    /// `Some(false)` if the system refuses, `None` if this thread forks while another sets the
    /// hooks: it is to ask again.
    pub(crate) fn arm(&'static self, thread_ends: ThreadEnds) -> Option<bool> {
        let keep_loaded = || {
            // The key's function, the declaration and the fork handlers must be there as long as
            // the process may come back to them.
            sys::keep_loaded(thread_ends as *const ());
            sys::keep_loaded(register_fork_handlers as *const ());
        };
        let state = self.once.get_or_make(keep_loaded, || self.make(thread_ends))?;
        let key = state.checked_sub(KEY).and_then(|number| u32::try_from(number).ok());
        Some(key.is_some_and(|number| sys::ExitKey::from_number(number).arm().is_ok()))
    }

    /// Sets the hooks; their state.
    fn make(&'static self, thread_ends: ThreadEnds) -> u64 {
        match self.member.join() {
            Joined::Yes => {
                sys::ExitKey::new(thread_ends).map_or(REFUSED, |key| KEY + u64::from(key.number()))
            }
            Joined::NotYet => UNSET,
            Joined::Refused => REFUSED,
        }
    }
}

const UNSET: u64 = 0;
/// Some thread is about to set the hooks, in the process after as many forks as the other bits say.
const SETTING: u64 = 1 << 63;

/// A number that one thread makes and the others wait for. It has no lock, because a fork at that
/// moment would leave the lock to the child for ever.
#[derive(Debug)]
pub(crate) struct HooksOnce {
    /// `UNSET`, `SETTING` with a number of forks, or what was made.
    state: AtomicU64,
}

impl HooksOnce {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { state: AtomicU64::new(UNSET) }
        }
    }

    /// The number that `make` makes, once; it is called again if it gives `UNSET` (0). `prepare` is
    /// called before any thread waits for this one. `None` if another thread calls `make` and this
    /// one forks.
    ///
    /// Any other thread waits: it must not take locks that the fork handlers do not know of.
    /// Acquire and Release, for what `make` did.
    pub(crate) fn get_or_make(&self, prepare: impl FnOnce(), make: impl Fn() -> u64) -> Option<u64> {
        let mut prepare = Some(prepare);
        loop {
            let current = self.state.load(Acquire);
            let setting = SETTING | u64::from(sys::forks_noted());
            // In the child of a fork no thread is left to go on with what another had begun.
            if current == UNSET || (current & SETTING != 0 && current != setting) {
                if let Some(prepare) = prepare.take() {
                    prepare();
                } else if self.state.compare_exchange(current, setting, Acquire, Relaxed).is_ok() {
                    self.state.store(make(), Release);
                }
            } else if current & SETTING == 0 {
                return Some(current);
            } else if forks_here() {
                return None;
            } else {
                yield_now();
            }
        }
    }
}
