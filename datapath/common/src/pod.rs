//! Lets the agent read and write the maps through aya.

use crate::address::{Address, Port};
use crate::arp::{L2Responder, L2ResponderKey};
use crate::conntrack::CtEntry;
use crate::dns::{Answer, Question};
use crate::endpoint::{Endpoint, IpcacheEntry};
use crate::fragment::{FragmentKey, Ports};
use crate::maps::{MetricsKey, MetricsValue};
use crate::nat::NatEntry;
use crate::service::{
    Affinity, AffinityKey, AffinityMatch, Backend, Config, ReverseNat, ReverseSk, ReverseSkKey,
    Service, ServiceKey, SkipKey, SourceRangeKey,
};
use crate::settings::{Device, Settings};
use crate::trace::Event;
use crate::tuple::Tuple;

macro_rules! plain_old_data {
    ($($kind:ty: $size:literal),+ $(,)?) => {$(
        // The size is the sum of the fields': there is no hidden padding.
        const _: () = assert!(size_of::<$kind>() == $size);
        // SAFETY: `repr(C)` or `repr(transparent)` over integers and arrays of
        // integers without padding, so any bytes are a value and vice versa.
        unsafe impl aya::Pod for $kind {}
    )+};
}

plain_old_data! {
    Address: 4,
    Port: 2,
    Tuple: 16,
    CtEntry: 56,
    NatEntry: 12,
    Endpoint: 28,
    IpcacheEntry: 8,
    FragmentKey: 12,
    Ports: 4,
    MetricsKey: 4,
    MetricsValue: 16,
    Settings: 32,
    Device: 12,
    L2ResponderKey: 8,
    L2Responder: 16,
    ServiceKey: 12,
    Service: 12,
    Backend: 12,
    ReverseNat: 8,
    ReverseSkKey: 16,
    ReverseSk: 8,
    AffinityKey: 16,
    Affinity: 16,
    AffinityMatch: 8,
    SkipKey: 16,
    SourceRangeKey: 8,
    Config: 16,
    Event: 192,
    Question: 104,
    Answer: 560,
}
