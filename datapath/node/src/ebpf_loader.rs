//! A loader of eBPF objects that leaves the kernel's own BTF alone.
//!
//! `EbpfLoader::new` of aya 0.14 parses `/sys/kernel/btf/vmlinux`, some 50 ms and
//! 25 MiB, before `btf(None)` can tell it not to; creating the maps and verifying
//! the programs of the outside takes 2 ms (aya issue 1172; pull request 1639 mends
//! it in a release that needs Rust 1.98, with which this module goes). The BTF
//! serves CO-RE relocations alone, and programs written in Rust have none.

use std::thread;

use aya::EbpfLoader;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;

/// A folder that is always there and holds nothing by the name of `sys`.
const WITHOUT_SYSFS: &str = "/proc/self/fdinfo";

/// A loader without the kernel's BTF.
#[must_use]
pub fn without_kernel_btf() -> EbpfLoader<'static> {
    // Where the detour is closed, the same loader takes longer to make.
    let mut loader = made_apart().unwrap_or_default();
    loader.btf(None);
    loader
}

/// Makes the loader on a thread for which `/sys` does not exist. Its root is its
/// own, and ends with it.
fn made_apart() -> Option<EbpfLoader<'static>> {
    let apart = thread::Builder::new()
        .name("ebpf-loader".to_owned())
        .spawn(|| {
            unshare(CloneFlags::CLONE_FS).ok()?;
            chroot(WITHOUT_SYSFS).ok()?;
            Some(EbpfLoader::new())
        });
    apart.ok()?.join().ok()?
}

#[cfg(test)]
mod tests {
    mod as_root {
        use super::super::made_apart;

        #[test]
        fn the_kernels_btf_is_not_read_and_the_callers_root_stays() {
            assert!(
                nix::unistd::geteuid().is_root(),
                "this test changes a thread's root: run it as root"
            );
            let loader = format!("{:?}", made_apart().expect("a loader"));
            assert!(loader.contains("btf: None"), "{loader}");
            assert!(std::path::Path::new("/proc/self/exe").exists());
        }
    }
}
