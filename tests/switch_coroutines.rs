//! Scopes across stack switches: saved, moved between threads, forgotten, or not saved at all.
//!
//! A coroutine of `corosensei` has a stack of its own. Where `switch` stands around the switches of
//! stacks, each coroutine keeps its own context; where it does not, memory must stay sound all the
//! same.

#![cfg(feature = "std")]

use std::hint::black_box;
use std::sync::Mutex;

use context_allocator::switch::{EnterError, SavedContext};
use context_allocator::{Allocator, Heap};
use corosensei::{Coroutine, CoroutineResult, Yielder};

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

type Job = Coroutine<(), (), Vec<String>>;
type Yields = Yielder<(), ()>;

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

fn word(number: usize) -> String {
    black_box(format!("word number {number}"))
}

fn check(words: &[String]) {
    for (number, word) in words.iter().enumerate() {
        assert_eq!(*word, format!("word number {number}"));
    }
}

/// A coroutine whose stack was made in the global tier.
fn job(f: impl FnOnce(&Yields) -> Vec<String> + 'static) -> Job {
    ALLOC.with_global(|| Coroutine::new(|yields, ()| f(yields)))
}

/// A coroutine with what is current in it, as an executor keeps it.
struct Task {
    job: Job,
    context: Option<SavedContext<ALLOC>>,
}

// SAFETY: What the tests capture in their jobs may be sent: heaps, strings and numbers. The stack
// goes with the coroutine.
unsafe impl Send for Task {}

impl Task {
    fn new(f: impl FnOnce(&Yields) -> Vec<String> + Send + 'static) -> Self {
        Self { job: job(f), context: Some(SavedContext::default()) }
    }

    /// Resumes the coroutine in its own context; what it returned, if it has ended.
    fn resume(&mut self) -> Option<Vec<String>> {
        let host = ALLOC.switch(self.context.take().expect("the context of a task that does not run"));
        let result = self.job.resume(());
        self.context = Some(ALLOC.switch(host));
        match result {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(words) => Some(words),
        }
    }
}

/// Makes a word at a time in a heap of its own, and checks where it came to lie.
fn words_in_a_heap(yields: &Yields, count: usize) -> Vec<String> {
    let heap = heap();
    heap.enter(|| {
        let mut words = Vec::with_capacity(count);
        for number in 0..count {
            let before = heap.statistics().live_blocks;
            words.push(word(number));
            assert_eq!(heap.statistics().live_blocks, before + 1, "a word of this coroutine lies elsewhere");
            yields.suspend(());
            if number % 3 == 0 {
                ALLOC.with_global(|| {
                    let elsewhere = word(number);
                    yields.suspend(());
                    assert_eq!(heap.statistics().live_blocks, before + 1);
                    drop(elsewhere);
                });
            }
        }
        words
    })
}

#[test]
fn many_coroutines_on_one_thread_each_in_its_own_heap() {
    let mut tasks: Vec<_> = (0..100)
        .map(|index| Some(Task::new(move |yields: &Yields| words_in_a_heap(yields, 20 + index % 7))))
        .collect();
    let mut results = Vec::new();
    let mut random = fastrand::Rng::with_seed(1);
    while results.len() < tasks.len() {
        let index = random.usize(0..tasks.len());
        let Some(task) = &mut tasks[index] else { continue };
        // The host is in heaps too.
        let host = heap();
        let result = host.enter(|| {
            let mine = word(index);
            let held = host.statistics().live_blocks;
            let result = task.resume();
            assert_eq!(host.statistics().live_blocks, held, "a coroutine allocated in the host's heap");
            assert_eq!(mine, format!("word number {index}"));
            result
        });
        if let Some(words) = result {
            results.push(words);
            tasks[index] = None;
        }
    }
    results.iter().for_each(|words| check(words));
}

#[test]
fn coroutines_move_between_threads() {
    let mut tasks: Vec<_> =
        (0..20).map(|_| Task::new(|yields: &Yields| words_in_a_heap(yields, 30))).collect();
    let mut results = Vec::new();
    while !tasks.is_empty() {
        let threads: Vec<_> = tasks
            .drain(..)
            .map(|mut task| {
                std::thread::spawn(move || {
                    let result = task.resume();
                    (task, result)
                })
            })
            .collect();
        for thread in threads {
            let (task, result) = thread.join().unwrap();
            match result {
                Some(words) => results.push(words),
                None => tasks.push(task),
            }
        }
    }
    assert_eq!(results.len(), 20);
    results.iter().for_each(|words| check(words));
}

#[test]
fn the_thread_tier_is_that_of_the_thread_that_resumes() {
    let mut task = Task::new(|yields: &Yields| {
        let heap = heap();
        // The tier noted inside the scope is THREAD, with this thread's heap behind it.
        let mut words = heap.enter(|| {
            let mut words = ALLOC.with_thread(|| {
                let mut words = vec![word(0)];
                yields.suspend(());
                words.push(word(1));
                words
            });
            yields.suspend(());
            words.push(word(2));
            words
        });
        words.push(word(3));
        yields.suspend(());
        words.push(word(4));
        words
    });
    let words = loop {
        // A thread that has no heap of the thread tier until it allocates: its first allocation is
        // the coroutine's.
        let result;
        (task, result) = std::thread::spawn(move || {
            let result = task.resume();
            (task, result)
        })
        .join()
        .unwrap();
        if let Some(words) = result {
            break words;
        }
    };
    check(&words);
    assert_eq!(words.len(), 5);
}

/// Runs `f` on a thread of the C library, which allocates nothing of its own: its first allocation
/// is the one in `f`.
fn on_a_thread_without_a_heap(f: fn()) {
    static NEXT: Mutex<Option<fn()>> = Mutex::new(None);
    extern "C" fn start(_: *mut libc::c_void) -> *mut libc::c_void {
        let f = NEXT.lock().unwrap().take();
        f.expect("what the thread is to run")();
        std::ptr::null_mut()
    }
    *NEXT.lock().unwrap() = Some(f);
    let mut thread = 0;
    let (attributes, argument) = (std::ptr::null(), std::ptr::null_mut());
    // SAFETY: `thread` is writable, and `start` takes no argument.
    let made = unsafe { libc::pthread_create(&raw mut thread, attributes, start, argument) };
    assert_eq!(made, 0);
    // SAFETY: The thread was just made, and is joined once.
    assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0);
}

#[test]
fn a_context_in_the_thread_tier_restored_where_there_is_no_heap() {
    static SAVED: Mutex<Option<SavedContext<ALLOC>>> = Mutex::new(None);
    let heap = heap();
    // This thread has a heap, so the context that is saved is in the thread tier over `heap`.
    heap.enter(|| {
        ALLOC.with_thread(|| {
            drop(word(0));
            *SAVED.lock().unwrap() = Some(ALLOC.switch(SavedContext::default()));
        });
    });
    let before = heap.statistics().live_blocks;
    on_a_thread_without_a_heap(|| {
        let saved = SAVED.lock().unwrap().take().unwrap();
        let host = ALLOC.switch(saved);
        check(&[word(0)]);
        let back = ALLOC.switch(host);
        check(&[word(0), word(1)]);
        *SAVED.lock().unwrap() = Some(back);
    });
    assert_eq!(heap.statistics().live_blocks, before);
    assert_eq!(heap.try_enter(|| ()), Err(EnterError), "the heap is still in the saved context");
    drop(SAVED.lock().unwrap().take());
    assert_eq!(heap.try_enter(|| ()), Ok(()));
}

#[test]
fn dropping_a_saved_context_leaves_its_heaps() {
    // One of its own, whose heaps no other test makes or drops.
    context_allocator::switchable_allocator!(static OTHER);
    let [outer, inner, dropped] = [(); 3].map(|()| OTHER.heap().expect("memory for a heap"));
    let layout = context_allocator::NonZeroLayout::of::<u64>().unwrap();
    let guards = (outer.guard().unwrap(), inner.guard().unwrap());
    std::mem::forget(dropped.guard().unwrap());
    let escaped = OTHER.allocate(layout).unwrap();
    let saved = OTHER.switch(SavedContext::default());
    // Outside of every heap now.
    let outside = OTHER.allocate(layout).unwrap();
    assert_eq!(OTHER.statistics().heap_blocks, 1);
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { OTHER.deallocate(outside.cast(), layout) };
    assert_eq!(outer.try_enter(|| ()), Err(EnterError));
    // The guards of heaps that are not in this thread's context do nothing.
    drop(guards);
    assert_eq!(inner.try_enter(|| ()), Err(EnterError));
    // The handle of a heap that is entered in the context: whoever drops the context settles it.
    drop(dropped);
    assert_eq!((OTHER.statistics().heaps_alive, OTHER.statistics().orphans), (3, 0));
    std::thread::spawn(move || drop(saved)).join().unwrap();
    assert_eq!((OTHER.statistics().heaps_alive, OTHER.statistics().orphans), (2, 1));
    assert_eq!((outer.try_enter(|| ()), inner.try_enter(|| ())), (Ok(()), Ok(())));
    // SAFETY: Allocated above with this layout, and not used again.
    unsafe { OTHER.deallocate(escaped.cast(), layout) };
    assert_eq!((OTHER.statistics().heaps_alive, OTHER.statistics().orphans), (2, 0));
}

#[test]
fn a_scope_suspended_and_forgotten() {
    let heap = heap();
    let place: *const Heap<ALLOC> = &raw const heap;
    let mut forgotten = job(move |yields| {
        // SAFETY: The handle is there as long as this coroutine runs; when it is dropped, this
        // frame is never resumed.
        let heap = unsafe { &*place };
        heap.enter(|| {
            let words = vec![word(0), word(1)];
            yields.suspend(());
            words
        })
    });
    let saved = {
        let host = ALLOC.switch(SavedContext::default());
        assert!(forgotten.resume(()).as_yield().is_some());
        ALLOC.switch(host)
    };
    assert_eq!(heap.statistics().live_blocks, 3);
    std::mem::forget(forgotten);
    assert_eq!(heap.try_enter(|| ()), Err(EnterError));
    // Another thread gets the error too.
    let heap = std::thread::spawn(move || {
        assert_eq!(heap.try_enter(|| ()), Err(EnterError));
        heap
    })
    .join()
    .unwrap();
    drop(heap);
    drop((0..100).map(|number| self::heap().enter(|| word(number))).collect::<Vec<_>>());
    drop(saved);
}

#[test]
fn a_scope_suspended_without_a_switch_and_forgotten() {
    std::thread::spawn(|| {
        let heap = heap();
        let place: *const Heap<ALLOC> = &raw const heap;
        let mut forgotten = job(move |yields| {
            // SAFETY: As in the test above.
            let heap = unsafe { &*place };
            heap.enter(|| {
                yields.suspend(());
                Vec::new()
            })
        });
        assert!(forgotten.resume(()).as_yield().is_some());
        std::mem::forget(forgotten);
        // The thread is in the coroutine's heap, since nothing was switched.
        let words: Vec<_> = (0..1000).map(word).collect();
        assert!(heap.statistics().live_blocks > 1000);
        let heap = std::thread::spawn(move || {
            assert_eq!(heap.try_enter(|| ()), Err(EnterError));
            heap
        })
        .join()
        .unwrap();
        drop(heap);
        let more: Vec<_> = (0..1000).map(word).collect();
        check(&words);
        check(&more);
        // The values outlive the thread, which leaves the heap when it ends.
        (words, more)
    })
    .join()
    .map(|(words, more)| {
        check(&words);
        check(&more);
    })
    .unwrap();
}

#[test]
fn interleaved_scopes_without_a_switch() {
    let mut jobs: Vec<_> =
        (0..20).map(|_| Some(job(|yields| heap().enter(|| interleaved(yields))))).collect();
    let mut results = Vec::new();
    let mut random = fastrand::Rng::with_seed(2);
    while results.len() < jobs.len() {
        let index = random.usize(0..jobs.len());
        let Some(job) = &mut jobs[index] else { continue };
        if let CoroutineResult::Return(words) = job.resume(()) {
            results.push(words);
            jobs[index] = None;
        }
    }
    results.iter().for_each(|words| check(words));
}

fn interleaved(yields: &Yields) -> Vec<String> {
    let mut words = Vec::new();
    for number in 0..30 {
        words.push(word(number));
        yields.suspend(());
        if number % 4 == 0 {
            ALLOC.with_thread(|| yields.suspend(()));
        }
    }
    words
}

#[test]
fn scopes_that_end_on_another_thread_without_a_switch() {
    let mut tasks: Vec<_> =
        (0..8).map(|_| Task::new(|yields: &Yields| heap().enter(|| interleaved(yields)))).collect();
    let mut results = Vec::new();
    while !tasks.is_empty() {
        let threads: Vec<_> = tasks
            .drain(..)
            .map(|mut task| {
                std::thread::spawn(move || {
                    let result = task.job.resume(());
                    (task, result)
                })
            })
            .collect();
        for thread in threads {
            match thread.join().unwrap() {
                (_, CoroutineResult::Return(words)) => results.push(words),
                (task, CoroutineResult::Yield(())) => tasks.push(task),
            }
        }
    }
    results.iter().for_each(|words| check(words));
}

#[test]
fn a_suspended_coroutine_is_unwound() {
    let host = heap();
    host.enter(|| {
        let mut task = Task::new(|yields: &Yields| words_in_a_heap(yields, 10));
        for _ in 0..5 {
            assert!(task.resume().is_none());
        }
        // Dropped here, it unwinds on this thread, in the host's context, and its own context is
        // left afterwards.
        drop(task);
        let before = host.statistics().live_blocks;
        let text = ALLOC.with_thread(|| word(0));
        assert_eq!(host.statistics().live_blocks, before);
        drop(text);
    });
    assert_eq!(host.try_enter(|| ()), Ok(()));
}
