//! How much of the process's memory is resident, without asking the allocator for any.

use std::fs::File;
use std::io::Read;

/// The number after `key` in what the kernel says of this process, in bytes.
fn status(key: &str) -> Option<u64> {
    let mut text = [0; 4096];
    let mut length = 0;
    let mut file = File::open("/proc/self/status").ok()?;
    while length < text.len() {
        match file.read(&mut text[length..]).ok()? {
            0 => break,
            read => length += read,
        }
    }
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"))?;
    kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Resident now.
pub fn now() -> u64 {
    status("VmRSS:").expect("the kernel says how much memory is resident")
}

/// The most that was ever resident.
pub fn peak() -> u64 {
    status("VmHWM:").expect("the kernel says how much memory was resident")
}
