//! What an image is made of: suite, packages, kernels. Its digest names the image.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::Digest;

/// Raised when what the build itself puts into an image changes in ways its files don't show.
const BUILD_VERSION: u32 = 1;

/// What an image is made of. Two equal recipes make the same image, so its digest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The image's name in the store: `debian-12`.
    pub name: String,
    /// Debian's suite: `bookworm`.
    pub suite: String,
    /// Where packages come from: `http://deb.debian.org/debian`.
    pub mirror: String,
    /// Where security updates of `suite` come from, if any.
    pub security_mirror: Option<String>,
    /// Packages besides the essential ones.
    pub packages: Vec<String>,
    /// Kernels, the first being the default.
    pub kernels: Vec<KernelPackage>,
    /// Whether systemd can be process 1 too (`init=/sbin/init`), for boxes that boot stock.
    pub systemd: bool,
    /// Whether it boots as a cloud image does: by systemd, told by cloud-init who it is.
    pub cloud_init: bool,
}

/// A kernel of the archive, only its files being taken from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelPackage {
    /// What one asks for it by: `6.12`, or `sid`.
    pub name: String,
    /// A package, or a metapackage that depends on one: `linux-image-cloud-amd64`.
    pub package: String,
    /// The suite it comes from: `bookworm-backports`.
    pub suite: String,
}

/// Debian's own metapackage of the newest kernel without drivers for real hardware.
pub const CLOUD_KERNEL: &str = "linux-image-cloud-amd64";

/// What a node of a lab needs besides Debian's essential packages.
const NODE_PACKAGES: &[&str] = &[
    "bind9-dnsutils",
    "bpftool",
    "busybox-static",
    "ca-certificates",
    "curl",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "openssh-server",
    "openssh-sftp-server",
    "procps",
    "sudo",
    "tcpdump",
];

/// What a stock boot needs on top.
const SYSTEMD_PACKAGES: &[&str] = &[
    "dbus",
    "ifupdown",
    "isc-dhcp-client",
    "libpam-systemd",
    "systemd-sysv",
    "udev",
];

impl Recipe {
    /// The recipe of that name: `debian-12`, with the kernels `6.1` (default), `6.12` and `sid`
    /// to choose from by [`Recipe::with_kernels`]. None for an unknown name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        (name == "debian-12").then(Self::debian_12)
    }

    /// Debian 12 as a lab's nodes need it, with its own kernel.
    #[must_use]
    pub fn debian_12() -> Self {
        Self {
            name: "debian-12".to_owned(),
            suite: "bookworm".to_owned(),
            mirror: "http://deb.debian.org/debian".to_owned(),
            security_mirror: Some("http://deb.debian.org/debian-security".to_owned()),
            packages: NODE_PACKAGES
                .iter()
                .map(|&package| package.to_owned())
                .collect(),
            kernels: vec![Self::known_kernels()[0].clone()],
            systemd: false,
            cloud_init: false,
        }
    }

    /// The kernels that Debian's archive has for this suite, and what they are asked for by.
    #[must_use]
    pub fn known_kernels() -> Vec<KernelPackage> {
        [
            ("6.1", "bookworm"),
            ("6.12", "bookworm-backports"),
            ("sid", "sid"),
        ]
        .map(|(name, suite)| KernelPackage {
            name: name.to_owned(),
            package: CLOUD_KERNEL.to_owned(),
            suite: suite.to_owned(),
        })
        .into()
    }

    /// The same with these of [`Recipe::known_kernels`], the first being the default.
    ///
    /// # Errors
    /// The first name that is none of them.
    pub fn with_kernels<'a>(
        mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, String> {
        let known = Self::known_kernels();
        self.kernels = names
            .into_iter()
            .map(|name| {
                let found = known.iter().find(|kernel| kernel.name == name);
                found.cloned().ok_or_else(|| name.to_owned())
            })
            .collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The same with further packages.
    #[must_use]
    pub fn with_packages(mut self, packages: impl IntoIterator<Item = String>) -> Self {
        self.packages.extend(packages);
        self
    }

    /// All packages of the recipe, each once, in order of the alphabet.
    #[must_use]
    pub fn all_packages(&self) -> Vec<&str> {
        let stock: &[&str] = if self.systemd || self.cloud_init {
            SYSTEMD_PACKAGES
        } else {
            &[]
        };
        let cloud: &[&str] = if self.cloud_init {
            &["cloud-init"]
        } else {
            &[]
        };
        let named = self.packages.iter().map(String::as_str);
        let mut all: Vec<&str> = named.chain(stock.iter().chain(cloud).copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What of ours goes into the image, by its path in it. A cloud image is its maker's.
    pub(crate) fn files(&self) -> &'static [(&'static str, &'static str)] {
        if self.cloud_init {
            &[]
        } else {
            crate::build::IMAGE_FILES
        }
    }

    /// What names the image: of everything that decides its content but the archive's state.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        let parts = (
            BUILD_VERSION,
            &self.suite,
            &self.mirror,
            &self.security_mirror,
        );
        let rest = (
            self.all_packages(),
            &self.kernels,
            self.systemd,
            self.cloud_init,
        );
        let text = serde_json::json!([parts, rest]).to_string();
        hasher.update(text.as_bytes());
        for (path, content) in self.files() {
            hasher.update([0]);
            hasher.update(path.as_bytes());
            hasher.update([0]);
            hasher.update(content.as_bytes());
        }
        for content in crate::build::BUILD_FILES {
            hasher.update([0]);
            hasher.update(content.as_bytes());
        }
        Digest::of(hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::Recipe;

    #[test]
    fn what_changes_an_image_changes_its_digest_and_its_name_does_not() {
        let usual = Recipe::debian_12();
        let renamed = Recipe {
            name: "other".to_owned(),
            ..usual.clone()
        };
        assert_eq!(usual.digest(), renamed.digest());
        // A package that is there already.
        assert_eq!(
            usual.digest(),
            usual.clone().with_packages(["curl".to_owned()]).digest()
        );
        let kernels = usual.clone().with_kernels(["6.1", "sid"]).unwrap();
        let stock = Recipe {
            systemd: true,
            ..usual.clone()
        };
        let more = usual.clone().with_packages(["iperf3".to_owned()]);
        let all = [&usual, &kernels, &stock, &more].map(Recipe::digest);
        assert_eq!(
            all.iter().collect::<std::collections::BTreeSet<_>>().len(),
            4
        );
        assert_eq!(usual.with_kernels(["5.10"]).unwrap_err(), "5.10");
    }
}
