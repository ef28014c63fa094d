//! `cargo xtask ebpf`: compiles the kernel programs into `datapath/prebuilt`, and
//! records what they were made from, so that a test notices when they are stale.
//!
//! The programs need a compiler with core's sources (`-Zbuild-std`): rustup's
//! nightly with `rust-src`, or Debian's `rustc-web` packages.

mod debug_information;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::command::{command, find, output, root, run};
use debug_information::Objcopy;

/// Options of `cargo xtask ebpf`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Compare with what is there: fails when the sources give something else. What
    /// another compiler built is replaced instead.
    #[arg(long)]
    check: bool,
}

/// The objects, one per binary of `datapath/ebpf`.
const OBJECTS: [&str; 6] = [
    "datapath",
    "dns",
    "outside",
    "passthrough",
    "rewind",
    "sock",
];
/// What the digest covers.
const SOURCES: [&str; 3] = [
    "datapath/common/src",
    "datapath/ebpf/src",
    "datapath/ebpf/Cargo.toml",
];
/// Dependencies that end up in the objects; their locked versions are covered too.
const LOCKED: [&str; 4] = [
    "aya-ebpf",
    "aya-ebpf-bindings",
    "aya-ebpf-cty",
    "aya-ebpf-macros",
];
/// Instruction set v3 (kernel 5.1): 32-bit arithmetic and jumps. BTF carries
/// names and lines for bpftool and the verifier's log.
const RUSTFLAGS: [&str; 4] = [
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    // In order, zeros would be written by a loop over bytes, of which the verifier walks every turn.
    "-Clink-arg=--disable-expand-memcpy-in-order",
];
/// Name of the record beside the objects.
const RECORD: &str = "SOURCES.sha256";
/// How the record's first line begins.
const COMPILER: &str = "# built by ";
const TARGET: &str = "bpfel-unknown-none";

/// Builds the objects and their record, or with `--check` compares.
pub(crate) fn build(options: &Options) -> Result<()> {
    if options.check {
        return rebuild_and_compare();
    }
    let toolchain = Toolchain::find()?;
    install(&compile(&toolchain)?, &toolchain.version()?)
}

/// Builds from source and compares with what the repository has. Another compiler
/// than recorded gives other bytes: then its objects are installed, so that the
/// tests which follow test them.
///
/// # Errors
/// The objects here are not what their sources give, or the build failed.
pub(crate) fn rebuild_and_compare() -> Result<()> {
    let toolchain = Toolchain::find()?;
    let built = compile(&toolchain)?;
    let Some(name) = first_difference(&built)? else {
        return Ok(());
    };
    let here = toolchain.version()?;
    let recorded = recorded_compiler()?;
    ensure!(
        here != recorded,
        "{} differs from what its sources give; `cargo xtask ebpf` builds it",
        prebuilt(name).display()
    );
    eprintln!(
        "ebpf: datapath/prebuilt was built by {recorded}; this is {here}. The tests run with \
         what it built, which is in datapath/prebuilt now"
    );
    install(&built, &here)
}

/// The first object that differs from the one in the repository.
fn first_difference(built: &Path) -> Result<Option<&'static str>> {
    for name in OBJECTS {
        let file = prebuilt(name);
        let here = fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let file = built.join(name);
        let there =
            fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        if here != there {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn prebuilt(name: &str) -> PathBuf {
    root().join(format!("datapath/prebuilt/{name}.bpf.o"))
}

fn install(built: &Path, compiler: &str) -> Result<()> {
    let folder = root().join("datapath/prebuilt");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    for name in OBJECTS {
        let to = prebuilt(name);
        fs::copy(built.join(name), &to)
            .with_context(|| format!("failed to write {}", to.display()))?;
    }
    let file = folder.join(RECORD);
    let text = format!("{COMPILER}{compiler}\n{}", record(root())?);
    fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
    eprintln!("ebpf: {} objects in {}", OBJECTS.len(), folder.display());
    Ok(())
}

/// Who built the objects in the repository, from the record's first line.
fn recorded_compiler() -> Result<String> {
    let file = root().join("datapath/prebuilt").join(RECORD);
    let text =
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let line = text.lines().next().unwrap_or_default();
    let compiler = line
        .strip_prefix(COMPILER)
        .with_context(|| format!("{} does not begin with {COMPILER:?}", file.display()))?;
    Ok(compiler.to_owned())
}

/// A compiler that can build for the kernel.
enum Toolchain {
    /// rustup's nightly with `rust-src`.
    Nightly { sysroot: PathBuf },
    /// Debian's `rustc-web`, `cargo-web`, `rust-web-src`.
    Debian { llvm: PathBuf },
}

impl Toolchain {
    fn find() -> Result<Self> {
        if find("bpf-linker").is_none() {
            bail!("bpf-linker is missing; `cargo xtask setup` installs it");
        }
        let nightly =
            output(command("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
        if let Ok(sysroot) = &nightly {
            let sysroot = PathBuf::from(sysroot.trim());
            if has_core_sources(&sysroot.join("lib/rustlib/src/rust")) {
                return Ok(Self::Nightly { sysroot });
            }
        }
        if Path::new("/usr/bin/rustc").exists()
            && Path::new("/usr/bin/cargo").exists()
            && has_core_sources(Path::new("/usr/lib/rustlib/src/rust"))
        {
            let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
            return Ok(Self::Debian {
                llvm: Path::new(sysroot.trim()).join("lib"),
            });
        }
        bail!(
            "no compiler for {TARGET}: neither rustup's nightly with rust-src \
             (`rustup toolchain install nightly --component rust-src`) nor Debian's rustc-web, \
             cargo-web and rust-web-src (`cargo xtask setup`) is installed"
        )
    }

    fn cargo(&self) -> Command {
        let mut cargo = match self {
            Self::Nightly { .. } => {
                let mut cargo = command("rustup");
                cargo.args(["run", "nightly", "cargo"]);
                cargo
            }
            Self::Debian { llvm } => {
                let mut cargo = command("/usr/bin/cargo");
                // bpf-linker opens the LLVM library of a Rust toolchain at run time,
                // and Debian's rustc carries its own inside. It must read the bitcode
                // that rustc writes: LLVM 22, as rustup's toolchains have from 1.95 on.
                cargo.env("LD_LIBRARY_PATH", llvm);
                cargo.env("RUSTC", "/usr/bin/rustc");
                // A stable compiler takes -Zbuild-std only so.
                cargo.env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        // `cargo xtask` runs under a cargo whose choices are not meant for this one.
        cargo
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .env_remove("RUSTFLAGS");
        cargo
    }

    /// Compiler, linker and objcopy, which together decide what bytes come out.
    fn version(&self) -> Result<String> {
        let rustc = match self {
            Self::Nightly { .. } => {
                output(command("rustup").args(["run", "nightly", "rustc", "--version"]))?
            }
            Self::Debian { .. } => output(command("/usr/bin/rustc").arg("--version"))?,
        };
        let linker = output(command("bpf-linker").arg("--version"))?;
        let objcopy = Objcopy::find()?.version()?;
        Ok(format!("{}, {}, {objcopy}", rustc.trim(), linker.trim()))
    }

    fn library_sources(&self) -> PathBuf {
        match self {
            Self::Nightly { sysroot } => sysroot.join("lib/rustlib/src/rust"),
            Self::Debian { .. } => PathBuf::from("/usr/lib/rustlib/src/rust"),
        }
    }
}

fn has_core_sources(library: &Path) -> bool {
    library.join("library/core/src/lib.rs").exists()
}

/// Compiles all objects; returns the folder they are in, without DWARF.
fn compile(toolchain: &Toolchain) -> Result<PathBuf> {
    let target = target_folder();
    let flags: Vec<String> = RUSTFLAGS
        .iter()
        .map(|flag| (*flag).to_owned())
        .chain(remapped(toolchain))
        .collect();
    run(toolchain
        .cargo()
        .args([
            "build",
            "--release",
            "--package",
            "lab-datapath-ebpf",
            "--target",
            TARGET,
        ])
        .args(["-Zbuild-std=core", "--locked"])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}")))?;
    let compiled = target.join(TARGET).join("release");
    let folder = target.join("objects");
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let objcopy = Objcopy::find()?;
    for name in OBJECTS {
        objcopy.without_dwarf(&compiled.join(name), &folder.join(name))?;
    }
    Ok(folder)
}

/// A folder of its own: another compiler's artifacts would be thrown away.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), PathBuf::from)
        .join("ebpf")
}

/// Debug information names files: none of this machine's folders should be in it,
/// so that a build elsewhere gives the same bytes.
fn remapped(toolchain: &Toolchain) -> Vec<String> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let folders = [
        Some((root().to_path_buf(), "/labctl")),
        cargo_home.map(|home| (home.join("registry/src"), "/registry")),
        Some((toolchain.library_sources(), "/rust")),
    ];
    folders
        .into_iter()
        .flatten()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect()
}

/// What the record must say for the sources under `root`, and the objects there.
fn record(root: &Path) -> Result<String> {
    let mut record = format!("{}  sources\n", source_digest(root)?);
    for name in OBJECTS {
        let file = prebuilt(name);
        let object =
            fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?;
        writeln!(record, "{}  {name}.bpf.o", hex(&Sha256::digest(object)))?;
    }
    Ok(record)
}

/// Digest of everything that the objects are made from.
fn source_digest(root: &Path) -> Result<String> {
    let mut files = BTreeMap::new();
    for source in SOURCES {
        collect(root, &root.join(source), &mut files)?;
    }
    let mut digest = Sha256::new();
    for (name, content) in &files {
        digest.update(format!("{name}\0{}\0", content.len()));
        digest.update(content);
    }
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("failed to read Cargo.lock")?;
    for name in LOCKED {
        let version = locked_version(&lock, name)
            .with_context(|| format!("Cargo.lock does not hold {name}"))?;
        digest.update(format!("{name} {version}\0"));
    }
    digest.update(RUSTFLAGS.join("\0"));
    Ok(hex(&digest.finalize()))
}

fn collect(root: &Path, path: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    if path.is_dir() {
        let entries =
            fs::read_dir(path).with_context(|| format!("failed to list {}", path.display()))?;
        for entry in entries {
            collect(root, &entry?.path(), files)?;
        }
        return Ok(());
    }
    let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
    let content = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    files.insert(name, content);
    Ok(())
}

/// The version that Cargo.lock gives a package.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = lock.split_once(&entry)?;
    rest.split('"').next()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prebuilt_objects_come_from_these_sources() {
        let file = root().join("datapath/prebuilt").join(RECORD);
        let recorded = fs::read_to_string(&file).expect("the record is in the repository");
        let (_, recorded) = recorded
            .split_once('\n')
            .expect("the first line names the compiler");
        assert_eq!(
            recorded,
            record(root()).expect("sources and objects are readable"),
            "datapath/prebuilt is stale; `cargo xtask ebpf` rebuilds it"
        );
    }

    #[test]
    fn lock_versions_are_read_by_exact_name() {
        let lock = "[[package]]\nname = \"aya-ebpf-cty\"\nversion = \"0.3.0\"\n\n\
                    [[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n";
        assert_eq!(locked_version(lock, "aya-ebpf"), Some("0.2.1"));
        assert_eq!(locked_version(lock, "aya"), None);
    }
}
