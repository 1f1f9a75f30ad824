//! Memory that is given back twice, or to the wrong owner: the slow path that meets it ends the
//! process with a sentence.
//!
//! Each case runs in a process of its own, which is this test binary again.

use std::hint::black_box;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use crate::support::layout;
use context_allocator::source::{RecordingSource, RunSource};
use context_allocator::{Allocator, MemorySource, MmapSource, MultipleBinarySearchTreeAllocator};

const CASE: &str = "MISUSE_CASE";
const LIMIT: Duration = Duration::from_secs(30);

/// The cases: a name, what is done, and words of the sentence.
const CASES: &[(&str, fn(), &str)] = &[
    ("slices_twice", slices_twice, "run of slices was given back that nobody holds"),
    ("slices_twice_by_the_quick_way", slices_twice_by_the_quick_way, "given back that nobody holds"),
    ("slices_of_another", slices_of_another, "given back that nobody holds"),
    ("slices_of_another_by_the_quick_way", slices_of_another_by_the_quick_way, "nobody holds"),
    ("slices_from_within", slices_from_within, "given back that nobody holds"),
    ("slices_resized_that_are_free", slices_resized_that_are_free, "given back that nobody holds"),
    ("recorded_twice", recorded_twice, "a region was released that is not held"),
    ("recorded_of_another", recorded_of_another, "a region was released that is not held"),
    ("tree_in_a_circle", tree_in_a_circle, "a block was freed twice"),
    ("tree_in_a_longer_circle", tree_in_a_longer_circle, "a block was freed twice"),
    ("tree_merged_twice", tree_merged_twice, "a block was freed twice"),
    ("tree_of_another", tree_of_another, "a block was freed that is not this allocator's"),
];

/// # Safety
/// As `release`, but for what is to be found out.
unsafe fn release<S: MemorySource>(source: &S, region: NonNull<[u8]>, size: usize) {
    // SAFETY: The caller's promises.
    unsafe { source.release(black_box(region), layout(size, 8)) };
}

fn slices() -> RunSource {
    RunSource::new(MmapSource::new())
}

fn slices_twice() {
    let pool = slices();
    let region = pool.obtain(layout(300_000, 8)).expect("memory");
    // SAFETY: Just obtained.
    unsafe { release(&pool, region, 300_000) };
    // SAFETY: Not sound: that is the case.
    unsafe { release(&pool, region, 300_000) };
}

fn slices_twice_by_the_quick_way() {
    let pool = slices();
    let region = pool.obtain(layout(60_000, 8)).expect("memory");
    for _ in 0..2 {
        // SAFETY: Not sound: that is the case.
        unsafe { release(&pool, region, 60_000) };
    }
    pool.reclaim(&mut |_| ());
}

fn slices_of_another() {
    let (pool, other) = (slices(), slices());
    let region = other.obtain(layout(300_000, 8)).expect("memory");
    // SAFETY: Not sound: that is the case.
    unsafe { release(&pool, region, 300_000) };
}

fn slices_of_another_by_the_quick_way() {
    let (pool, other) = (slices(), slices());
    let region = other.obtain(layout(60_000, 8)).expect("memory");
    // SAFETY: Not sound: that is the case.
    unsafe { release(&pool, region, 60_000) };
    pool.reclaim(&mut |_| ());
}

fn slices_from_within() {
    let pool = slices();
    let region = pool.obtain(layout(300_000, 8)).expect("memory");
    // SAFETY: The region is longer.
    let within = unsafe { region.cast::<u8>().add(4096) };
    // SAFETY: Not sound: that is the case.
    unsafe { release(&pool, NonNull::slice_from_raw_parts(within, 200_000), 200_000) };
}

fn slices_resized_that_are_free() {
    let pool = slices();
    let region = pool.obtain(layout(300_000, 8)).expect("memory");
    // SAFETY: Just obtained.
    unsafe { release(&pool, region, 300_000) };
    // SAFETY: Not sound: that is the case.
    let _ = unsafe { pool.remap(region, layout(300_000, 8), layout(400_000, 8)) };
}

fn recorded_twice() {
    let source = RecordingSource::new(MmapSource::new());
    let region = source.obtain(layout(5000, 8)).expect("memory");
    for _ in 0..2 {
        // SAFETY: Not sound: that is the case.
        unsafe { release(&source, region, 5000) };
    }
}

fn recorded_of_another() {
    let (source, other) = (RecordingSource::new(MmapSource::new()), MmapSource::new());
    let region = other.obtain(layout(5000, 8)).expect("memory");
    // SAFETY: Not sound: that is the case.
    unsafe { release(&source, region, 5000) };
}

type Tree = MultipleBinarySearchTreeAllocator<MmapSource>;

fn tree_in_a_circle() {
    circle(1);
}

fn tree_in_a_longer_circle() {
    circle(3);
}

/// The first of so many blocks is freed again, so that the list of what waits leads in a circle.
fn circle(blocks: usize) {
    let tree = Tree::new(MmapSource::new());
    let small = layout(100, 8);
    let blocks: Vec<_> = (0..blocks).map(|_| tree.allocate(small).expect("memory")).collect();
    for block in blocks.iter().chain(&blocks[..1]) {
        // SAFETY: Not sound: that is the case.
        unsafe { tree.deallocate(black_box(block.cast()), small) };
    }
    black_box(tree.largest_free_block());
    drop(tree);
}

/// A block that was merged already, of a size that does not wait.
fn tree_merged_twice() {
    let tree = Tree::new(MmapSource::new());
    let large = layout(10_000, 8);
    let [_, block, _] = [(); 3].map(|()| tree.allocate(large).expect("memory"));
    for _ in 0..2 {
        // SAFETY: Not sound: that is the case.
        unsafe { tree.deallocate(black_box(block.cast()), large) };
    }
}

fn tree_of_another() {
    let (tree, other) = (Tree::new(MmapSource::new()), Tree::new(MmapSource::new()));
    let large = layout(10_000, 8);
    tree.allocate(large).expect("memory");
    let block = other.allocate(large).expect("memory");
    // SAFETY: Not sound: that is the case.
    unsafe { tree.deallocate(black_box(block.cast()), large) };
}

/// In a child: runs the case.
#[test]
fn the_case() {
    let Ok(name) = std::env::var(CASE) else { return };
    let (_, case, _) = CASES.iter().find(|(case, ..)| *case == name).expect("a case");
    case();
}

#[test]
fn misuse_ends_the_process_with_a_sentence() {
    if std::env::var(CASE).is_ok() {
        return;
    }
    for (name, _, sentence) in CASES {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &crate::support::test_path(module_path!(), "the_case"), "--nocapture"])
            .env(CASE, name)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > LIMIT {
                child.kill().expect("a child");
                panic!("{name}: the child does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut text = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{name}: {status:?}, {text}");
        assert!(text.contains(sentence), "{name}: {text}");
    }
}
