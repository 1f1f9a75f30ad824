//! Coroutines with stacks of their own, from two libraries, that are suspended on one thread and
//! resumed on another.
//!
//!   stackful WHAT HOW SUSPENSIONS
//!
//! WHAT is `installed` (the allocator is the global one, and nothing else of it is used), `entered`
//! (each coroutine works in a heap of its own, and its context is switched) or `unswitched` (the
//! same without the switch: sound, though what is current is then the thread's affair). HOW is
//! `pinned` or `migrating`. Four threads run until the coroutines were suspended that often in all.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use context_allocator::switch::SavedContext;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

const THREADS: usize = 4;
const COROUTINES: usize = 32;
/// How often one coroutine is suspended in its life.
const SUSPENSIONS: usize = 60;

#[derive(Clone, Copy, PartialEq)]
enum What {
    Installed,
    Entered,
    Unswitched,
}

enum Stack {
    Corosensei(corosensei::Coroutine<(), (), ()>),
    Generator(generator::Generator<'static, (), ()>),
}

struct Task {
    stack: Stack,
    context: Option<SavedContext<ALLOC>>,
}

// SAFETY: What the bodies capture may be sent, and a task is resumed by one thread at a time: what
// a scheduler promises.
unsafe impl Send for Task {}

/// The function whose disassembly is looked at: an address of thread-local storage must not live
/// across the suspension.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "Rust" fn allocate_suspend_allocate(suspend: &mut dyn FnMut()) -> (Box<[u64; 8]>, Box<[u64; 8]>) {
    let before = black_box(Box::new([1; 8]));
    suspend();
    let after = black_box(Box::new([2; 8]));
    (before, after)
}

/// Allocates, resizes and frees before and after suspensions, and checks each byte that it wrote.
#[inline(always)]
fn body(id: usize, mut suspend: impl FnMut()) {
    let mut words: Vec<String> = Vec::new();
    let mut numbers: Vec<u64> = Vec::new();
    for round in 0..SUSPENSIONS / 3 {
        words.push(format!("{id}-{round}"));
        let bytes = vec![round as u8; 40 * (round + 1)];
        numbers.push((id * 1000 + round) as u64);
        suspend();
        assert!(bytes.iter().all(|&byte| byte == round as u8));
        let zeros = black_box(vec![0_u32; 10 + 100 * round]);
        drop(bytes);
        let (before, after) = allocate_suspend_allocate(&mut || suspend());
        assert_eq!((before[7], after[0]), (1, 2));
        numbers.extend_from_within(..0);
        let boxed = Box::new(round);
        suspend();
        assert!(zeros.iter().all(|&number| number == 0));
        assert_eq!(*boxed, round);
        if round % 5 == 4 {
            words.swap_remove(0);
            words.insert(0, format!("{id}-0"));
            words.truncate(words.len() / 2 + 1);
            words.shrink_to_fit();
        }
    }
    assert!(words.iter().all(|word| word.starts_with(&format!("{id}-"))));
    assert!(numbers.iter().enumerate().all(|(round, &number)| number == (id * 1000 + round) as u64));
}

/// The body in a heap, with scopes of the other tiers in it.
fn body_in(what: What, id: usize, mut suspend: impl FnMut()) {
    if what == What::Installed {
        return body(id, suspend);
    }
    let heap = ALLOC.heap().expect("memory for a heap");
    let escaped = heap.try_enter(|| {
        let outer = format!("outer {id}");
        body(id, &mut suspend);
        ALLOC.with_global(|| {
            let word = format!("global {id}");
            suspend();
            assert_eq!(word, format!("global {id}"));
        });
        ALLOC.with_thread(|| {
            let word = format!("thread {id}");
            suspend();
            assert_eq!(word, format!("thread {id}"));
        });
        if what == What::Entered {
            let before = heap.statistics().live_blocks;
            let inside = black_box(String::from("in the heap again"));
            assert_eq!(heap.statistics().live_blocks, before + 1, "the heap is not current after the scopes");
            drop(inside);
        }
        outer
    });
    drop(heap);
    suspend();
    assert!(escaped.is_ok_and(|outer| outer == format!("outer {id}")));
}

impl Task {
    fn new(what: What, id: usize) -> Self {
        let stack = if id % 2 == 0 {
            Stack::Corosensei(corosensei::Coroutine::new(move |yields: &corosensei::Yielder<(), ()>, ()| {
                body_in(what, id, || yields.suspend(()));
            }))
        } else {
            Stack::Generator(generator::Gn::new_scoped_opt(0x8000, move |mut scope| {
                body_in(what, id, || {
                    scope.yield_with(());
                });
                generator::done!()
            }))
        };
        Self { stack, context: (what == What::Entered).then(SavedContext::default) }
    }

    /// Resumes the task; whether it has ended.
    fn resume(&mut self) -> bool {
        let host = self.context.take().map(|context| ALLOC.switch(context));
        let ended = match &mut self.stack {
            Stack::Corosensei(stack) => matches!(stack.resume(()), corosensei::CoroutineResult::Return(())),
            Stack::Generator(stack) => {
                stack.resume();
                stack.is_done()
            }
        };
        self.context = host.map(|host| ALLOC.switch(host));
        ended
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let what = match arguments[1].as_str() {
        "installed" => What::Installed,
        "entered" => What::Entered,
        "unswitched" => What::Unswitched,
        other => panic!("no {other}"),
    };
    let migrating = match arguments[2].as_str() {
        "pinned" => false,
        "migrating" => true,
        other => panic!("no {other}"),
    };
    let least: usize = arguments[3].parse().expect("a number of suspensions");
    let queues: [Mutex<VecDeque<Task>>; THREADS] = std::array::from_fn(|_| Mutex::new(VecDeque::new()));
    for id in 0..COROUTINES {
        queues[id % THREADS].lock().unwrap().push_back(Task::new(what, id));
    }
    let suspensions = AtomicUsize::new(0);
    let started = AtomicUsize::new(COROUTINES);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (queues, suspensions, started) = (&queues, &suspensions, &started);
            scope.spawn(move || {
                let mut turn = thread;
                loop {
                    let from = if migrating { turn % THREADS } else { thread };
                    turn += 1;
                    let Some(mut task) = queues[from].lock().unwrap().pop_front() else {
                        if queues.iter().all(|queue| queue.lock().unwrap().is_empty()) {
                            return;
                        }
                        if !migrating {
                            return;
                        }
                        std::thread::yield_now();
                        continue;
                    };
                    let ended = task.resume();
                    let so_far = suspensions.fetch_add(1, Relaxed);
                    // To another thread's queue, whose next resume is then a migration.
                    let to = if migrating { (from + 1) % THREADS } else { thread };
                    if !ended {
                        queues[to].lock().unwrap().push_back(task);
                    } else if so_far < least {
                        let id = started.fetch_add(1, Relaxed);
                        drop(task);
                        queues[to].lock().unwrap().push_back(Task::new(what, id));
                    }
                }
            });
        }
    });
    let statistics = ALLOC.statistics();
    if what == What::Entered {
        assert_eq!(statistics.heaps_alive, 0, "a heap was not left");
        // `generator` keeps what it makes once for each thread, in whichever heap that was.
        assert!(statistics.orphans <= THREADS, "{statistics:?}");
    }
    let suspensions = suspensions.load(Relaxed);
    assert!(suspensions >= least);
    println!("{suspensions} suspensions of {} coroutines", started.load(Relaxed));
}
