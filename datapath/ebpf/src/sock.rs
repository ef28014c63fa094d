#![no_std]
#![no_main]
//! Services at the socket: one thin program per system call around the logic of
//! `lab_datapath_common::service::socket`. IPv6 sockets are looked at for the IPv4
//! addresses that they may name (RFC 4291, section 2.5.5.2).

mod events;
mod maps;
mod runtime;
mod service_maps;
mod services;
mod sockets;

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use lab_datapath_common::service::socket::may_bind;

use crate::sockets::{Bound, V4, V6, forward, refuse, reverse};

/// The call goes on.
const PROCEED: i32 = 1;
/// `EADDRINUSE` of `asm-generic/errno.h`.
const ADDRESS_IN_USE: i32 = 98;

/// `connect` of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
fn cil_sock4_connect(context: SockAddrContext) -> i32 {
    forward(&mut V4::new(&context))
}

/// `sendmsg` with an address, of an IPv4 UDP socket, or to an IPv4 address.
#[cgroup_sock_addr(sendmsg4)]
fn cil_sock4_sendmsg(context: SockAddrContext) -> i32 {
    forward(&mut V4::new(&context))
}

/// `recvmsg` that asks for the address, of an IPv4 UDP socket.
#[cgroup_sock_addr(recvmsg4)]
fn cil_sock4_recvmsg(context: SockAddrContext) -> i32 {
    reverse(&mut V4::new(&context))
}

/// `getpeername` of an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
fn cil_sock4_getpeername(context: SockAddrContext) -> i32 {
    reverse(&mut V4::new(&context))
}

/// After `bind` of an IPv4 socket.
#[cgroup_sock(post_bind4)]
fn cil_sock4_post_bind(context: SockContext) -> i32 {
    if may_bind(&Bound::new(&context)) {
        PROCEED
    } else {
        refuse(ADDRESS_IN_USE)
    }
}

/// `connect` of an IPv6 socket.
#[cgroup_sock_addr(connect6)]
fn cil_sock6_connect(context: SockAddrContext) -> i32 {
    forward(&mut V6::new(&context))
}

/// `sendmsg` with an address, of an IPv6 UDP socket.
#[cgroup_sock_addr(sendmsg6)]
fn cil_sock6_sendmsg(context: SockAddrContext) -> i32 {
    forward(&mut V6::new(&context))
}

/// `recvmsg` that asks for the address, of an IPv6 UDP socket.
#[cgroup_sock_addr(recvmsg6)]
fn cil_sock6_recvmsg(context: SockAddrContext) -> i32 {
    reverse(&mut V6::new(&context))
}

/// `getpeername` of an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
fn cil_sock6_getpeername(context: SockAddrContext) -> i32 {
    reverse(&mut V6::new(&context))
}
