//! What labs need of a host, found out by doing it, in namespaces that end with the
//! question.

mod kernel;
mod machines;

use std::path::PathBuf;

use serde::Serialize;

/// What was found out about one need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum Finding {
    /// It is there.
    Ok {
        /// Which one, or where.
        detail: String,
    },
    /// Labs work without it, but not as they would with it.
    Degraded {
        /// What is used instead.
        detail: String,
    },
    /// No lab works without it.
    Missing {
        /// What the host answered.
        detail: String,
    },
}

impl Finding {
    /// The word in listings.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Degraded { .. } => "degraded",
            Self::Missing { .. } => "missing",
        }
    }

    /// Which one, what instead, or what the host answered.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Ok { detail } | Self::Degraded { detail } | Self::Missing { detail } => detail,
        }
    }
}

/// Something that labs need, and whether it is there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Need {
    /// What.
    pub(crate) name: &'static str,
    /// What labs do with it.
    pub(crate) why: &'static str,
    /// The command that mends it.
    pub(crate) mend: &'static str,
    /// Whether it is there.
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// Looks at everything. Without root only what needs none can be tried; the rest is
/// left out, since the first line says what to do.
pub(crate) fn examine() -> Vec<Need> {
    let root = root();
    let is_root = matches!(root.finding, Finding::Ok { .. });
    let mut needs = vec![root];
    if is_root {
        needs.extend(kernel::examine());
    }
    needs.extend(TOOLS.iter().map(Tool::examine));
    needs.extend(machines::examine());
    needs
}

fn root() -> Need {
    let user = nix::unistd::geteuid();
    let detail = format!("running as uid {user}");
    let finding = if user.is_root() {
        Finding::Ok { detail }
    } else {
        Finding::Degraded { detail }
    };
    Need {
        name: "root",
        why: "labs in namespaces; those on machines (--provider qemu) need none",
        mend: "sudo labctl doctor",
        finding,
    }
}

/// A program that has to be on PATH.
struct Tool {
    name: &'static str,
    why: &'static str,
    mend: &'static str,
}

const TOOLS: [Tool; 4] = [
    Tool {
        name: "tcpdump",
        why: "checks capture packets with it",
        mend: "apt-get install -y tcpdump",
    },
    Tool {
        name: "ping",
        why: "checks ping with it",
        mend: "apt-get install -y iputils-ping",
    },
    Tool {
        name: "curl",
        why: "checks speak HTTP with it",
        mend: "apt-get install -y curl",
    },
    Tool {
        name: "ip",
        why: "checks read and change routes and links with it",
        mend: "apt-get install -y iproute2",
    },
];

impl Tool {
    fn examine(&self) -> Need {
        let finding = match find(self.name) {
            Some(path) => Finding::Ok {
                detail: path.display().to_string(),
            },
            None => Finding::Missing {
                detail: "not on PATH".to_owned(),
            },
        };
        Need {
            name: self.name,
            why: self.why,
            mend: self.mend,
            finding,
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
