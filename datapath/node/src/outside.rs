//! The outside's side of the links to nodes: stateless 1:1 NAT in eBPF.
//!
//! Behind VirtualBox's NAT every node is 10.0.2.15, and so it is here. A program
//! at the world's end of each link gives the node an address of its own, so that
//! the world can tell the nodes apart and answer the right one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aya::maps::{HashMap, MapData, MapError};
use aya::programs::tc::{SchedClassifierLinkId, TcError, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError};
use lab_datapath_common::{Address, maps, programs};
use lab_model::plan::OutsideLink;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;

use crate::ebpf_loader::without_kernel_btf;
use crate::verifier::verify;

/// Built from `datapath/ebpf/src/outside.rs` by `cargo xtask ebpf`.
const OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/outside.bpf.o");

/// Programs of the object and where each is attached.
const PROGRAMS: [(&str, TcAttachType); 2] = [
    (programs::OUTSIDE_IN, TcAttachType::Ingress),
    (programs::OUTSIDE_OUT, TcAttachType::Egress),
];

/// Why the outside does not translate.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The object was refused as a whole.
    #[error("load the outside's programs: {0}")]
    Load(#[from] EbpfError),
    /// The object lacks something, or the kernel's verifier refused a program.
    #[error("load program {program} of the outside: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What is wrong with it.
        source: ProgramError,
    },
    /// The object has no such map or program: it is not the outside's.
    #[error("find {0} in the outside's object; rebuild it with `cargo xtask ebpf`")]
    Missing(&'static str),
    /// There is no such interface in this network namespace.
    #[error("find interface {interface} of the outside: {errno}")]
    Interface {
        /// Its name.
        interface: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// A program could not be attached.
    #[error("attach {program} to {interface}: {source}")]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: ProgramError,
    },
    /// The address of an interface could not be set or removed.
    #[error("change the address of {interface} in the outside's map: {source}")]
    Map {
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        source: MapError,
    },
}

/// The loaded programs and the links they translate. Dropping it detaches them.
pub struct Outside {
    ebpf: Ebpf,
    links: BTreeMap<String, Attached>,
}

/// A link that is translated.
struct Attached {
    index: u32,
    address: Ipv4Addr,
    programs: Vec<(&'static str, SchedClassifierLinkId)>,
}

impl Outside {
    /// Loads the programs, for no links yet.
    ///
    /// # Errors
    /// When the kernel refuses them.
    pub fn load() -> Result<Self, OutsideError> {
        let mut ebpf = without_kernel_btf().load(OBJECT)?;
        for (program, _) in PROGRAMS {
            let loading = classifier(&mut ebpf, program)?;
            verify(|| loading.load())
                .map_err(|source| OutsideError::Program { program, source })?;
        }
        Ok(Self {
            ebpf,
            links: BTreeMap::new(),
        })
    }

    /// Makes these the links that are translated, in the calling thread's network
    /// namespace. Links that stay as they are see no interruption; one whose
    /// interface was made anew is attached to anew.
    ///
    /// # Errors
    /// The first link that could not be translated. Those before it are, so that
    /// calling again goes on from there.
    pub fn set_links(&mut self, links: &[OutsideLink]) -> Result<(), OutsideError> {
        let mut wanted = BTreeMap::new();
        for link in links {
            let index = if_nametoindex(link.interface.as_str()).map_err(|errno| {
                OutsideError::Interface {
                    interface: link.interface.clone(),
                    errno,
                }
            })?;
            wanted.insert(link.interface.as_str(), (index, link.address));
        }
        let gone: Vec<String> = self
            .links
            .iter()
            .filter(|(name, link)| {
                wanted
                    .get(name.as_str())
                    .is_none_or(|&(index, _)| index != link.index)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for interface in gone {
            self.detach(&interface)?;
        }
        for (interface, (index, address)) in wanted {
            match self.links.get_mut(interface) {
                Some(link) if link.address == address => {}
                Some(link) => {
                    link.address = address;
                    self.set_address(interface, index, address)?;
                }
                None => self.attach(interface, index, address)?,
            }
        }
        Ok(())
    }

    fn attach(
        &mut self,
        interface: &str,
        index: u32,
        address: Ipv4Addr,
    ) -> Result<(), OutsideError> {
        // The address first: a program without one lets packets through as they are.
        self.set_address(interface, index, address)?;
        let mut attached = Attached {
            index,
            address,
            programs: Vec::new(),
        };
        let failed = |program, source| OutsideError::Attach {
            program,
            interface: interface.to_owned(),
            source,
        };
        prepare(interface).map_err(|error| failed(PROGRAMS[0].0, error.into()))?;
        for (program, hook) in PROGRAMS {
            let link = classifier(&mut self.ebpf, program)?
                .attach(interface, hook)
                .map_err(|source| failed(program, source))?;
            attached.programs.push((program, link));
        }
        self.links.insert(interface.to_owned(), attached);
        Ok(())
    }

    fn detach(&mut self, interface: &str) -> Result<(), OutsideError> {
        let Some(link) = self.links.remove(interface) else {
            return Ok(());
        };
        for (program, id) in link.programs {
            // An interface that is gone has taken its attachments along.
            let _ = classifier(&mut self.ebpf, program)?.detach(id);
        }
        match self.addresses()?.remove(&link.index) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(source) => Err(OutsideError::Map {
                interface: interface.to_owned(),
                source,
            }),
        }
    }

    fn set_address(
        &mut self,
        interface: &str,
        index: u32,
        address: Ipv4Addr,
    ) -> Result<(), OutsideError> {
        let set = self.addresses()?.insert(index, Address::from(address), 0);
        set.map_err(|source| OutsideError::Map {
            interface: interface.to_owned(),
            source,
        })
    }

    fn addresses(&mut self) -> Result<HashMap<&mut MapData, u32, Address>, OutsideError> {
        let name = maps::OUTSIDE_ADDRESSES;
        let map = self.ebpf.map_mut(name).ok_or(OutsideError::Missing(name))?;
        HashMap::try_from(map).map_err(|_| OutsideError::Missing(name))
    }
}

fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    program: &'static str,
) -> Result<&'a mut SchedClassifier, OutsideError> {
    let found = ebpf
        .program_mut(program)
        .ok_or(OutsideError::Missing(program))?;
    found
        .try_into()
        .map_err(|source| OutsideError::Program { program, source })
}

/// Before 6.6 there is no TCX, and programs hang on a `clsact` qdisc.
fn prepare(interface: &str) -> Result<(), TcError> {
    let tcx = KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 6, 0));
    if tcx {
        return Ok(());
    }
    qdisc_add_clsact(interface)
}

#[cfg(test)]
mod tests;
