//! Single packages of Debian's archive, fetched and unpacked by apt and dpkg without root, and
//! without the host's or the image's own package lists being touched.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::command::Program;
use super::{BuildError, in_file};
use crate::recipe::Recipe;

const APT_GET: Program = Program {
    name: "apt-get",
    package: "apt",
};
const APT_CACHE: Program = Program {
    name: "apt-cache",
    package: "apt",
};
const DPKG_DEB: Program = Program {
    name: "dpkg-deb",
    package: "dpkg",
};

/// Debian's keys, where its package debian-archive-keyring puts them, on Ubuntu too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A recipe's sources of a suite: of its own, with updates.
pub(super) fn sources(recipe: &Recipe, suite: &str) -> Vec<String> {
    let line =
        |mirror: &str, suite: &str| format!("deb [signed-by={KEYRING}] {mirror} {suite} main");
    let mut lines = vec![line(&recipe.mirror, suite)];
    if let Some(security) = recipe
        .security_mirror
        .as_ref()
        .filter(|_| suite == recipe.suite)
    {
        lines.push(line(&recipe.mirror, &format!("{suite}-updates")));
        lines.push(line(security, &format!("{suite}-security")));
    }
    lines
}

/// One suite of the archive, its lists in a folder of its own.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    folder: PathBuf,
    suite: String,
    interrupt: &'a AtomicBool,
}

impl<'a> Archive<'a> {
    /// Fetches the suite's lists from these sources (sources.list(5)) into `folder`.
    pub(super) fn open(
        folder: PathBuf,
        sources: &[String],
        suite: &str,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, BuildError> {
        for part in ["state/lists/partial", "cache/archives/partial", "debs"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(in_file("create", &path))?;
        }
        let sources = format!("{}\n", sources.join("\n"));
        for (name, text) in [("sources.list", sources.as_str()), ("status", "")] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(in_file("write", &path))?;
        }
        let archive = Self {
            folder,
            suite: suite.to_owned(),
            interrupt,
        };
        archive.apt(APT_GET, &["update"])?;
        Ok(archive)
    }

    /// Unpacks a package, and of what it depends on the parts of Linux in the same version: a
    /// metapackage leads to the kernel, and that (since Linux 6.17) to its modules.
    pub(super) fn unpack_kernel(&self, package: &str, into: &Path) -> Result<(), BuildError> {
        let mut wanted = vec![package.to_owned()];
        let mut next = 0;
        while let Some(name) = wanted.get(next) {
            let shown = self.apt(APT_CACHE, &["show", "--no-all-versions", name])?;
            let parts = linux_parts(&shown);
            for part in parts {
                if !wanted.contains(&part) {
                    wanted.push(part);
                }
            }
            next += 1;
        }
        wanted.iter().try_for_each(|name| self.unpack(name, into))
    }

    /// Unpacks one package.
    pub(super) fn unpack(&self, package: &str, into: &Path) -> Result<(), BuildError> {
        let debs = self.folder.join("debs").join(package);
        std::fs::create_dir_all(&debs).map_err(in_file("create", &debs))?;
        let mut command = APT_GET.require()?.command();
        command
            .args(self.options())
            .args(["download", package])
            .current_dir(&debs);
        let what = format!("download {package} from {}", self.suite);
        APT_GET.run(&what, self.interrupt, command)?;
        let entries = std::fs::read_dir(&debs).map_err(in_file("read", &debs))?;
        for entry in entries {
            let deb = entry.map_err(in_file("read", &debs))?.path();
            let arguments = ["--extract".as_ref(), deb.as_os_str(), into.as_os_str()];
            DPKG_DEB.output(&format!("unpack {package}"), self.interrupt, arguments)?;
        }
        Ok(())
    }

    fn apt(&self, program: Program, arguments: &[&str]) -> Result<String, BuildError> {
        let what = format!("read the lists of {}", self.suite);
        let mut all = self.options();
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let output = program.output(&what, self.interrupt, all)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn options(&self) -> Vec<String> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut options = vec!["--quiet=2".to_owned()];
        for (key, value) in [
            ("Dir::Etc::SourceList", at("sources.list")),
            ("Dir::Etc::SourceParts", "-".to_owned()),
            ("Dir::Etc::Preferences", "-".to_owned()),
            ("Dir::Etc::PreferencesParts", "-".to_owned()),
            ("Dir::State", at("state")),
            ("Dir::State::Status", at("status")),
            ("Dir::Cache", at("cache")),
            // As root, apt would download as _apt, which cannot write to the user's folder.
            ("APT::Sandbox::User", String::new()),
            ("Acquire::Languages", "none".to_owned()),
        ] {
            options.extend(["-o".to_owned(), format!("{key}={value}")]);
        }
        options
    }
}

/// The packages in `Depends:` that are parts of Linux in exactly one version.
fn linux_parts(shown: &str) -> Vec<String> {
    let depends = shown
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))
        .unwrap_or("");
    depends
        .split(", ")
        .filter_map(|dependency| dependency.split_once(' '))
        .filter(|(name, version)| name.starts_with("linux-") && version.starts_with("(= "))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::linux_parts;

    #[test]
    fn the_parts_of_linux_are_followed_and_nothing_else() {
        let shown = "Package: linux-image-7.2.13+deb14-cloud-amd64\n\
            Depends: dracut | initramfs-tools (>= 0.120+deb8u2), kmod, linux-base, \
            linux-binary-7.2.13+deb14-cloud-amd64 (= 7.2.13-1), \
            linux-modules-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)\n";
        let parts = linux_parts(shown);
        assert_eq!(
            parts,
            [
                "linux-binary-7.2.13+deb14-cloud-amd64",
                "linux-modules-7.2.13+deb14-cloud-amd64"
            ]
        );
        assert!(linux_parts("Package: busybox-static\n").is_empty());
    }
}
