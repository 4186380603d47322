//! Which cores this process may use, next to one another as the machine has them, and threads that
//! stay on theirs.

use std::thread::available_parallelism;

/// Some cores, one for each worker of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

impl Cores {
    /// All that this process may use, those of a package and of a core's threads side by side; `None`
    /// where the system does not tell.
    pub fn allowed() -> Option<Self> {
        let mut cores = system::allowed()?;
        cores.sort_by_key(|core| (system::place(*core), *core));
        // A quota may allow less than the mask.
        let usable = available_parallelism().map_or(1, usize::from);
        (cores.len() == usable).then_some(Self(cores))
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes the first `count` away.
    ///
    /// # Panics
    /// If there are fewer, or `count` is 0.
    #[must_use]
    pub fn take(&mut self, count: usize) -> Self {
        assert!(count > 0, "no cores for a device");
        let rest = self.0.split_off(count);
        Self(std::mem::replace(&mut self.0, rest))
    }

    /// Keeps the thread that calls to the `worker`-th of them. Where the system refuses, it may run
    /// anywhere, as before.
    pub(crate) fn bind(&self, worker: usize) {
        system::bind(self.0[worker]);
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::fs;

    pub(super) fn allowed() -> Option<Vec<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }

    /// Package and physical core.
    pub(super) fn place(core: usize) -> (u32, u32) {
        let read = |what: &str| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/topology/{what}");
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok())
        };
        (read("physical_package_id").unwrap_or(0), read("core_id").unwrap_or(0))
    }

    pub(super) fn bind(core: usize) {
        let mut set = CpuSet::new();
        set.set(core);
        let _ = sched_setaffinity(None, &set); // slower at worst
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn allowed() -> Option<Vec<usize>> {
        None
    }

    pub(super) fn place(_: usize) -> (u32, u32) {
        (0, 0)
    }

    pub(super) fn bind(_: usize) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::{cpu::Cpu, device::Device as _};

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that does not run says so")]
    fn towers_share_all_cores_and_workers_stay_on_theirs() {
        let Some(all) = Cores::allowed() else {
            eprintln!("SKIP: the system does not tell which cores may be used");
            return;
        };
        let mut rest = all.clone();
        let first = rest.take(1);
        assert_eq!((first.count(), rest.count()), (1, all.count() - 1));
        for cores in [first, all] {
            let cpu = Cpu::on("test", &cores).expect("workers");
            let home = || cpu.home().run(|| system::allowed().expect("a mask"));
            let here = std::thread::scope(|scope| scope.spawn(home).join()).expect("no panic");
            assert_eq!(here.len(), 1);
            assert!(cores.0.contains(&here[0]), "{here:?} of {cores:?}");
        }
    }
}
