//! [`Packet`] as the kernel has it: an skb and its helpers.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::kernel::{Packet, Refused};

/// `TC_ACT_UNSPEC`, which is also `TCX_NEXT`: go on as if the program were not
/// there, under tcx and under clsact alike.
pub(crate) const CONTINUE: i32 = -1;
/// `TC_ACT_SHOT`, `TCX_DROP`.
pub(crate) const DROP: i32 = 2;
/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;

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
        // The frame's headers, which every packet needs, without a call: some 20 ns
        // where returns are mitigated ("Safe RET"). Elsewhere it is not worth the
        // states that the verifier would walk.
        if offset == 0 {
            // SAFETY: the context is valid for the whole run.
            let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
            if data + N <= end {
                // SAFETY: the bytes are in the linear part, as just compared.
                return Some(unsafe { (data as *const [u8; N]).read() });
            }
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes there, or fails.
        let result = unsafe {
            bpf_skb_load_bytes(self.skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        // SAFETY: the helper succeeded, so every byte is written.
        (result == 0).then(|| unsafe { bytes.assume_init() })
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
}
