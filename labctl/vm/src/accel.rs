//! What runs a machine's instructions: KVM where it works, else TCG.

use std::fmt;
use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What runs a machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's translator: works everywhere, some ten times slower.
    Tcg,
}

impl Accelerator {
    /// QEMU's `-accel` argument.
    #[must_use]
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // A thread per virtual processor. By itself QEMU would take up to 1 GiB a machine
            // for translated code; a boot is no faster with more than this.
            Self::Tcg => "tcg,thread=multi,tb-size=256",
        }
    }

    /// QEMU's `-cpu` argument.
    ///
    /// QEMU 7.2's translator makes up the flags after `cmpxchg16b` from what an earlier
    /// instruction left (`EFLAGS: 1f3e0ee2`, where RAX is `…1f3e0ea0`). Linux 6.12 takes memory
    /// with that instruction, and double-faults in `kmem_cache_alloc` at every third boot or so;
    /// a processor without it is not asked for it.
    #[must_use]
    pub fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max,-cx16",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// The accelerator, and why it is not KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What machines run on.
    pub accelerator: Accelerator,
    /// Why KVM is not used: what was tried and what came of it.
    pub why_not_kvm: Option<String>,
}

/// KVM if it works, found out by trying once per process.
///
/// `/dev/kvm` may be there and refuse (no permission, no nested virtualization), so a machine
/// that never runs is made on it.
pub fn choose() -> &'static Choice {
    static CHOICE: OnceLock<Choice> = OnceLock::new();
    CHOICE.get_or_init(|| match try_kvm() {
        Ok(()) => Choice {
            accelerator: Accelerator::Kvm,
            why_not_kvm: None,
        },
        Err(why) => Choice {
            accelerator: Accelerator::Tcg,
            why_not_kvm: Some(why),
        },
    })
}

fn try_kvm() -> Result<(), String> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|error| format!("/dev/kvm: {error}"))?;
    // A whole machine with a processor: nested virtualization has been seen to fail no sooner
    // than when the processor's registers are set ("failed to set MSR 0x10a").
    // It is an assertion's failure, which must leave no core file.
    let output = Command::new("prlimit")
        .args(["--core=0", crate::machine::QEMU])
        .args([
            "-machine",
            "q35",
            "-cpu",
            "host",
            "-accel",
            "kvm",
            "-m",
            "16",
            "-nodefaults",
        ])
        .args(["-no-user-config", "-display", "none", "-S", "-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write as _;
            if let Some(mut input) = child.stdin.take() {
                // A QEMU that has ended already says why in its output.
                let _ended = input.write_all(QUIT);
            }
            child.wait_with_output()
        })
        .map_err(|error| format!("{}: {error}", crate::machine::QEMU))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said
        .lines()
        .next()
        .unwrap_or("QEMU ended on it")
        .trim()
        .to_owned())
}

const QUIT: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n";

#[cfg(test)]
mod tests {
    use super::{Accelerator, choose};

    #[test]
    fn without_kvm_the_reason_is_told() {
        let choice = choose();
        assert_eq!(
            choice.accelerator == Accelerator::Tcg,
            choice.why_not_kvm.is_some()
        );
    }
}
