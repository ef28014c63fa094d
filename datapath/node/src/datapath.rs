//! The kernel's half of a node: eBPF programs, their maps, and where they are
//! attached. Everything is pinned in the node's bpffs, so that it outlives the
//! agent; an agent that starts again finds its maps there and swaps the programs
//! of the links in place.

mod attach;
mod calls;
mod clsact;
mod contents;
mod removal;
mod service_tables;
mod sock;
mod tables;
mod tcx;
mod verified;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{MapError, MapInfo};
use aya::pin::PinError;
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfError};
use lab_datapath_common::{
    Address, Tuple, arp, conntrack, endpoint, fragment, maps, nat, programs, service, settings,
};
use lab_model::node_state::{DatapathSettings, ServiceHandling};

pub(crate) use attach::Hook;
pub(crate) use contents::Contents;
pub(crate) use removal::remove;
pub(crate) use service_tables::ServiceTables;
pub(crate) use tables::{Tables, delete, entries};

use crate::api::AttachMode;
use crate::cgroup::Cgroup;
use crate::ebpf_loader::without_kernel_btf;
use crate::netlink::NetlinkError;
use crate::verifier::{chain, refusal, verify};
use attach::Attachments;
use clsact::Filters;
use sock::SocketPrograms;
use tcx::Links;
use verified::{Verifiable, Verified};

/// Built from `datapath/ebpf` by `cargo xtask ebpf`.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/datapath.bpf.o");

/// Folder of the pins in the node's bpffs; Cilium's name for it.
const FOLDER: &str = "cilium";
/// Folder of the pinned links in [`FOLDER`].
const LINKS: &str = "links";
/// Folder of the pinned links of socket programs in [`FOLDER`].
const SOCKET_LINKS: &str = "sockets";
/// Folder of the record of clsact qdiscs in [`FOLDER`].
const QDISCS: &str = "qdiscs";

/// Why the datapath does not match.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// A file cannot be used: the object, or a pin.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, such as `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The object, or one of its maps, was refused.
    #[error("load the datapath: {}", chain(.0))]
    Load(#[from] EbpfError),
    /// The object lacks a program or a map: it is another one's.
    #[error("find {0} in the datapath object; rebuild it with `cargo xtask ebpf`")]
    Missing(&'static str),
    /// The verifier refused a program, or the kernel has no such programs.
    #[error("load program {program}: {}", refusal(source))]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// A program could not be attached.
    #[error("attach {program} to {interface}: {reason}")]
    Attach {
        /// Its name.
        program: &'static str,
        /// The interface.
        interface: String,
        /// Why.
        reason: String,
    },
    /// The filters of an interface cannot be listed or removed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A map cannot be read or written.
    #[error("use map {map}: {}", chain(source))]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: MapError,
    },
}

/// Sockets and clients of services that a node of a lab remembers. Cilium has 262 144
/// and 65 536, which a lab's nodes, on one kernel, would all reserve.
const SOCKETS: u32 = 16_384;

/// Programs that others call.
const CALLS: u32 = programs::CALLS.len() as u32;

/// Sizes of the maps whose size can be chosen, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    nat: u32,
    pub(crate) ct_tcp: u32,
    pub(crate) ct_any: u32,
    /// Programs that others call, at least.
    pub(crate) calls: u32,
}

impl Sizes {
    pub(crate) fn of(settings: &DatapathSettings) -> Self {
        let (nat, ct_tcp, ct_any) = (settings.nat_max, settings.ct_tcp_max, settings.ct_any_max);
        Self {
            nat,
            ct_tcp,
            ct_any,
            calls: CALLS,
        }
    }

    fn of_map(self, name: &str) -> Option<u32> {
        match name {
            maps::SNAT_V4_EXTERNAL => Some(self.nat),
            maps::CT4_GLOBAL => Some(self.ct_tcp),
            maps::CT_ANY4_GLOBAL => Some(self.ct_any),
            maps::CALLS => Some(self.calls),
            maps::LB4_REVERSE_SK | maps::LB4_AFFINITY => Some(SOCKETS),
            _ => None,
        }
    }
}

/// The programs, loaded and verified, and the maps they use.
pub(crate) struct Datapath {
    ebpf: Ebpf,
    sizes: Sizes,
    has_tunnel: bool,
    attachments: Attachments,
    bpffs: PathBuf,
    sockets: Option<SocketPrograms>,
    pub(crate) tables: Tables,
    pub(crate) services: ServiceTables,
}

impl Datapath {
    /// Loads the programs, those of a tunnel's device if `has_tunnel`, reusing the maps pinned in
    /// `bpffs` that fit, with what is in them. A map of another size or layout is made anew. Programs
    /// will be attached as `mode` says, in the calling thread's network namespace.
    pub(crate) fn load(
        object: Option<&Path>,
        bpffs: &Path,
        sizes: Sizes,
        mode: AttachMode,
        has_tunnel: bool,
    ) -> Result<Self, DatapathError> {
        let folder = bpffs.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|source| DatapathError::File {
            what: "make",
            path: folder.clone(),
            source,
        })?;
        let from_file;
        let object = match object {
            Some(path) => {
                from_file = fs::read(path).map_err(|source| DatapathError::File {
                    what: "read",
                    path: path.to_owned(),
                    source,
                })?;
                &from_file[..]
            }
            None => OBJECT,
        };
        for name in maps::ALL {
            remove_unless_fit(&folder.join(name), name, sizes)?;
        }
        if !maps::ALL.iter().all(|name| folder.join(name).exists()) {
            Verified::forget_all(bpffs)?;
        }
        let mut ebpf = load_object(object, &folder, sizes)?;
        let verified = Verified::of(bpffs, "datapath", object)?;
        let hooks = Hook::ALL.into_iter();
        let hooks = hooks.filter(|hook| has_tunnel || !Hook::OVERLAY.contains(hook));
        for program in hooks.map(Hook::program).chain(programs::CALLED) {
            verified.provide(program, classifier(&mut ebpf, program)?)?;
        }
        calls::fill(&mut ebpf)?;
        let tables = Tables::take(&mut ebpf, sizes)?;
        let services = ServiceTables::take(&mut ebpf)?;
        let attachments = match mode {
            AttachMode::Tcx => Attachments::Tcx(Links::open(folder.join(LINKS))?),
            AttachMode::Clsact => Attachments::Clsact(Filters::open(folder.join(QDISCS))?),
        };
        Ok(Self {
            ebpf,
            sizes,
            has_tunnel,
            attachments,
            bpffs: bpffs.to_owned(),
            sockets: None,
            tables,
            services,
        })
    }

    /// Has the kernel verify all programs, with maps of the usual sizes, and pins both for an
    /// agent to come.
    pub(crate) fn verify_ahead(bpffs: &Path) -> Result<(), DatapathError> {
        let sizes = Sizes::of(&DatapathSettings::default());
        let mut datapath = Self::load(None, bpffs, sizes, AttachMode::of_kernel(), true)?;
        datapath.socket_programs().map(drop)
    }

    /// Puts the socket programs on `cgroup`, or takes them off when kube-proxy
    /// translates.
    pub(crate) fn attach_sockets(
        &mut self,
        handling: ServiceHandling,
        cgroup: &Cgroup,
    ) -> Result<(), DatapathError> {
        if handling == ServiceHandling::KubeProxy {
            self.sockets = None;
            return sock::detach(&self.bpffs.join(FOLDER).join(SOCKET_LINKS));
        }
        self.socket_programs()?.attach(cgroup)
    }

    fn socket_programs(&mut self) -> Result<&mut SocketPrograms, DatapathError> {
        match &mut self.sockets {
            Some(loaded) => Ok(loaded),
            slot => {
                let folder = self.bpffs.join(FOLDER);
                let ebpf = load_object(sock::OBJECT, &folder, self.sizes)?;
                let verified = Verified::of(&self.bpffs, "sock", sock::OBJECT)?;
                let links = folder.join(SOCKET_LINKS);
                Ok(slot.insert(SocketPrograms::load(ebpf, &verified, links)?))
            }
        }
    }

    /// Names of the programs that should be on the node's sockets and are not.
    pub(crate) fn missing_from_sockets(&mut self) -> Vec<&'static str> {
        self.sockets
            .as_mut()
            .map(SocketPrograms::missing)
            .unwrap_or_default()
    }

    /// The pin of `cilium_l2_responder_v4` in `bpffs`, which the announcer opens for itself.
    pub(crate) fn l2_responder(bpffs: &Path) -> PathBuf {
        bpffs.join(FOLDER).join(maps::L2_RESPONDER_V4)
    }

    /// Whether the maps have these sizes, and the programs of a tunnel's device are there if they
    /// are asked for.
    pub(crate) fn has(&self, sizes: Sizes, has_tunnel: bool) -> bool {
        self.sizes == sizes && (self.has_tunnel || !has_tunnel)
    }

    /// How programs are attached here.
    pub(crate) fn mode(&self) -> AttachMode {
        match self.attachments {
            Attachments::Tcx(_) => AttachMode::Tcx,
            Attachments::Clsact(_) => AttachMode::Clsact,
        }
    }
}

fn load_object(object: &[u8], folder: &Path, sizes: Sizes) -> Result<Ebpf, DatapathError> {
    let mut loader = without_kernel_btf();
    for name in maps::ALL {
        loader.map_pin_path(name, folder.join(name));
        if let Some(entries) = sizes.of_map(name) {
            loader.map_max_entries(name, entries);
        }
    }
    Ok(loader.load(object)?)
}

impl Verifiable for SchedClassifier {
    fn take_over(&mut self, pin: &Path) -> Result<(), ProgramError> {
        *self = Self::from_pin(pin)?;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), ProgramError> {
        verify(|| self.load())
    }

    fn pin(&mut self, pin: &Path) -> Result<(), PinError> {
        Self::pin(self, pin)
    }
}

fn classifier<'e>(
    ebpf: &'e mut Ebpf,
    program: &'static str,
) -> Result<&'e mut SchedClassifier, DatapathError> {
    ebpf.program_mut(program)
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing(program))
}

/// Removes a pinned map that the programs could not use: the loader takes over
/// whatever is pinned under the name.
fn remove_unless_fit(path: &Path, name: &'static str, sizes: Sizes) -> Result<(), DatapathError> {
    if !path.exists() {
        return Ok(());
    }
    let info =
        MapInfo::from_pin(path).map_err(|source| DatapathError::Map { map: name, source })?;
    let layout = layout(name)
        .is_none_or(|(key, value)| (info.key_size(), info.value_size()) == (key, value));
    if name == maps::CALLS {
        if info.max_entries() < sizes.calls {
            calls::set_aside(path, info.id())?;
        }
        return Ok(());
    }
    let size = sizes
        .of_map(name)
        .is_none_or(|entries| info.max_entries() == entries);
    if layout && size {
        return Ok(());
    }
    fs::remove_file(path).map_err(|source| DatapathError::File {
        what: "remove",
        path: path.to_owned(),
        source,
    })
}

/// Bytes of a map's keys and values; `None` for a ring buffer, which has neither.
fn layout(name: &str) -> Option<(u32, u32)> {
    const PREFIX: usize = size_of::<u32>() + size_of::<Address>();
    let (key, value) = match name {
        maps::CALLS => (size_of::<u32>(), size_of::<u32>()),
        maps::RUNTIME_CONFIG => (size_of::<u32>(), size_of::<settings::Settings>()),
        maps::DEVICES => (size_of::<u32>(), size_of::<settings::Device>()),
        maps::LXC => (size_of::<Address>(), size_of::<endpoint::Endpoint>()),
        maps::IPCACHE => (PREFIX, size_of::<endpoint::IpcacheEntry>()),
        maps::IPMASQ_V4 => (PREFIX, size_of::<u8>()),
        maps::CT4_GLOBAL | maps::CT_ANY4_GLOBAL => {
            (size_of::<Tuple>(), size_of::<conntrack::CtEntry>())
        }
        maps::SNAT_V4_EXTERNAL => (size_of::<Tuple>(), size_of::<nat::NatEntry>()),
        maps::SNAT_V4_ALLOC_RETRIES => (size_of::<u32>(), size_of::<u32>()),
        maps::IPV4_FRAG_DATAGRAMS => (
            size_of::<fragment::FragmentKey>(),
            size_of::<fragment::Ports>(),
        ),
        maps::L2_RESPONDER_V4 => (
            size_of::<arp::L2ResponderKey>(),
            size_of::<arp::L2Responder>(),
        ),
        maps::METRICS => (
            size_of::<maps::MetricsKey>(),
            size_of::<maps::MetricsValue>(),
        ),
        maps::LB4_SERVICES => (
            size_of::<service::ServiceKey>(),
            size_of::<service::Service>(),
        ),
        maps::LB4_BACKENDS => (size_of::<u32>(), size_of::<service::Backend>()),
        maps::LB4_SOURCE_RANGE => (
            size_of::<u32>() + size_of::<service::SourceRangeKey>(),
            size_of::<u8>(),
        ),
        maps::LB4_REVERSE_NAT => (size_of::<u16>(), size_of::<service::ReverseNat>()),
        maps::LB4_REVERSE_SK => (
            size_of::<service::ReverseSkKey>(),
            size_of::<service::ReverseSk>(),
        ),
        maps::LB4_AFFINITY => (
            size_of::<service::AffinityKey>(),
            size_of::<service::Affinity>(),
        ),
        maps::LB_AFFINITY_MATCH => (size_of::<service::AffinityMatch>(), size_of::<u8>()),
        maps::SKIP_LB4 => (size_of::<service::SkipKey>(), size_of::<u8>()),
        maps::LB_CONFIG => (size_of::<u32>(), size_of::<service::Config>()),
        maps::EVENTS_LOST => (size_of::<u32>(), size_of::<u64>()),
        _ => return None,
    };
    u32::try_from(key).ok().zip(u32::try_from(value).ok())
}
