//! A kernel made to start fast: the uncompressed ELF inside its bzImage, which QEMU enters at
//! once (PVH), and an initramfs with just what leads to the root file system.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::cpio::Cpio;
use super::{BuildError, in_file};

/// What a machine's devices need, by the name of the module.
const DRIVERS: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "ext4",
];

/// The kernel image inside a bzImage, if it is an ELF that QEMU can enter.
///
/// Where it lies is the boot protocol's (Documentation/arch/x86/boot.rst: `setup_sects`,
/// `payload_offset`, `payload_length`).
pub(super) fn vmlinux(bzimage: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = bzimage.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if bzimage.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = usize::from(*bzimage.get(0x1f1)?);
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    let payload = bzimage.get(start..start.checked_add(number(0x24c)?)?)?;
    let elf = unpack(payload)?;
    has_pvh_entry(&elf).then_some(elf)
}

/// Unpacks by magic number; none for an unknown or broken format. A payload ends with its
/// unpacked size, which is no part of the compressed stream.
fn unpack(payload: &[u8]) -> Option<Vec<u8>> {
    let body = payload.get(..payload.len().checked_sub(4)?)?;
    let mut unpacked = Vec::new();
    if body.starts_with(&[0x02, 0x21, 0x4c, 0x18]) {
        unpack_lz4_legacy(body.get(4..)?, &mut unpacked)?;
    } else if body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(body).ok()?;
        decoder.read_to_end(&mut unpacked).ok()?;
    } else if body.starts_with(b"\xfd7zXZ\0") {
        lzma_rs::xz_decompress(&mut &*body, &mut unpacked).ok()?;
    } else {
        return None;
    }
    Some(unpacked)
}

/// The legacy frame of lz4(1) -l, as the kernel's build uses it: blocks of at most 8 MiB
/// unpacked, each after its length.
fn unpack_lz4_legacy(mut body: &[u8], unpacked: &mut Vec<u8>) -> Option<()> {
    const BLOCK: usize = 8 << 20;
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let block = lz4_flex::block::decompress(rest.get(..length)?, BLOCK).ok()?;
        unpacked.extend(block);
        body = rest.get(length..)?;
    }
    Some(())
}

/// Whether an ELF has the note XEN_ELFNOTE_PHYS32_ENTRY, the address that QEMU enters it at.
fn has_pvh_entry(elf: &[u8]) -> bool {
    const NOTE: u32 = 4;
    const PHYS32_ENTRY: u32 = 18;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(
            elf.get(at..at.checked_add(4)?)?.try_into().ok()?,
        ))
    };
    let long = |at: usize| -> Option<usize> {
        let bytes: [u8; 8] = elf.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let notes = |header: usize| -> Option<bool> {
        let (mut at, length) = (long(header + 8)?, long(header + 32)?);
        let end = at.checked_add(length)?;
        while at + 12 <= end {
            let (name, value, kind) = (word(at)?, word(at + 4)?, word(at + 8)?);
            if kind == PHYS32_ENTRY && elf.get(at + 12..at + 16)? == b"Xen\0" {
                return Some(true);
            }
            let padded = |length: u32| usize::try_from(length).ok()?.checked_next_multiple_of(4);
            at = at
                .checked_add(12)?
                .checked_add(padded(name)?)?
                .checked_add(padded(value)?)?;
        }
        Some(false)
    };
    let find = || -> Option<bool> {
        if elf.get(..5)? != b"\x7fELF\x02" {
            return None;
        }
        let (table, size, count) = (long(32)?, word(54)? & 0xffff, word(56)? & 0xffff);
        for index in 0..count {
            let header = table.checked_add(usize::try_from(index * size).ok()?)?;
            if word(header)? == NOTE && notes(header) == Some(true) {
                return Some(true);
            }
        }
        Some(false)
    };
    find() == Some(true)
}

/// The initramfs for a kernel whose modules are in `modules` (`…/lib/modules/RELEASE`).
pub(super) fn initramfs(modules: &Path, busybox: &[u8], init: &str) -> Result<Vec<u8>, BuildError> {
    let mut cpio = Cpio::default();
    for folder in ["bin", "dev", "proc", "sys", "root", "modules"] {
        cpio.directory(folder);
    }
    cpio.file("bin/busybox", busybox);
    for applet in ["insmod", "mount", "poweroff", "switch_root", "usleep"] {
        cpio.symlink(&format!("bin/{applet}"), "busybox");
    }
    cpio.file("init", init.as_bytes());
    let mut loader = Loader {
        files: module_files(modules)?,
        loaded: Vec::new(),
    };
    for driver in DRIVERS {
        loader.load(driver)?;
    }
    for (index, (name, content)) in loader.loaded.iter().enumerate() {
        cpio.file(&format!("modules/{index:02}-{name}.ko"), content);
    }
    Ok(cpio.finish())
}

/// Modules in the order they must be loaded in.
struct Loader {
    files: BTreeMap<String, PathBuf>,
    loaded: Vec<(String, Vec<u8>)>,
}

impl Loader {
    /// Loads a module after those it depends on. One that has no file is built in.
    fn load(&mut self, name: &str) -> Result<(), BuildError> {
        let Some(path) = self.files.remove(name) else {
            return Ok(());
        };
        let packed = std::fs::read(&path).map_err(in_file("read", &path))?;
        let content = unpack_module(&path, packed)?;
        for dependency in dependencies(&content) {
            self.load(&dependency)?;
        }
        self.loaded.push((name.to_owned(), content));
        Ok(())
    }
}

fn unpack_module(path: &Path, packed: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    if packed.starts_with(b"\x7fELF") {
        return Ok(packed);
    }
    let mut content = Vec::new();
    // Debian packs modules with xz since Linux 6.6.
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut content).map_err(|error| {
        BuildError::Kernel {
            path: path.to_owned(),
            reason: format!("cannot be unpacked: {error}"),
        }
    })?;
    Ok(content)
}

/// What a module's `.modinfo` says it depends on.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let found = module.windows(KEY.len()).position(|window| window == KEY);
    let value = found.and_then(|at| module.get(at + KEY.len()..));
    let value = value
        .and_then(|rest| rest.split(|&byte| byte == 0).next())
        .unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(module_name)
        .collect()
}

/// All modules below a folder, by name.
fn module_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, BuildError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(in_file("read", &folder))? {
            let path = entry.map_err(in_file("read", &folder))?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if let Some((stem, "ko" | "ko.xz")) = name.split_once('.') {
                files.insert(module_name(stem), path);
            }
        }
    }
    Ok(files)
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::{dependencies, vmlinux};

    #[test]
    fn a_modules_dependencies_are_read_from_its_modinfo() {
        let module = b"\x7fELF...\0license=GPL\0depends=failover,net-failover\0name=virtio_net\0";
        assert_eq!(dependencies(module), ["failover", "net_failover"]);
        assert!(dependencies(b"\0depends=\0name=virtio\0").is_empty());
        assert!(dependencies(b"no section").is_empty());
    }

    #[test]
    fn what_is_no_kernel_has_none_inside() {
        assert_eq!(vmlinux(b""), None);
        assert_eq!(vmlinux(&[0; 4096]), None);
        let mut header = vec![0; 0x260];
        header[0x202..0x206].copy_from_slice(b"HdrS");
        header[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(vmlinux(&header), None);
    }
}
