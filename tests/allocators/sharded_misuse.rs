//! Memory that was misused: shards end the process, at once and with a sentence, in release builds
//! too.
//!
//! Each fault happens in a child, which is this program with the fault's name in its environment.

use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use context_allocator::SlabAllocator;
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::{Sharded, SizeClassAllocator};
use context_allocator::source::PooledSource;

type Slabs = AllocatorAdaptor<Sharded<SlabAllocator<PooledSource>>>;
type Classes = AllocatorAdaptor<Sharded<SizeClassAllocator<PooledSource>, typenum::U1>>;

static SLABS: Slabs = AllocatorAdaptor::new(Sharded::new(SlabAllocator::new(PooledSource::new())));
static CLASSES: Classes =
    AllocatorAdaptor::new(Sharded::new_in(SizeClassAllocator::new(PooledSource::new())));

const FAULT: &str = "SHARDED_FAULT";
const SENTENCE: &str = "context-allocator: a block was given back that no shard had handed out (at 0x";
const LAYOUT: Layout = Layout::new::<[u64; 8]>();

/// Whether the table of owners was made.
const TABLES: [&str; 2] = ["unused", "used"];
const CALLS: [&str; 3] = ["free", "grow", "shrink"];

fn commit(fault: &str, allocator: &dyn GlobalAlloc) {
    if fault.contains("-used") {
        // SAFETY: The layout is not empty.
        let block = unsafe { allocator.alloc(LAYOUT) };
        assert!(!black_box(block).is_null());
    }
    let mut elsewhere = [0_u64; 64];
    let block = black_box(elsewhere.as_mut_ptr().cast::<u8>());
    if fault.starts_with("free") {
        // SAFETY: None: this is the fault, which the allocator is to find.
        unsafe { allocator.dealloc(block, LAYOUT) };
    } else {
        let size = if fault.starts_with("grow") { 256 } else { 8 };
        // SAFETY: None: this is the fault, which the allocator is to find.
        let resized = unsafe { allocator.realloc(block, LAYOUT, size) };
        black_box(resized);
    }
}

#[test]
fn a_foreign_block_ends_the_process() {
    if let Ok(fault) = env::var(FAULT) {
        if fault.ends_with("slabs") {
            commit(&fault, &SLABS)
        } else {
            commit(&fault, &CLASSES)
        }
        return;
    }
    for call in CALLS {
        for table in TABLES {
            for allocator in ["slabs", "classes"] {
                dies(&format!("{call}-{table}-{allocator}"));
            }
        }
    }
}

/// Runs the fault in a child, which must die of it soon.
fn dies(fault: &str) {
    let test = crate::support::test_path(module_path!(), "a_foreign_block_ends_the_process");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(FAULT, fault)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{fault}: the process goes on");
        }
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{fault}: {said}");
    assert!(said.contains(SENTENCE), "{fault}: {said}");
}
