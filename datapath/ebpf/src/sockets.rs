//! [`Socket`] as the kernel has it: the address of a system call, and maps.

use core::ffi::c_void;

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie,
    bpf_set_retval,
};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use lab_datapath_common::kernel::Refused;
use lab_datapath_common::service::socket::{self, Forward, Peer, Socket};
use lab_datapath_common::service::{ReverseSk, ReverseSkKey};
use lab_datapath_common::settings::flag;
use lab_datapath_common::trace::{XlatePoint, kind};
use lab_datapath_common::{Address, Port};

use crate::events;
use crate::service_maps::REVERSE_SK;
use crate::services::{ANY, over_the_maps};

/// The call goes on.
const PROCEED: i32 = 1;
/// The call fails.
const REFUSE: i32 = 0;
/// `EHOSTUNREACH` of `asm-generic/errno.h`.
const HOST_UNREACHABLE: i32 = 113;
/// `ENOMEM` of `asm-generic/errno-base.h`.
const NO_MEMORY: i32 = 12;
/// The third word of an IPv4 address in IPv6's form, `::ffff:a.b.c.d`.
const V4_MAPPED: u32 = 0xffff_u32.to_be();

/// Makes the call fail with that error. Helper of kernel 5.18, for these programs
/// since 6.1.
#[inline(always)]
pub(crate) fn refuse(errno: i32) -> i32 {
    // SAFETY: the helper takes a number.
    unsafe { bpf_set_retval(-errno) };
    REFUSE
}

/// A call that names where to send.
#[inline(always)]
pub(crate) fn forward<S: Socket>(s: &mut S) -> i32 {
    match socket::forward(s) {
        Forward::Untouched | Forward::Translated { .. } => PROCEED,
        Forward::NoBackend { .. } => refuse(HOST_UNREACHABLE),
        Forward::NoMemory => refuse(NO_MEMORY),
    }
}

/// A call that tells where something came from. It cannot be refused.
#[inline(always)]
pub(crate) fn reverse<S: Socket>(s: &mut S) -> i32 {
    socket::reverse(s);
    PROCEED
}

/// A call on an IPv4 socket.
pub(crate) struct V4 {
    call: *mut bpf_sock_addr,
}

impl V4 {
    #[inline(always)]
    pub(crate) const fn new(context: &SockAddrContext) -> Self {
        Self {
            call: context.sock_addr,
        }
    }

    // Fields are read and written one by one: the verifier knows the context by
    // offset and size, and would refuse two that LLVM merged.
    #[inline(always)]
    fn named(&self) -> Option<(Address, Port)> {
        // SAFETY: the context is valid for the whole run.
        let (address, port) = unsafe {
            (
                (&raw const (*self.call).user_ip4).read_volatile(),
                (&raw const (*self.call).user_port).read_volatile(),
            )
        };
        Some((Address::from_be(address), port_of(port)))
    }

    #[inline(always)]
    fn rename(&mut self, address: Address, port: Port) {
        // SAFETY: the context is valid for the whole run, and these may be written.
        unsafe {
            (&raw mut (*self.call).user_ip4).write_volatile(address.to_be());
            (&raw mut (*self.call).user_port).write_volatile(u32::from(port.to_be()));
        }
    }
}

/// A call on an IPv6 socket.
pub(crate) struct V6 {
    call: *mut bpf_sock_addr,
}

impl V6 {
    #[inline(always)]
    pub(crate) const fn new(context: &SockAddrContext) -> Self {
        Self {
            call: context.sock_addr,
        }
    }

    #[inline(always)]
    fn named(&self) -> Option<(Address, Port)> {
        // SAFETY: the context is valid for the whole run.
        unsafe {
            if (&raw const (*self.call).user_ip6[2]).read_volatile() != V4_MAPPED
                || (&raw const (*self.call).user_ip6[0]).read_volatile() != 0
                || (&raw const (*self.call).user_ip6[1]).read_volatile() != 0
            {
                return None;
            }
            let address = (&raw const (*self.call).user_ip6[3]).read_volatile();
            let port = (&raw const (*self.call).user_port).read_volatile();
            Some((Address::from_be(address), port_of(port)))
        }
    }

    /// The first three words are what they have to be already.
    #[inline(always)]
    fn rename(&mut self, address: Address, port: Port) {
        // SAFETY: the context is valid for the whole run, and these may be written.
        unsafe {
            (&raw mut (*self.call).user_ip6[3]).write_volatile(address.to_be());
            (&raw mut (*self.call).user_port).write_volatile(u32::from(port.to_be()));
        }
    }
}

/// `user_port` is 16 bits in network byte order at the beginning of 32.
#[inline(always)]
const fn port_of(word: u32) -> Port {
    let [first, second, _, _] = word.to_ne_bytes();
    Port::from_bytes([first, second])
}

/// An IPv4 socket that was just bound.
pub(crate) struct Bound {
    call: *mut bpf_sock,
}

impl Bound {
    #[inline(always)]
    pub(crate) const fn new(context: &SockContext) -> Self {
        Self { call: context.sock }
    }

    /// `src_port` is in host byte order.
    #[inline(always)]
    fn named(&self) -> Option<(Address, Port)> {
        // SAFETY: the context is valid for the whole run.
        let (address, port) = unsafe {
            (
                (&raw const (*self.call).src_ip4).read_volatile(),
                (&raw const (*self.call).src_port).read_volatile(),
            )
        };
        Some((Address::from_be(address), Port::new(port as u16)))
    }

    /// Nothing of a bound socket can be changed.
    #[inline(always)]
    fn rename(&mut self, _: Address, _: Port) {}
}

/// The event of one call. The process's own address is not in it: the agent knows the
/// pod by its cgroup.
#[inline(always)]
fn send_event(cookie: u64, point: u8, other: Peer, protocol: u8) {
    events::send(|event| {
        event.kind = kind::SOCKET;
        event.detail = point;
        event.cookie = cookie;
        // SAFETY: the helper takes no arguments.
        event.cgroup = unsafe { bpf_get_current_cgroup_id() };
        event.address = other.address;
        event.port = other.port;
        event.protocol = protocol;
    });
}

macro_rules! sockets {
    ($($context:ty),+) => {$(
        over_the_maps!($context);

        impl Socket for $context {
            #[inline(always)]
            fn cookie(&self) -> u64 {
                // SAFETY: the context is valid for the whole run.
                unsafe { bpf_get_socket_cookie(self.call.cast::<c_void>()) }
            }

            #[inline(always)]
            fn netns_cookie(&self) -> u64 {
                // SAFETY: the context is valid for the whole run.
                unsafe { bpf_get_netns_cookie(self.call.cast::<c_void>()) }
            }

            #[inline(always)]
            fn protocol(&self) -> u8 {
                // SAFETY: the context is valid for the whole run.
                unsafe { (&raw const (*self.call).protocol).read_volatile() as u8 }
            }

            #[inline(always)]
            fn named(&self) -> Option<(Address, Port)> {
                <$context>::named(self)
            }

            #[inline(always)]
            fn rename(&mut self, address: Address, port: Port) {
                <$context>::rename(self, address, port);
            }

            #[inline(always)]
            fn draw(&self) -> u32 {
                // SAFETY: the helper takes no arguments.
                unsafe { bpf_get_prandom_u32() }
            }

            #[inline(always)]
            fn remember(&self, key: &ReverseSkKey, value: &ReverseSk) -> Result<(), Refused> {
                REVERSE_SK.insert(key, value, ANY).map_err(|_| Refused)
            }

            #[inline(always)]
            fn remembered(&self, key: &ReverseSkKey) -> Option<ReverseSk> {
                // SAFETY: copied at once.
                unsafe { REVERSE_SK.get(key) }.copied()
            }

            #[inline(always)]
            fn forget(&self, key: &ReverseSkKey) {
                let _ = REVERSE_SK.remove(key);
            }

            #[inline(always)]
            fn event(&self, point: XlatePoint, other: Peer) {
                let settings = crate::maps::RUNTIME_CONFIG.get(0);
                if settings.is_some_and(|settings| settings.has(flag::FLOWS)) {
                    send_event(self.cookie(), point as u8, other, self.protocol());
                }
            }
        }
    )+};
}

sockets!(V4, V6, Bound);
