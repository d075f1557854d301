//! How much memory this host has to spare, and how what is not needed is given back to it.

use std::fs;

use crate::measure::Bytes;

/// What the kernel says of the memory of the host: `MemAvailable`, in KiB (proc(5)).
const HOST: &str = "/proc/meminfo";

/// What the container of this process may use and uses, in bytes, where it is in one (cgroups version 2).
const CONTAINER: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"];

/// From which size on memory comes from the kernel directly and goes back to it when it is freed, in bytes: four of
/// DuckDB's blocks.
const LARGE: i32 = 1 << 20;

/// How much memory at the end of what an allocator has may lie unused, in bytes.
const UNUSED: i32 = 4 << 20;

/// Has the C library give back memory that is not used, as DuckDB reckons when it keeps to its limit.
///
/// Left to itself, glibc raises both bounds to tens of mebibytes, in each of the many arenas that threads allocate from
/// (mallopt(3)). Measured: the restore of 50 million hits had 1048 MiB at its peak instead of 969, in no less time.
pub(super) fn give_back_unused() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, UNUSED)] {
        #[expect(unsafe_code, reason = "mallopt takes two numbers, and no safe crate offers it; no thread runs yet")]
        // SAFETY: it reads and writes nothing of ours.
        unsafe {
            libc::mallopt(parameter, value)
        };
    }
}

/// Returns three quarters of the memory that is not in use, as far as it is known.
pub(super) fn to_be_had() -> Bytes {
    let number = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let host = fs::read_to_string(HOST).ok().as_deref().and_then(available);
    let [most, used] = CONTAINER.map(number);
    let container = most.zip(used).map(|(most, used)| most.saturating_sub(used));
    let free = host.into_iter().chain(container).min().unwrap_or(0);
    Bytes(free / 4 * 3)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_is_available() {
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal:  9 kB\n"), None);
    }
}
