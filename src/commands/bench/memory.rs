//! What the process holds of the machine's memory.

use std::fs;

/// Anonymous memory in use, MiB: heaps and stacks, no mapped files. `None` where the system does not
/// tell.
pub(super) fn anonymous_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_and_touched_is_counted() {
        let before = anonymous_mib().expect("Linux tells");
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = anonymous_mib().expect("Linux tells");
        assert!(after >= before + 32, "{before} {after}");
        drop(block);
    }
}
