//! The program that all of `src/bin` run, each with an allocator of its own in the global tier.
//!
//! It works in all three tiers on several threads, lets blocks outlive the heaps and the threads
//! that they come from, frees and grows them elsewhere, and checks what is in them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::mpsc;
use std::thread;

use context_allocator::switch::{PresentTier, TierSet};
use context_allocator::{ArenaSource, BumpAllocator, MmapSource, SwitchableAllocator, Tiers};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::switch::Declaration;

/// The tiers of each program: what differs is the global one.
pub type With<G> =
    Tiers<BumpAllocator<ArenaSource<MmapSource>>, SizeClassAllocator<ArenaSource<MmapSource>>, G>;

/// Threads that handle requests.
const THREADS: usize = 4;
/// Requests that each of them handles.
const REQUESTS: usize = 500;

/// What a request leaves behind: made in the global tier, and freed by another thread.
#[derive(Debug)]
struct Answer {
    request: usize,
    text: String,
    /// From the heap of the request, whose handle is dropped before this.
    longest: String,
    /// From the heap of the thread, which may have ended.
    numbers: Vec<usize>,
}

/// The words of a request, each with its number.
fn words(request: usize) -> impl Iterator<Item = String> {
    (0..100).map(move |number| format!("{number}:{:0width$}", request, width = 1 + (number * request) % 90))
}

fn sum(words: impl Iterator<Item = String>) -> usize {
    words.flat_map(String::into_bytes).map(usize::from).sum()
}

fn handle<D: Declaration>(allocator: &'static SwitchableAllocator<D>, request: usize) -> Answer
where
    <D::Tiers as TierSet>::Coroutine: PresentTier,
    <D::Tiers as TierSet>::Thread: PresentTier,
{
    let numbers = allocator.with_thread(|| words(request).map(|word| word.len()).collect());
    let heap = allocator.heap().expect("there is memory for a heap");
    heap.enter(|| {
        let by_length: BTreeMap<usize, String> = words(request).map(|word| (word.len(), word)).collect();
        let longest = by_length.last_key_value().expect("there are words").1.clone();
        let text = allocator.with_global(|| {
            let mut text = String::new();
            words(request).for_each(|word| write!(text, "{word} ").expect("a string takes everything"));
            text
        });
        Answer { request, text, longest, numbers }
    })
}

/// Checks an answer, grows its parts where they are not at home, and frees it.
fn check(mut answer: Answer) -> usize {
    let expected: Vec<String> = words(answer.request).collect();
    assert!(answer.text.split_terminator(' ').eq(expected.iter().map(String::as_str)));
    assert!(answer.numbers.iter().copied().eq(expected.iter().map(String::len)));
    assert_eq!(Some(answer.longest.len()), expected.iter().map(String::len).max());
    answer.text.push_str(&answer.longest);
    answer.longest.push_str(&answer.text);
    answer.numbers.extend(0..1000);
    assert!(answer.longest.ends_with(&answer.text) && answer.numbers.ends_with(&[998, 999]));
    sum(answer.text.split(':').map(String::from))
}

/// Runs the program, and prints what it did.
pub fn run<D: Declaration>(name: &str, allocator: &'static SwitchableAllocator<D>)
where
    <D::Tiers as TierSet>::Coroutine: PresentTier,
    <D::Tiers as TierSet>::Thread: PresentTier,
{
    let (send, receive) = mpsc::channel::<Answer>();
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let send = send.clone();
            thread::spawn(move || {
                for request in 0..REQUESTS {
                    send.send(handle(allocator, worker * REQUESTS + request)).expect("somebody receives");
                }
            })
        })
        .collect();
    drop(send);
    // Half of the answers are checked after their threads have ended.
    let mut kept = Vec::new();
    let mut total = 0;
    for (number, answer) in receive.into_iter().enumerate() {
        if number % 2 == 0 { total += check(answer) } else { kept.push(answer) }
    }
    workers.into_iter().for_each(|worker| worker.join().expect("no check failed"));
    total +=
        thread::spawn(move || kept.into_iter().map(check).sum::<usize>()).join().expect("no check failed");

    let table = allocator.with_global(|| {
        let mut table = Vec::new();
        (0..5_000_000_u32).for_each(|number| table.push(number));
        table.truncate(1_000_000);
        table.shrink_to_fit();
        table
    });
    assert!(table.iter().copied().eq(0..1_000_000));
    let zeros = allocator.with_global(|| vec![0_u8; 3_000_000]);
    assert!(zeros.iter().all(|&byte| byte == 0));
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let pages: Vec<Box<Page>> =
        allocator.with_global(|| (0..50).map(|byte| Box::new(Page([byte; 4096]))).collect());
    for (byte, page) in (0..).zip(pages) {
        assert!(
            (&raw const *page).addr().is_multiple_of(4096) && page.0.iter().all(|&written| written == byte)
        );
    }

    let end = allocator.statistics();
    assert_eq!((end.heaps_alive, end.orphans, end.heap_blocks), (0, 0, 0), "{end:?}");
    println!(
        "{name}: {} requests on {THREADS} threads, checksum {total}; {} bytes of heaps and {} of threads are kept for the next ones",
        THREADS * REQUESTS,
        end.heap_bytes,
        end.thread_bytes,
    );
}
