//! Images from Debian's packages, without root and without mounting anything.
//!
//! Kernels come first: their packages are only unpacked, so that a newer suite's kernel brings
//! nothing else of it, and no initramfs is made that nobody boots. Then mmdebstrap makes the
//! tree, and its last hook writes the disk from it in one pass.

mod archive;
mod bootstrap;
mod command;
mod cpio;
mod error;
mod kernel;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::recipe::{KernelPackage, Recipe};
use crate::store::{Boot, Document, Image, Kernel, Store, Unfinished};

pub use error::BuildError;

pub(crate) use command::Program;

/// What goes into every image, by its path in it.
pub(crate) const IMAGE_FILES: &[(&str, &str)] = &[
    (
        "usr/lib/labctl/init",
        include_str!("../../../templates/image/init"),
    ),
    (
        "usr/lib/labctl/reseed",
        include_str!("../../../templates/image/reseed"),
    ),
    (
        "etc/ssh/sshd_config",
        include_str!("../../../templates/image/sshd_config"),
    ),
];

/// What else decides an image's content.
pub(crate) const BUILD_FILES: &[&str] = &[BUILD_HOOK, INITRAMFS_INIT];

const BUILD_HOOK: &str = include_str!("../../../templates/image/build-hook");
const INITRAMFS_INIT: &str = include_str!("../../../templates/image/initramfs-init");

pub(crate) fn in_file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    move |source| BuildError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// What a build is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds the same image; its end is waited for.
    Waiting,
    /// A step began: `kernel 6.12`, `packages`.
    Step(String),
}

/// Whether an image had to be built.
#[derive(Clone, Debug)]
pub enum Built {
    /// It was there.
    Already(Image),
    /// It was made now.
    New(Image),
}

impl Built {
    /// The image.
    #[must_use]
    pub fn into_image(self) -> Image {
        match self {
            Self::Already(image) | Self::New(image) => image,
        }
    }
}

/// How to build.
#[derive(Debug, Default, Clone, Copy)]
pub struct Options {
    /// Build anew though the image is there (the archive has moved on). Refused while a disk is
    /// based on it.
    pub rebuild: bool,
}

impl Store {
    /// Builds the image of a recipe, or says that it is there. An interrupted or failed build
    /// leaves nothing.
    ///
    /// # Errors
    /// When a program fails or is missing, the store cannot be written, or `interrupt` is set.
    pub fn build(
        &self,
        recipe: &Recipe,
        options: Options,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, BuildError> {
        let digest = recipe.digest();
        let lock = self.build_lock(&digest, interrupt, &mut || progress(Progress::Waiting))?;
        let _lock = lock.ok_or(BuildError::Interrupted)?;
        if let Some(image) = self.find(&digest)? {
            if !options.rebuild {
                return Ok(Built::Already(self.name(image, &recipe.name)?));
            }
            image.refuse_if_used()?;
        }
        let unfinished = self.begin(&digest)?;
        let scratch = scratch(recipe, &unfinished)?;
        let work = Work {
            recipe,
            unfinished: &unfinished,
            scratch: scratch.path(),
            interrupt,
        };
        let kernels = work.kernels(progress)?;
        progress(Progress::Step("packages".to_owned()));
        bootstrap::make_disk(recipe, &work.disk()?, scratch.path(), interrupt)?;
        protect(&work.disk_path())?;
        drop(scratch);
        let _moved_on = fs::remove_file(unfinished.scratch_link());
        let name = recipe.name.clone();
        let document = Document {
            name,
            digest,
            boot: if recipe.cloud_init {
                Boot::BootLoader
            } else {
                Boot::Kernel
            },
            kernels,
            made_at: now(),
        };
        Ok(Built::New(self.finish(&unfinished, document)?))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Makes a file that machines' disks are based on unwritable.
pub(crate) fn protect(path: &Path) -> Result<(), BuildError> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).map_err(in_file("protect", path))
}

/// A folder for what the hook reads. It lies under the folder for temporary files, since the
/// hook's user namespace may not map the user who owns the store.
fn scratch(recipe: &Recipe, unfinished: &Unfinished) -> Result<tempfile::TempDir, BuildError> {
    let fault = |error| BuildError::File {
        what: "create",
        path: std::env::temp_dir(),
        source: error,
    };
    let readable = fs::Permissions::from_mode(0o755);
    let scratch = tempfile::Builder::new()
        .prefix("labctl-build-")
        .permissions(readable)
        .tempdir();
    let scratch = scratch.map_err(fault)?;
    let link = unfinished.scratch_link();
    std::os::unix::fs::symlink(scratch.path(), &link).map_err(in_file("create", &link))?;
    let tree = scratch.path().join("files");
    fs::create_dir(&tree).map_err(in_file("create", &tree))?;
    for (path, content) in recipe.files() {
        let path = tree.join(path);
        write(
            &path,
            content.as_bytes(),
            if content.starts_with("#!") {
                0o755
            } else {
                0o644
            },
        )?;
    }
    write(
        &scratch.path().join("build-hook"),
        BUILD_HOOK.as_bytes(),
        0o755,
    )?;
    let modules = scratch.path().join("modules");
    fs::create_dir(&modules).map_err(in_file("create", &modules))?;
    Ok(scratch)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), BuildError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(in_file("create", folder))?;
    }
    fs::write(path, content).map_err(in_file("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(in_file("protect", path))
}

/// One build under way.
struct Work<'a> {
    recipe: &'a Recipe,
    unfinished: &'a Unfinished,
    scratch: &'a Path,
    interrupt: &'a AtomicBool,
}

impl Work<'_> {
    fn disk_path(&self) -> PathBuf {
        self.unfinished.folder().join("disk.raw")
    }

    /// The empty disk. Anyone may write to it who has it open: the hook's user is another, and
    /// nobody else passes the store's folder.
    fn disk(&self) -> Result<PathBuf, BuildError> {
        const SIZE: u64 = 4 << 30;
        let path = self.disk_path();
        let file = fs::File::create(&path).map_err(in_file("create", &path))?;
        file.set_len(SIZE).map_err(in_file("size", &path))?;
        let open = fs::Permissions::from_mode(0o666);
        file.set_permissions(open)
            .map_err(in_file("protect", &path))?;
        Ok(path)
    }

    fn kernels(&self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Kernel>, BuildError> {
        let busybox = self.busybox()?;
        let mut kernels = Vec::new();
        for package in &self.recipe.kernels {
            progress(Progress::Step(format!("kernel {}", package.name)));
            kernels.push(self.kernel(package, &busybox)?);
        }
        Ok(kernels)
    }

    fn archive(&self, suite: &str) -> Result<archive::Archive<'_>, BuildError> {
        let folder = self.unfinished.folder().join("apt").join(suite);
        let sources = archive::sources(self.recipe, suite);
        archive::Archive::open(folder, &sources, suite, self.interrupt)
    }

    fn busybox(&self) -> Result<Vec<u8>, BuildError> {
        let tree = self.unfinished.folder().join("busybox");
        self.archive(&self.recipe.suite)?
            .unpack("busybox-static", &tree)?;
        // In /usr/bin since Debian 13.
        let paths = [tree.join("usr/bin/busybox"), tree.join("bin/busybox")];
        let path = paths
            .iter()
            .find(|path| path.is_file())
            .unwrap_or(&paths[0]);
        let bytes = fs::read(path).map_err(in_file("read", path))?;
        fs::remove_dir_all(&tree).map_err(in_file("remove", &tree))?;
        Ok(bytes)
    }

    /// Unpacks a kernel's package: what boots it goes to the image's folder, its modules to the
    /// scratch folder.
    fn kernel(&self, package: &KernelPackage, busybox: &[u8]) -> Result<Kernel, BuildError> {
        let folder = self.unfinished.folder();
        let tree = folder.join("package");
        self.archive(&package.suite)?
            .unpack_kernel(&package.package, &tree)?;
        let apt = folder.join("apt");
        fs::remove_dir_all(&apt).map_err(in_file("remove", &apt))?;
        let (release, modules) = modules(&tree)?;
        let bzimage = boot_image(&tree, &release, &modules)?;
        let kernel = folder.join("kernels").join(&release);
        match kernel::vmlinux(&bzimage) {
            Some(elf) => write(&kernel.join("vmlinux"), &elf, 0o600)?,
            None => write(&kernel.join("vmlinuz"), &bzimage, 0o600)?,
        }
        let initramfs = kernel::initramfs(&modules, busybox, INITRAMFS_INIT)?;
        write(&kernel.join("initramfs"), &initramfs, 0o600)?;
        move_folder(
            &modules,
            &self.scratch.join("modules").join(&release),
            self.interrupt,
        )?;
        fs::remove_dir_all(&tree).map_err(in_file("remove", &tree))?;
        Ok(Kernel {
            name: package.name.clone(),
            release,
        })
    }
}

/// The release of an unpacked kernel, and the folder of its modules.
fn modules(tree: &Path) -> Result<(String, PathBuf), BuildError> {
    // In /usr/lib since Debian 13.
    for folder in ["usr/lib/modules", "lib/modules"].map(|path| tree.join(path)) {
        let Ok(mut entries) = fs::read_dir(&folder) else {
            continue;
        };
        if let Some(entry) = entries.next() {
            let path = entry.map_err(in_file("read", &folder))?.path();
            if let Some(release) = path.file_name().and_then(|name| name.to_str()) {
                return Ok((release.to_owned(), path));
            }
        }
    }
    let reason = "the package has no modules".to_owned();
    Err(BuildError::Kernel {
        path: tree.to_owned(),
        reason,
    })
}

/// Takes the bzImage out of an unpacked kernel: it is not for the image's disk.
fn boot_image(tree: &Path, release: &str, modules: &Path) -> Result<Vec<u8>, BuildError> {
    // Beside the modules since Linux 6.17 in Debian.
    let paths = [
        tree.join(format!("boot/vmlinuz-{release}")),
        modules.join("vmlinuz"),
    ];
    let path = paths
        .iter()
        .find(|path| path.is_file())
        .unwrap_or(&paths[0]);
    let bytes = fs::read(path).map_err(in_file("read", path))?;
    fs::remove_file(path).map_err(in_file("remove", path))?;
    Ok(bytes)
}

/// Moves a folder, to another file system if need be.
fn move_folder(from: &Path, to: &Path, interrupt: &AtomicBool) -> Result<(), BuildError> {
    const MV: Program = Program {
        name: "mv",
        package: "coreutils",
    };
    let arguments = ["--".as_ref(), from.as_os_str(), to.as_os_str()];
    MV.output("move a kernel's modules", interrupt, arguments)
        .map(drop)
}
