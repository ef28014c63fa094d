//! `Services` of `lab_datapath_common` over the maps, for any program's context.

use aya_ebpf::bindings::BPF_ANY;

pub(crate) const ANY: u64 = BPF_ANY as u64;

/// Implements `Services` for a program's context: the maps are the same for all.
macro_rules! over_the_maps {
    ($context:ty) => {
        impl lab_datapath_common::service::Services for $context {
            #[inline(always)]
            fn config(&self) -> lab_datapath_common::service::Config {
                $crate::service_maps::CONFIG
                    .get(0)
                    .copied()
                    .unwrap_or_default()
            }

            #[inline(always)]
            fn service(
                &self,
                key: &lab_datapath_common::service::ServiceKey,
            ) -> Option<lab_datapath_common::service::Service> {
                // SAFETY: copied at once; the map is only written by the agent.
                unsafe { $crate::service_maps::SERVICES.get(key) }.copied()
            }

            #[inline(always)]
            fn backend(&self, id: u32) -> Option<lab_datapath_common::service::Backend> {
                // SAFETY: copied at once; the map is only written by the agent.
                unsafe { $crate::service_maps::BACKENDS.get(id) }.copied()
            }

            #[inline(always)]
            fn reverse_nat(&self, id: u16) -> Option<lab_datapath_common::service::ReverseNat> {
                // SAFETY: copied at once; the map is only written by the agent.
                unsafe { $crate::service_maps::REVERSE_NAT.get(id) }.copied()
            }

            #[inline(always)]
            fn affinity(
                &self,
                key: &lab_datapath_common::service::AffinityKey,
            ) -> Option<lab_datapath_common::service::Affinity> {
                // SAFETY: copied at once.
                unsafe { $crate::service_maps::AFFINITY.get(key) }.copied()
            }

            #[inline(always)]
            fn set_affinity(
                &self,
                key: &lab_datapath_common::service::AffinityKey,
                value: &lab_datapath_common::service::Affinity,
            ) {
                let _ = $crate::service_maps::AFFINITY.insert(key, value, $crate::services::ANY);
            }

            #[inline(always)]
            fn forget_affinity(&self, key: &lab_datapath_common::service::AffinityKey) {
                let _ = $crate::service_maps::AFFINITY.remove(key);
            }

            #[inline(always)]
            fn is_affinity_match(&self, key: &lab_datapath_common::service::AffinityMatch) -> bool {
                // SAFETY: nothing is read of the value.
                unsafe { $crate::service_maps::AFFINITY_MATCH.get(key) }.is_some()
            }

            #[inline(always)]
            fn is_skipped(&self, key: &lab_datapath_common::service::SkipKey) -> bool {
                // SAFETY: nothing is read of the value.
                unsafe { $crate::service_maps::SKIP.get(key) }.is_some()
            }

            #[inline(always)]
            fn identity_of(&self, address: lab_datapath_common::Address) -> Option<u32> {
                $crate::maps::IPCACHE
                    .get(&aya_ebpf::btf_maps::lpm_trie::Key::new(32, address))
                    .map(|entry| entry.identity)
            }

            #[inline(always)]
            fn seconds(&self) -> u32 {
                // SAFETY: the helper takes no arguments.
                (unsafe { aya_ebpf::helpers::generated::bpf_ktime_get_ns() } / 1_000_000_000) as u32
            }
        }
    };
}

pub(crate) use over_the_maps;
