//! The process's peak resident memory, as the kernel counts it.

use std::fs;

/// Lets the peak begin anew from what is resident now; `false` where the kernel cannot do that.
///
/// See `clear_refs` in `man 5 proc_pid_clear_refs`.
pub fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most bytes resident at any one time since the last reset (`VmHWM`), if the kernel says.
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))?;
    kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}
