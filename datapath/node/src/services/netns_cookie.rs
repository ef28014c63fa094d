//! Cookies of network namespaces: what socket programs know them by.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// `SO_NETNS_COOKIE` of `asm-generic/socket.h` (Linux 5.14): a namespace's number, as
    /// `bpf_get_netns_cookie` returns it.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// The cookie of the network namespace that `socket` belongs to.
pub(crate) fn of_socket(socket: &impl AsFd) -> Result<u64, Errno> {
    getsockopt(socket, NetnsCookie)
}
