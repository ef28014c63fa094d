//! `cargo xtask setup`: Debian packages by name, cargo tools by version. Installs
//! only what is missing, so a second run does nothing.

mod no_services;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{command, find, is_root, output, run};

/// Options of `cargo xtask setup`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Say what is missing and install nothing.
    #[arg(long)]
    check: bool,
}

/// A Debian package, and why the project needs it.
struct Package {
    names: &'static [&'static str],
    why: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        names: &["iproute2"],
        why: "`ip`: what students look around with; route checks read it",
    },
    Package {
        names: &["tcpdump"],
        why: "captures of the checks",
    },
    Package {
        names: &["iputils-ping"],
        why: "ping probes",
    },
    Package {
        names: &["curl"],
        why: "curl probes",
    },
    Package {
        names: &["bind9-dnsutils"],
        why: "dig and nslookup, in pods and in checks of names",
    },
    Package {
        names: &["tshark"],
        why: "tests hold the packet filter against it",
    },
    Package {
        names: &["iptables", "nftables"],
        why: "peers of the datapath benchmark",
    },
    Package {
        names: &["iperf3"],
        why: "datapath benchmark",
    },
    Package {
        names: &["unbound"],
        why: "tests and benchmarks hold DNS against it",
    },
    Package {
        names: &["faketime"],
        why: "unbound's clock, in those tests",
    },
    Package {
        names: &["bind9-dnsutils"],
        why: "`dig`: probes of DNS",
    },
    Package {
        names: &["dnsperf"],
        why: "DNS benchmark",
    },
    Package {
        names: &["nsd"],
        why: "the upstream of the DNS benchmark",
    },
    Package {
        names: &["dnsmasq-base"],
        why: "peer of the DNS benchmark; addresses of Vagrant's machines",
    },
    Package {
        names: &["knot-resolver"],
        why: "peer of the DNS benchmark",
    },
    Package {
        names: &["pdns-recursor"],
        why: "peer of the DNS benchmark",
    },
    Package {
        names: &["conntrack"],
        why: "counters of conntrack's races",
    },
    Package {
        names: &["bpftool", "linux-tools-common"],
        why: "looking at programs and maps",
    },
    Package {
        names: &["g++"],
        why: "libFuzzer, for the fuzz targets",
    },
    Package {
        names: &["qemu-system-x86"],
        why: "virtual machines",
    },
    Package {
        names: &["mmdebstrap"],
        why: "images, from Debian's packages",
    },
    Package {
        names: &["fakeroot"],
        why: "images without root",
    },
    Package {
        names: &["fakechroot"],
        why: "images where user namespaces are closed",
    },
    Package {
        names: &["uidmap"],
        why: "images in a user namespace",
    },
    Package {
        names: &["xorriso"],
        why: "seeds of cloud images",
    },
    Package {
        names: &["openssh-client"],
        why: "tests hold our SSH against it",
    },
    Package {
        names: &["openssh-server"],
        why: "the server of those tests",
    },
    Package {
        names: &["openssh-sftp-server"],
        why: "files over SSH, in those tests",
    },
];

/// Vagrant and what its tests make machines with; Ubuntu has no `vagrant` since 24.04.
const VAGRANT: &[Package] = &[
    Package {
        names: &["vagrant"],
        why: "tests of the Vagrantfile",
    },
    Package {
        names: &["vagrant-libvirt"],
        why: "machines that Vagrant makes",
    },
    Package {
        names: &["libvirt-daemon-system"],
        why: "libvirt, for those machines",
    },
    Package {
        names: &["libvirt-clients"],
        why: "looking at those machines",
    },
];

/// Disks of virtual machines. A QEMU of one's own brings `qemu-img` along, and this package
/// would put another before it.
const QEMU_IMG: Package = Package {
    names: &["qemu-utils"],
    why: "`qemu-img`: disks of virtual machines",
};

/// The compiler that builds the kernel programs: Debian's `-web` packages carry a
/// rustc that is recent enough, with the library sources that `-Zbuild-std` needs.
const EBPF_COMPILER: &[Package] = &[
    Package {
        names: &["rustc-web"],
        why: "compiles the kernel programs",
    },
    Package {
        names: &["cargo-web"],
        why: "compiles the kernel programs",
    },
    Package {
        names: &["rust-web-src"],
        why: "core's sources, for bpfel-unknown-none",
    },
];

/// A tool that cargo installs.
struct Tool {
    name: &'static str,
    version: &'static str,
    why: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "bpf-linker",
        version: "0.10.4",
        why: "links the kernel programs",
    },
    Tool {
        name: "cargo-fuzz",
        version: "0.13.2",
        why: "runs the fuzz targets",
    },
];

/// Installs what is missing, or with `--check` says it.
pub(crate) fn install_missing(options: &Options) -> Result<()> {
    let mut packages: Vec<&Package> = PACKAGES.iter().collect();
    if !nightly_has_sources() {
        packages.extend(EBPF_COMPILER);
    }
    packages.extend(VAGRANT.iter().filter(|package| available(package).is_ok()));
    let missing_packages: Vec<&Package> = packages
        .into_iter()
        .filter(|package| !package.names.iter().any(|name| installed(name)))
        .collect();
    let missing_tools: Vec<&Tool> = TOOLS.iter().filter(|tool| !tool_installed(tool)).collect();

    for package in &missing_packages {
        eprintln!("setup: {} is missing ({})", package.names[0], package.why);
    }
    for tool in &missing_tools {
        eprintln!(
            "setup: {} {} is missing ({})",
            tool.name, tool.version, tool.why
        );
    }
    let lacks_qemu_img = find("qemu-img").is_none();
    if missing_packages.is_empty() && missing_tools.is_empty() && !lacks_qemu_img {
        eprintln!("setup: everything is here");
        return Ok(());
    }
    if options.check {
        bail!("something is missing; `cargo xtask setup` installs it");
    }
    install_packages(&missing_packages)?;
    // After QEMU, which puts out a `qemu-img` of another version.
    if find("qemu-img").is_none() {
        install_packages(&[&QEMU_IMG])?;
    }
    for tool in missing_tools {
        run(command("cargo").args(["install", tool.name, "--version", tool.version, "--locked"]))?;
    }
    Ok(())
}

fn install_packages(missing: &[&Package]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        bail!("this is neither Debian nor Ubuntu: install the packages named above by hand");
    }
    run(apt_get().arg("update"))?;
    let names = missing
        .iter()
        .map(|package| available(package))
        .collect::<Result<Vec<_>>>()?;
    let quiet = no_services::forbid()?;
    run(apt_get()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&names))?;
    drop(quiet);
    no_services::disable(&names)
}

/// The first of a package's names that the archive has: names differ between
/// Debian and Ubuntu.
fn available(package: &Package) -> Result<&'static str> {
    let known = |name: &&&str| {
        output(command("apt-cache").args(["policy", **name])).is_ok_and(|text| {
            text.lines().any(|line| {
                line.trim()
                    .strip_prefix("Candidate:")
                    .is_some_and(|found| found.trim() != "(none)")
            })
        })
    };
    package.names.iter().find(known).copied().with_context(|| {
        format!(
            "no package {} in the archive ({})",
            package.names.join(" or "),
            package.why
        )
    })
}

fn apt_get() -> Command {
    let mut apt_get = as_root("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

fn as_root(program: &str) -> Command {
    if is_root() {
        return command(program);
    }
    let mut sudo = command("sudo");
    sudo.args(["--preserve-env=DEBIAN_FRONTEND", program]);
    sudo
}

fn installed(package: &str) -> bool {
    output(command("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn tool_installed(tool: &Tool) -> bool {
    output(command("cargo").args(["install", "--list"])).is_ok_and(|list| {
        list.lines()
            .any(|line| line.starts_with(&format!("{} v{}", tool.name, tool.version)))
    })
}

/// Whether rustup has a nightly with core's sources, which builds the kernel
/// programs too.
fn nightly_has_sources() -> bool {
    output(command("rustc").args(["+nightly", "--print", "sysroot"])).is_ok_and(|sysroot| {
        std::path::Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
    })
}
