//! [`Packet`] as the kernel has it: an skb and its helpers.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::bindings::{__sk_buff, BPF_F_ZERO_CSUM_TX, bpf_tunnel_key};
use aya_ebpf::helpers::generated::{
    bpf_l4_csum_replace, bpf_skb_change_type, bpf_skb_get_tunnel_key, bpf_skb_load_bytes,
    bpf_skb_set_tunnel_key, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::Address;
use lab_datapath_common::kernel::{Packet, Refused};
use lab_datapath_common::tunnel::TunnelKey;

/// `TC_ACT_UNSPEC`, which is also `TCX_NEXT`: go on as if the program were not
/// there, under tcx and under clsact alike.
pub(crate) const CONTINUE: i32 = -1;
/// `TC_ACT_SHOT`, `TCX_DROP`.
pub(crate) const DROP: i32 = 2;
/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;
/// `IPDEFTTL` of `linux/ip.h`.
const OUTER_TTL: u8 = 64;
/// A key without the local address, which came with Linux 6.0; the route chooses it.
const TUNNEL_KEY_SIZE: u32 = offset_of!(bpf_tunnel_key, __bindgen_anon_3) as u32;

/// Bytes that LLVM may read as words: of the stack the verifier allows no unaligned ones.
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);

/// The packet of one run.
pub(crate) struct Skb {
    pub(crate) skb: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    pub(crate) const fn new(context: TcContext) -> Self {
        Self {
            skb: context.skb.skb,
        }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<Aligned<N>>::uninit();
        // SAFETY: the helper writes N bytes there, or fails.
        let result = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        // SAFETY: the helper succeeded, so every byte is written.
        (result == 0).then(|| unsafe { bytes.assume_init() }.0)
    }

    #[inline(always)]
    fn first_words(&self) -> [u32; 6] {
        const OFFSET: usize = 10;
        // Without a call, where they are in the linear part: some 20 ns where returns are
        // mitigated ("Safe RET").
        // SAFETY: the context is valid for the whole run.
        let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        let first = data + OFFSET;
        if first + size_of::<[u32; 6]>() <= end {
            // SAFETY: as just compared. To the verifier an IP header, which begins with the second
            // of them, is aligned (`NET_IP_ALIGN`), and where the processor minds, it is.
            return unsafe { (first as *const [u32; 6]).read() };
        }
        let mut words = [0; 6];
        // SAFETY: the helper writes that many bytes there, or zeros if it fails.
        unsafe {
            bpf_skb_load_bytes(
                self.skb.cast(),
                OFFSET as u32,
                words.as_mut_ptr().cast(),
                size_of::<[u32; 6]>() as u32,
            )
        };
        words
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> Result<(), Refused> {
        // SAFETY: the helper reads N bytes from there.
        let result =
            unsafe { bpf_skb_store_bytes(self.skb, offset, bytes.as_ptr().cast(), N as u32, 0) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn l4_csum_replace(
        &mut self,
        offset: u32,
        from: u32,
        to: u32,
        flags: u64,
    ) -> Result<(), Refused> {
        // SAFETY: the helper takes no pointers but the context.
        let result =
            unsafe { bpf_l4_csum_replace(self.skb, offset, u64::from(from), u64::from(to), flags) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.skb).gso_size }
    }

    #[inline(always)]
    fn is_for_this_host(&self) -> bool {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.skb).pkt_type == PACKET_HOST }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn set_for_this_host(&mut self) -> Result<(), Refused> {
        // SAFETY: the helper takes no pointers but the context.
        let result = unsafe { bpf_skb_change_type(self.skb, PACKET_HOST) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.skb).mark }
    }

    #[inline(always)]
    fn set_mark(&mut self, mark: u32) {
        // SAFETY: the context is valid for the whole run, and the field may be written.
        unsafe { (*self.skb).mark = mark };
    }

    #[inline(always)]
    fn tunnel_key(&self) -> Option<TunnelKey> {
        let mut key = MaybeUninit::<bpf_tunnel_key>::zeroed();
        // SAFETY: the helper writes at most that many bytes there.
        let result =
            unsafe { bpf_skb_get_tunnel_key(self.skb, key.as_mut_ptr(), TUNNEL_KEY_SIZE, 0) };
        if result != 0 {
            return None;
        }
        // SAFETY: any bytes are a key, and all were written above.
        let key = unsafe { key.assume_init() };
        Some(TunnelKey {
            identity: key.tunnel_id,
            // SAFETY: without BPF_F_TUNINFO_IPV6 it is an IPv4 address.
            remote: Address::from_be(unsafe { key.__bindgen_anon_1.remote_ipv4 }.to_be()),
        })
    }

    #[inline(always)]
    fn set_tunnel_key(&mut self, key: &TunnelKey) -> Result<(), Refused> {
        // SAFETY: an all-zero key is a valid one.
        let mut outer: bpf_tunnel_key = unsafe { core::mem::zeroed() };
        outer.tunnel_id = key.identity;
        outer.tunnel_ttl = OUTER_TTL;
        outer.__bindgen_anon_1.remote_ipv4 = u32::from_be(key.remote.to_be());
        // The outer checksum is optional under IPv4 (RFC 7348, section 5).
        let flags = u64::from(BPF_F_ZERO_CSUM_TX);
        // SAFETY: the helper reads that many bytes of a live local.
        let result =
            unsafe { bpf_skb_set_tunnel_key(self.skb, &raw mut outer, TUNNEL_KEY_SIZE, flags) };
        if result == 0 { Ok(()) } else { Err(Refused) }
    }

    #[inline(always)]
    fn set_tc_index(&mut self, note: u16) {
        // SAFETY: the context is valid for the whole run, and tc programs may write this.
        unsafe { (*self.skb).tc_index = u32::from(note) };
    }

    #[inline(always)]
    fn tc_index(&self) -> u16 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.skb).tc_index as u16 }
    }
}
