//! The programs on sockets: on the node's cgroup, and so on every process below it,
//! by pinned links that outlive the agent.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::{
    CgroupAttachMode, CgroupSock, CgroupSockAddr, CgroupSockAddrAttachType, CgroupSockAttachType,
    Program, ProgramError, ProgramInfo,
};
use lab_datapath_common::programs::sock;

use super::verified::{Verifiable, Verified};
use super::{DatapathError, chain, verify};
use crate::cgroup::Cgroup;

/// Built from `datapath/ebpf` by `cargo xtask ebpf`.
pub(super) const OBJECT: &[u8] = aya::include_bytes_aligned!("../../../prebuilt/sock.bpf.o");

/// The loaded programs, and the folder of their links' pins.
pub(crate) struct SocketPrograms {
    ebpf: Ebpf,
    folder: PathBuf,
}

impl SocketPrograms {
    /// Has the kernel verify the programs of `ebpf`, which shares the datapath's maps, as
    /// far as it has not.
    pub(super) fn load(
        mut ebpf: Ebpf,
        verified: &Verified,
        folder: PathBuf,
    ) -> Result<Self, DatapathError> {
        make_folder(&folder)?;
        for name in sock::ALL {
            match program(&mut ebpf, name)? {
                Program::CgroupSockAddr(it) => {
                    let at = address_hook(name).ok_or(DatapathError::Missing(name))?;
                    verified.provide(name, &mut (it, at))?;
                }
                Program::CgroupSock(it) => verified.provide(name, it)?,
                _ => return Err(DatapathError::Missing(name)),
            }
        }
        Ok(Self { ebpf, folder })
    }

    /// Makes these the programs on the sockets of `cgroup`, in the place of those of an
    /// earlier agent. For an instant both are there, which changes nothing: what one has
    /// translated is no service to the other.
    pub(crate) fn attach(&mut self, cgroup: &Cgroup) -> Result<(), DatapathError> {
        let fault = |program: &'static str, reason: String| DatapathError::Attach {
            program,
            interface: format!("cgroup {}", cgroup.path().display()),
            reason,
        };
        let mut folder = None;
        for name in sock::ALL {
            if self.is_attached(name) {
                continue;
            }
            let folder = match &folder {
                Some(open) => open,
                None => folder.insert(
                    cgroup
                        .open()
                        .map_err(|error| fault(name, error.to_string()))?,
                ),
            };
            let link = attach_to(program(&mut self.ebpf, name)?, folder)
                .map_err(|error| fault(name, chain(&error)))?;
            self.pin(name, link).map_err(|error| fault(name, error))?;
        }
        Ok(())
    }

    /// The new pin takes the old one's name in one step; the old link ends with it.
    fn pin(&self, name: &str, link: FdLink) -> Result<(), String> {
        let (pin, next) = (
            self.folder.join(name),
            self.folder.join(format!("{name}-next")),
        );
        remove_if_there(&next).map_err(|error| error.to_string())?;
        link.pin(&next).map_err(|error| chain(&error))?;
        fs::rename(&next, &pin).map_err(|error| error.to_string())
    }

    /// Names of the programs that are not on the node's sockets.
    pub(crate) fn missing(&mut self) -> Vec<&'static str> {
        let names = sock::ALL.into_iter();
        names.filter(|name| !self.is_attached(name)).collect()
    }

    fn is_attached(&mut self, name: &'static str) -> bool {
        let own = program(&mut self.ebpf, name)
            .ok()
            .and_then(|program| info(program).ok())
            .map(|info| info.id());
        let there = PinnedLink::from_pin(self.folder.join(name))
            .and_then(|pinned| FdLink::from(pinned).info())
            .map(|info| info.program_id());
        matches!((own, there), (Some(own), Ok(there)) if own == there)
    }
}

/// Where a program is called that gets an address.
fn address_hook(name: &str) -> Option<CgroupSockAddrAttachType> {
    use CgroupSockAddrAttachType as At;
    Some(match name {
        sock::CONNECT4 => At::Connect4,
        sock::SENDMSG4 => At::UDPSendMsg4,
        sock::RECVMSG4 => At::UDPRecvMsg4,
        sock::GETPEERNAME4 => At::GetPeerName4,
        sock::CONNECT6 => At::Connect6,
        sock::SENDMSG6 => At::UDPSendMsg6,
        sock::RECVMSG6 => At::UDPRecvMsg6,
        sock::GETPEERNAME6 => At::GetPeerName6,
        _ => return None,
    })
}

/// With where it is called: a pin does not say.
impl Verifiable for (&mut CgroupSockAddr, CgroupSockAddrAttachType) {
    fn take_over(&mut self, pin: &Path) -> Result<(), ProgramError> {
        *self.0 = CgroupSockAddr::from_pin(pin, self.1)?;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), ProgramError> {
        verify(|| self.0.load())
    }

    fn pin(&mut self, pin: &Path) -> Result<(), PinError> {
        self.0.pin(pin)
    }
}

impl Verifiable for CgroupSock {
    fn take_over(&mut self, pin: &Path) -> Result<(), ProgramError> {
        *self = Self::from_pin(pin, CgroupSockAttachType::PostBind4)?;
        Ok(())
    }

    fn verify(&mut self) -> Result<(), ProgramError> {
        verify(|| self.load())
    }

    fn pin(&mut self, pin: &Path) -> Result<(), PinError> {
        Self::pin(self, pin)
    }
}

/// Takes the programs, also of an earlier agent, off the sockets.
pub(super) fn detach(folder: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DatapathError::File {
            what: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn make_folder(folder: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(folder).map_err(|source| DatapathError::File {
        what: "make",
        path: folder.to_owned(),
        source,
    })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut Program, DatapathError> {
    ebpf.program_mut(name).ok_or(DatapathError::Missing(name))
}

fn info(program: &Program) -> Result<ProgramInfo, ProgramError> {
    match program {
        Program::CgroupSock(it) => it.info(),
        Program::CgroupSockAddr(it) => it.info(),
        _ => Err(ProgramError::NotLoaded),
    }
}

/// Beside programs that others have on the same cgroup, as links always are; the kernel
/// wants no flag that says so.
fn attach_to(program: &mut Program, cgroup: &File) -> Result<FdLink, ProgramError> {
    let mode = CgroupAttachMode::Single;
    let not_a_link = |_: LinkError| ProgramError::NotAttached;
    match program {
        Program::CgroupSock(it) => {
            let id = it.attach(cgroup, mode)?;
            FdLink::try_from(it.take_link(id)?).map_err(not_a_link)
        }
        Program::CgroupSockAddr(it) => {
            let id = it.attach(cgroup, mode)?;
            FdLink::try_from(it.take_link(id)?).map_err(not_a_link)
        }
        _ => Err(ProgramError::NotLoaded),
    }
}
