//! What programs end with: an action's return value, or a drop, counted.

use core::mem;

use aya_ebpf::bindings::{BPF_F_INGRESS, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::programs::TcContext;
use lab_datapath_common::DropReason;
use lab_datapath_common::hooks::Action;
use lab_datapath_common::kernel::{Packet as _, Route};
use lab_datapath_common::maps::{MetricsKey, MetricsValue};

use crate::functions::{AF_INET, lab_drop};
use crate::maps;
use crate::services::ANY;
use crate::skb::{CONTINUE, Skb};

impl Skb {
    /// Turns the outcome of a hook into the program's return value, and counts
    /// drops under `direction`.
    #[inline(always)]
    pub(crate) fn finish(&self, outcome: Result<Action, DropReason>, direction: u8) -> i32 {
        match outcome {
            Ok(Action::Continue) => CONTINUE,
            // SAFETY: the helper takes no pointers.
            Ok(Action::ToPod { ifindex }) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
            Ok(Action::ToNeighbour(route)) => redirect_to_neighbour(route),
            Ok(Action::ToTunnel { ifindex }) => redirect(ifindex, 0),
            Ok(Action::ToHost { ifindex }) => redirect(ifindex, u64::from(BPF_F_INGRESS)),
            Ok(Action::Reflect) => redirect(self.ifindex(), 0),
            Ok(Action::Call(stage)) => {
                // SAFETY: nothing here waits to be dropped.
                unsafe { maps::CALLS.tail_call(&TcContext::new(self.skb), stage as u32) };
                let missed = u32::from(DropReason::MissedTailCall.code());
                lab_drop(self.skb, missed, u32::from(direction))
            }
            Err(reason) => lab_drop(self.skb, u32::from(reason.code()), u32::from(direction)),
        }
    }

    #[inline(always)]
    pub(crate) fn count_drop(&self, reason: u8, direction: u8) {
        let key = MetricsKey {
            reason,
            direction,
            padding: [0; 2],
        };
        let bytes = u64::from(self.length());
        match maps::METRICS.get_ptr_mut(key) {
            // SAFETY: the value is this CPU's own, and programs on one CPU do
            // not interrupt each other at the same hook.
            Some(value) => unsafe {
                (*value).count += 1;
                (*value).bytes += bytes;
            },
            // The count is best effort: the drop itself stands.
            None => {
                let _ = maps::METRICS.insert(key, MetricsValue { count: 1, bytes }, ANY);
            }
        }
    }
}

#[inline(always)]
fn redirect(ifindex: u32, flags: u64) -> i32 {
    // SAFETY: the helper takes no pointers.
    unsafe { bpf_redirect(ifindex, flags) as i32 }
}

#[inline(always)]
fn redirect_to_neighbour(route: Route) -> i32 {
    let mut neighbour = bpf_redir_neigh {
        nh_family: u32::from(AF_INET),
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: [0; 4] },
    };
    neighbour.__bindgen_anon_1.ipv4_nh = route.next_hop.to_be();
    let size = mem::size_of::<bpf_redir_neigh>() as i32;
    // SAFETY: the pointer and size describe a live local.
    unsafe { bpf_redirect_neigh(route.ifindex, &raw mut neighbour, size, 0) as i32 }
}
