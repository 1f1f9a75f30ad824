//! What the kernel says of this process's memory maps, and the pool of huge pages.

use std::fs::{self, File};
use std::io;
use std::ptr::NonNull;

/// One map of this process, from `/proc/self/smaps`.
#[derive(Debug)]
pub struct Map {
    lines: Vec<String>,
}

impl Map {
    /// The map that has this address; none where nothing is mapped.
    pub fn at(address: usize) -> Option<Self> {
        let text = fs::read_to_string("/proc/self/smaps").expect("the kernel shows maps");
        let mut map: Option<Self> = None;
        for line in text.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let ends = range.and_then(|(start, end)| Some((hexadecimal(start)?, hexadecimal(end)?)));
            match ends {
                Some(_) if map.is_some() => break,
                Some((start, end)) if (start..end).contains(&address) => {
                    map = Some(Self { lines: Vec::new() })
                }
                _ => {}
            }
            if let Some(map) = &mut map {
                map.lines.push(line.to_owned());
            }
        }
        map
    }

    /// The map of a region's first byte.
    pub fn of(region: NonNull<[u8]>) -> Self {
        Self::at(region.cast::<u8>().addr().get()).expect("the region is mapped")
    }

    /// Whether the map has a two-letter flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.field("VmFlags:").split_whitespace().any(|has| has == flag)
    }

    /// A field in bytes.
    pub fn bytes(&self, name: &str) -> usize {
        let kib = self.field(name).trim().trim_end_matches("kB").trim().parse::<usize>();
        kib.expect("the field is a number of KiB") * 1024
    }

    /// The first line, with addresses, access and name.
    pub fn head(&self) -> &str {
        &self.lines[0]
    }

    fn field(&self, name: &str) -> &str {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in {self:#?}"))
    }
}

fn hexadecimal(number: &str) -> Option<usize> {
    usize::from_str_radix(number, 16).ok()
}

/// The policy of the map that begins at an address, as `/proc/self/numa_maps` names it.
pub fn policy_at(address: usize) -> String {
    let text = fs::read_to_string("/proc/self/numa_maps").expect("the kernel shows policies");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{address:x} ")));
    let rest = line.unwrap_or_else(|| panic!("no map begins at {address:x} in\n{text}"));
    let end = [" anon=", " file=", " huge", " stack", " heap", " mapped="]
        .iter()
        .filter_map(|behind| rest.find(behind))
        .min();
    rest[..end.unwrap_or(rest.len())].trim().to_owned()
}

/// Free huge pages in the pool of one size, for as long as this lives: no other test, in this
/// process or another, fills or uses a pool meanwhile.
pub struct Pool {
    file: String,
    before: String,
    _lock: PoolLock,
}

/// A test that maps pages of a pool, however many there are, holds this, so that it takes none that
/// another test counts on. Tests hold it together; with a [`Pool`], which excludes them, one waits.
pub struct PoolLock(Option<File>);

impl PoolLock {
    /// The lock that tests hold together.
    pub fn shared() -> Self {
        Self::locked(File::lock_shared)
    }

    /// One for the pools of all sizes: a ladder uses several. It is the kernel's own folder, which
    /// all processes of the machine see; without it there are no pools.
    fn locked(lock: fn(&File) -> io::Result<()>) -> Self {
        let file = File::open("/sys/kernel/mm/hugepages").ok();
        if let Some(file) = &file {
            lock(file).expect("the kernel locks folders");
        }
        Self(file)
    }
}

impl Drop for PoolLock {
    fn drop(&mut self) {
        // Children of a test share the lock, and may live longer than it.
        if let Some(file) = &self.0 {
            file.unlock().expect("the lock is held");
        }
    }
}

impl Pool {
    /// Makes `pages` pages of `bytes` bytes free; `None`, and says so, where this process may not
    /// or memory is lacking.
    pub fn of(bytes: usize, pages: usize) -> Option<Self> {
        let lock = PoolLock::locked(File::lock);
        let folder = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", bytes / 1024);
        let file = format!("{folder}/nr_hugepages");
        let read = |name: &str| fs::read_to_string(format!("{folder}/{name}"));
        let Ok(before) = read("nr_hugepages") else {
            eprintln!("skipped: the kernel has no huge pages of {bytes} bytes");
            return None;
        };
        if let Err(error) = fs::write(&file, pages.to_string()) {
            eprintln!("skipped: {file} cannot be written: {error}");
            return None;
        }
        let pool = Self { file, before, _lock: lock };
        let free = read("free_hugepages").ok().and_then(|free| free.trim().parse::<usize>().ok());
        if free != Some(pages) {
            eprintln!("skipped: {pages} huge pages of {bytes} bytes were wanted, {free:?} are free");
            return None;
        }
        Some(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.file, self.before.trim()) {
            eprintln!("{} is not what it was: {error}", self.file);
        }
    }
}
