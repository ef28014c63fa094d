//! mmdebstrap: the tree of packages, and the disk made from it by its last hook.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use super::BuildError;
use super::archive::sources;
use super::command::Program;
use crate::recipe::Recipe;

const MMDEBSTRAP: Program = Program {
    name: "mmdebstrap",
    package: "mmdebstrap",
};
const MKE2FS: Program = Program {
    name: "mke2fs",
    package: "e2fsprogs",
};
const FAKECHROOT: Program = Program {
    name: "fakechroot",
    package: "fakechroot",
};
const FAKEROOT: Program = Program {
    name: "fakeroot",
    package: "fakeroot",
};

/// Opens the disk as descriptor 9, which the hook writes to, and runs the rest.
const WITH_DISK: &str = "exec 9<>\"$0\"; exec \"$@\"";

/// Kept out of the image: nobody reads them there.
const LEFT_OUT: &[&str] = &[
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
];

/// Makes the file system of `recipe` on `disk`; `scratch` has the hook and what it reads.
pub(super) fn make_disk(
    recipe: &Recipe,
    disk: &Path,
    scratch: &Path,
    interrupt: &AtomicBool,
) -> Result<(), BuildError> {
    MMDEBSTRAP.require()?;
    MKE2FS.require()?;
    let mut mode = "--mode=unshare";
    if !may_map_users() {
        FAKECHROOT.require()?;
        FAKEROOT.require()?;
        mode = "--mode=fakechroot";
    }
    let inner = MMDEBSTRAP.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", WITH_DISK])
        .arg(disk)
        .arg(inner.get_program())
        .args(inner.get_args());
    command.envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    command.args([mode, "--variant=minbase", "--format=null", "--skip=cleanup"]);
    command.arg(format!("--include={}", recipe.all_packages().join(",")));
    for path in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg("--aptopt=Acquire::Languages \"none\"");
    // A hook that is an executable file is run directly, without a shell.
    command.arg(format!(
        "--customize-hook={}",
        scratch.join("build-hook").display()
    ));
    command
        .args([&recipe.suite, "/dev/null"])
        .args(sources(recipe, &recipe.suite))
        .stdin(Stdio::null());
    MMDEBSTRAP
        .run("install packages", interrupt, command)
        .map(drop)
}

/// Whether a user namespace with a range of users of its own can be made: newuidmap(1), a line
/// in /etc/subuid, and a kernel that lets this user.
fn may_map_users() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--map-auto", "--mount", "true"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
