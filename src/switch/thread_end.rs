//! What happens when a thread ends.
//!
//! The end of a thread is seen through a key of the threads library, whose functions run after the
//! destructors of Rust's thread-locals, so that those can still allocate and free as before. What
//! runs later still (other keys' functions) allocates from the global tier and frees remotely.
//!
//! A shared library that declares a switchable allocator stays loaded from the first time that a
//! thread keeps something for it: the system would call the key's function after the library was
//! unloaded.

use core::ffi::c_void;

use super::Policy;
use super::allocator::{PolicyOf, SwitchableAllocator};
use super::context::Stage;
use super::fork::{Joined, Member};
use super::lifecycle::CACHED;
use super::tiers::{Declaration, StateOf};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::forks_here;
use crate::sys;

/// Whether the hooks are set.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// One of the constants below, or the number of the threads library's key plus `KEY`.
    state: AtomicU64,
    /// The declaration on the list of those that take part in forks.
    member: Member,
}

const UNSET: u64 = 0;
/// Some thread is about to set them, in the process after as many forks as the other bits say. No
/// lock, because a fork at this moment would leave it to the child for ever.
const SETTING: u64 = 1 << 63;
const REFUSED: u64 = 2;
const KEY: u64 = 3;

impl Hooks {
    crate::sync::const_fn! {
        pub(crate) fn new<D: Declaration>() -> Self {
            Self { state: AtomicU64::new(UNSET), member: Member::new::<D>() }
        }
    }
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Whether the end of the calling thread will be seen; sees to it if it can.
    #[inline]
    pub(super) fn armed(&self, state: &StateOf<D>) -> bool {
        match state.stage.get() {
            Stage::Armed => true,
            Stage::Detached => false,
            Stage::New => self.arm(state),
        }
    }

    #[cold]
    #[inline(never)]
    fn arm(&self, state: &StateOf<D>) -> bool {
        let Some(hooks) = self.set_hooks() else {
            // This thread forks. It asks again the next time, and does without until then.
            return false;
        };
        let key = hooks.checked_sub(KEY).and_then(|number| u32::try_from(number).ok());
        let armed = key.is_some_and(|number| sys::ExitKey::from_number(number).arm().is_ok());
        state.stage.set(if armed { Stage::Armed } else { Stage::Detached });
        state.cache_limit.set(if armed { CACHED } else { 0 });
        if armed && PolicyOf::<D>::ACCOUNTING {
            self.totals.join(&state.pending);
        }
        armed
    }

    /// Sets the hooks, once; gives their state. `None` if another thread is about to set them and
    /// this one forks.
    ///
    /// Any other thread waits for them: it must not take locks that the fork handlers do not know
    /// of.
    fn set_hooks(&self) -> Option<u64> {
        let state = &self.hooks.state;
        let mut kept_loaded = false;
        loop {
            let current = state.load(Acquire);
            let setting = SETTING | u64::from(sys::forks_noted());
            // In the child of a fork nobody is left to go on with what another thread had begun.
            if current == UNSET || (current & SETTING != 0 && current != setting) {
                if !kept_loaded {
                    // Before anybody waits for this thread: the loader has a lock of its own.
                    // The key's function, the declaration and the fork handlers must be there as
                    // long as the process may come back to them.
                    sys::keep_loaded(thread_ends::<D> as *const ());
                    sys::keep_loaded(super::register_fork_handlers as *const ());
                    kept_loaded = true;
                } else if state.compare_exchange(current, setting, Acquire, Relaxed).is_ok() {
                    state.store(Self::make_hooks(), Release);
                }
            } else if current & SETTING == 0 {
                return Some(current);
            } else if forks_here() {
                return None;
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Makes the hooks; their state, `UNSET` if they must be asked for again.
    fn make_hooks() -> u64 {
        match D::allocator().hooks.member.join() {
            Joined::Yes => {
                sys::ExitKey::new(thread_ends::<D>).map_or(REFUSED, |key| KEY + u64::from(key.number()))
            }
            Joined::NotYet => UNSET,
            Joined::Refused => REFUSED,
        }
    }
}

/// The end of a thread.
unsafe extern "C" fn thread_ends<D: Declaration>(_: *mut c_void) {
    D::allocator().detach();
}
