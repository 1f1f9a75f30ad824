//! Shared maps of files in memory and on a disk.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::thread;

use crate::support::CheckingSource;
use crate::support::forking::in_a_child;
use crate::support::model::{self, Profile};
use crate::support::{conformance, layout};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::error::SourceError;
use context_allocator::size::{U65536, U1048576};
use context_allocator::source::{FileSource, MemfdSource};
use context_allocator::{ArenaSource, MemorySource};

fn memory() -> MemfdSource {
    MemfdSource::new(c"tests").expect("a file in memory")
}

/// A source over a file without a name, with some bytes in it.
fn file() -> FileSource {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1000).expect("a longer file");
    // SAFETY: The file is new and has no name.
    unsafe { FileSource::new(file) }.expect("a source")
}

#[test]
fn they_conform() {
    conformance::source(memory, 1 << 20);
    conformance::source(file, 1 << 20);
    conformance::forwarded_source(memory, 1 << 16);
    conformance::forwarded_source(file, 1 << 16);
}

#[test]
fn allocators_work_on_them() {
    let index = CheckingSource::new(memory());
    let arena: ArenaSource<_, U65536, U1048576> = ArenaSource::new(&index);
    model::run(&SizeClassAllocator::new(&arena), Profile::SMALL.operations(200_000));
    drop(arena);
    index.assert_all_released();
    let index = CheckingSource::new(file());
    model::run(&SizeClassAllocator::new(&index), Profile::SMALL.operations(200_000));
    index.assert_all_released();
}

#[test]
fn regions_are_aligned_as_asked() {
    let source = CheckingSource::new(memory());
    for power in 0..=30 {
        let wanted = layout(10_000, 1 << power);
        let region = source.obtain(wanted).expect("the address space has room");
        assert_eq!(region.len(), 12_288);
        // SAFETY: Just obtained with this layout, and not used again.
        unsafe { source.release(region, wanted) };
    }
    source.assert_all_released();
}

/// What is written to a region is in the file, where the source says.
#[test]
fn the_file_has_what_is_in_the_regions() {
    fn check(
        file: impl AsRawFd,
        obtain: impl Fn(usize) -> Result<(NonNull<[u8]>, u64), SourceError>,
        first: u64,
    ) {
        let mut seen = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("it is open");
        let mut expected = first;
        for size in [1_usize, 5000, 4096] {
            let (region, offset) = obtain(size).expect("memory");
            assert_eq!(offset, expected);
            expected += region.len() as u64;
            // SAFETY: The region was just obtained, so all of it may be written.
            unsafe { region.cast::<u8>().write_bytes(size as u8 + 1, region.len()) };
            let mut bytes = vec![0; region.len()];
            seen.seek(SeekFrom::Start(offset)).expect("a place in the file");
            seen.read_exact(&mut bytes).expect("the file is as long as its regions");
            assert!(bytes.iter().all(|&byte| byte == size as u8 + 1));
        }
        assert_eq!(seen.metadata().expect("its length").len(), expected);
    }
    let source = memory();
    // SAFETY: The file is only read.
    check(unsafe { source.file() }, |size| source.obtain_with_offset(layout(size, 8)), 0);
    let source = file();
    // SAFETY: As above.
    check(unsafe { source.file() }, |size| source.obtain_with_offset(layout(size, 8)), 4096);
}

/// Released ranges take no memory, and are not given again.
#[test]
fn what_is_released_becomes_a_hole() {
    let source = memory();
    // SAFETY: The file is only looked at.
    let file = unsafe { source.file() };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let blocks = || fs::metadata(&path).expect("it is open").blocks();
    let wanted = layout(1 << 20, 8);
    let (region, offset) = source.obtain_with_offset(wanted).expect("memory");
    assert_eq!((offset, blocks()), (0, 0), "nothing is touched yet");
    // SAFETY: The region was just obtained, so all of it may be written.
    unsafe { region.cast::<u8>().write_bytes(1, region.len()) };
    assert_eq!(blocks() * 512, 1 << 20);
    // SAFETY: Obtained above with this layout, and not used again.
    unsafe { source.release(region, wanted) };
    assert_eq!(blocks(), 0);
    let (_, offset) = source.obtain_with_offset(wanted).expect("memory");
    assert_eq!(offset, 1 << 20);
}

#[test]
fn threads_get_ranges_of_their_own() {
    let source = CheckingSource::new(memory());
    thread::scope(|scope| {
        for thread in 1..=4_u8 {
            let source = &source;
            scope.spawn(move || {
                for _ in 0..200 {
                    let wanted = layout(9000, 8);
                    let region = source.obtain(wanted).expect("memory");
                    // SAFETY: The region is this thread's, and zeroed.
                    let bytes = unsafe { crate::support::pattern::bytes(region.cast(), region.len()) };
                    assert!(bytes.iter().all(|&byte| byte == 0));
                    // SAFETY: The region is this thread's.
                    unsafe { region.cast::<u8>().write_bytes(thread, region.len()) };
                    thread::yield_now();
                    // SAFETY: As above.
                    let bytes = unsafe { crate::support::pattern::bytes(region.cast(), region.len()) };
                    assert!(bytes.iter().all(|&byte| byte == thread));
                    // SAFETY: Obtained above with this layout, and not used again.
                    unsafe { source.release(region, wanted) };
                }
            });
        }
    });
    source.assert_all_released();
}

#[test]
fn the_name_is_shown() {
    let source = MemfdSource::new(c"of this test").expect("a file in memory");
    source.obtain(layout(1, 1)).expect("memory");
    let maps = fs::read_to_string("/proc/self/maps").expect("the maps");
    assert!(maps.contains("/memfd:of this test"), "{maps}");
}

#[test]
fn files_that_cannot_be_mapped_are_an_error() {
    let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
    let only_read = File::open(&path).expect("it is there");
    // SAFETY: The file is this test's.
    let source = unsafe { FileSource::new(only_read) }.expect("its length is known");
    assert!(matches!(source.obtain(layout(1, 1)), Err(SourceError::System(_))));
    let too_large = memory().obtain(layout(isize::MAX as usize - 4096, 1));
    assert!(matches!(too_large, Err(SourceError::System(_) | SourceError::TooLarge)), "{too_large:?}");
}

/// A child of a fork would share what it changes with its parent, so it gets nothing.
#[test]
fn a_child_has_no_part_in_it() {
    let source = MemfdSource::new(c"of the parent").expect("a file in memory");
    let wanted = layout(4096, 8);
    let region = source.obtain(wanted).expect("memory");
    // SAFETY: The region was just obtained.
    unsafe { region.cast::<u8>().write(7) };
    in_a_child(|| {
        assert_eq!(source.obtain(wanted), Err(SourceError::Unsupported), "the child obtains nothing");
        let maps = fs::read_to_string("/proc/self/maps").expect("the maps");
        assert!(!maps.contains("/memfd:of the parent"), "the child has none of the regions");
    });
    // SAFETY: The region is still held.
    assert_eq!(unsafe { region.cast::<u8>().read() }, 7);
}
