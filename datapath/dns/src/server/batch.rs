//! Datagrams by the dozen: `recvmmsg` and `sendmmsg` over memory that is set up once.
//!
//! nix's wrappers allocate for each batch, and cannot send answers from the address
//! that each query came to.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::libc;

/// Datagrams taken at once. Under a load that never lets the queue run dry, more
/// than this no longer shows.
pub(super) const BATCH: usize = 32;
/// Largest query that is read. Longer ones are cut, and so malformed.
const QUERY: usize = 4096;
/// Room for one `in6_pktinfo` and its header.
const CONTROL: usize = 64;

/// Where a datagram came from and where it went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The other side.
    pub(super) peer: SocketAddr,
    /// Our own address, known on sockets bound to all of them.
    pub(super) local: Option<IpAddr>,
}

/// Control messages, aligned as the kernel's `cmsghdr` is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Memory for a batch in and a batch out.
pub(super) struct Batch {
    queries: Box<[[u8; QUERY]]>,
    lengths: [usize; BATCH],
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    /// Answers, by the query's place; their memory is kept.
    pub(super) answers: Vec<Vec<u8>>,
    /// Places of answers to be sent.
    pub(super) ready: Vec<usize>,
    paths: Vec<Option<Path>>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            queries: vec![[0; QUERY]; BATCH].into_boxed_slice(),
            lengths: [0; BATCH],
            // SAFETY: a socket address of zeros is AF_UNSPEC, a valid value.
            names: vec![unsafe { mem::zeroed() }; BATCH].into_boxed_slice(),
            controls: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            answers: (0..BATCH).map(|_| Vec::with_capacity(1024)).collect(),
            ready: Vec::with_capacity(BATCH),
            paths: vec![None; BATCH],
        }
    }

    /// Waits for a datagram, and takes those that are there with it.
    ///
    /// # Errors
    /// The kernel's; `Interrupted` when a signal came first.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: both are plain memory for which zeros are valid.
        let (mut headers, mut parts): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        for (index, header) in headers.iter_mut().enumerate() {
            parts[index] = libc::iovec {
                iov_base: self.queries[index].as_mut_ptr().cast(),
                iov_len: QUERY,
            };
            header.msg_hdr.msg_iov = &raw mut parts[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL;
        }
        // SAFETY: every pointer in `headers` leads to memory of the length beside it,
        // which lives in `self` or on this stack until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (index, header) in headers[..count].iter().enumerate() {
            self.lengths[index] = header.msg_len as usize;
            self.paths[index] = address(&self.names[index]).map(|peer| Path {
                peer,
                local: local_address(&header.msg_hdr),
            });
        }
        self.ready.clear();
        Ok(count)
    }

    /// The query at a place, where it came from, and memory for its answer.
    pub(super) fn query(&mut self, index: usize) -> Option<(&[u8], Path, &mut Vec<u8>)> {
        let path = self.paths[index]?;
        let query = &self.queries[index][..self.lengths[index]];
        Some((query, path, &mut self.answers[index]))
    }

    /// Sends the answers that are [`Self::ready`], each the way that its query came.
    /// One that the kernel refuses is left out, as if it was lost on the way.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) {
        // SAFETY: both are plain memory for which zeros are valid.
        let (mut headers, mut parts): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut count = 0;
        for &index in &self.ready {
            let Some(path) = self.paths[index] else {
                continue;
            };
            let answer = &mut self.answers[index];
            parts[count] = libc::iovec {
                iov_base: answer.as_mut_ptr().cast(),
                iov_len: answer.len(),
            };
            let header = &mut headers[count].msg_hdr;
            header.msg_iov = &raw mut parts[count];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = name_len(&path.peer);
            if let Some(local) = path.local {
                let control = &mut self.controls[index];
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = write_local(header, local);
            }
            count += 1;
        }
        let mut sent = 0;
        while sent < count {
            // SAFETY: as in `receive`; `headers[sent..count]` were filled above.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers[sent..].as_mut_ptr(),
                    (count - sent) as u32,
                    0,
                )
            };
            match usize::try_from(done) {
                Ok(done) => sent += done,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => sent += 1,
            }
        }
        for &index in &self.ready {
            // One large answer must not hold its memory for ever.
            if self.answers[index].capacity() > QUERY {
                self.answers[index] = Vec::with_capacity(1024);
            }
        }
    }
}

/// Sends one answer without waiting.
///
/// # Errors
/// The kernel's; `WouldBlock` when the socket's buffer is full.
pub(super) fn send_one(socket: BorrowedFd<'_>, path: Path, answer: &[u8]) -> io::Result<()> {
    let mut control = Control([0; CONTROL]);
    let name = socket2::SockAddr::from(path.peer);
    let mut part = libc::iovec {
        iov_base: answer.as_ptr().cast_mut().cast(),
        iov_len: answer.len(),
    };
    // SAFETY: plain memory for which zeros are valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    if let Some(local) = path.local {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = write_local(&mut header, local);
    }
    // SAFETY: every pointer in `header` leads to memory of the length beside it, which
    // lives until the call returns; sending does not write to it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

const fn name_len(peer: &SocketAddr) -> u32 {
    match peer {
        SocketAddr::V4(_) => mem::size_of::<libc::sockaddr_in>() as u32,
        SocketAddr::V6(_) => mem::size_of::<libc::sockaddr_in6>() as u32,
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in, as the family says, and
            // sockaddr_storage has its alignment and is larger.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, with sockaddr_in6.
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(address, port, 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The address that a datagram went to, if the socket was told to say.
fn local_address(header: &libc::msghdr) -> Option<IpAddr> {
    if header.msg_controllen == 0 {
        return None;
    }
    // SAFETY: the kernel wrote `msg_controllen` octets of control messages to
    // `msg_control`, which `receive` keeps alive and aligned for this call.
    let message = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    // SAFETY: the header is the kernel's; its data follows it.
    let data = unsafe { libc::CMSG_DATA(message) };
    match (message.cmsg_level, message.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: this type has an in_pktinfo as its data.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into())
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: this type has an in6_pktinfo as its data.
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Writes the address to send from to `msg_control`, and returns the octets used. No
/// interface is named: the route decides.
fn write_local(header: &mut libc::msghdr, local: IpAddr) -> usize {
    // SAFETY: `Control` has room for the larger of the two messages with its header,
    // is aligned as headers are, and `msg_control` points to one.
    unsafe {
        header.msg_controllen = CONTROL;
        let message = &mut *libc::CMSG_FIRSTHDR(header);
        let data = libc::CMSG_DATA(message);
        let size = match local {
            IpAddr::V4(local) => {
                message.cmsg_level = libc::IPPROTO_IP;
                message.cmsg_type = libc::IP_PKTINFO;
                let mut info: libc::in_pktinfo = mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from(local).to_be();
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
                mem::size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(local) => {
                message.cmsg_level = libc::IPPROTO_IPV6;
                message.cmsg_type = libc::IPV6_PKTINFO;
                let mut info: libc::in6_pktinfo = mem::zeroed();
                info.ipi6_addr.s6_addr = local.octets();
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
                mem::size_of::<libc::in6_pktinfo>()
            }
        };
        message.cmsg_len = libc::CMSG_LEN(size as u32) as usize;
        libc::CMSG_SPACE(size as u32) as usize
    }
}
