//! Map entries as the agent sends them: names and numbers rather than bytes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use lab_datapath_common::conntrack::CtEntry;
use lab_datapath_common::maps::{MetricsKey, MetricsValue};
use lab_datapath_common::nat::NatEntry;
use lab_datapath_common::tuple::{Direction, Tuple};
use serde::{Deserialize, Serialize};

/// The key of a conntrack or NAT entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// IP protocol number.
    pub protocol: u8,
    /// Opened towards the endpoint (conntrack), or the way back (NAT).
    pub inbound: bool,
    /// From a client to a service, before its backend stands for it (conntrack).
    #[serde(default)]
    pub service: bool,
    /// Source address.
    pub source: Ipv4Addr,
    /// Source port, or ICMP echo identifier.
    pub source_port: u16,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Destination port, or ICMP echo identifier.
    pub destination_port: u16,
}

impl From<Tuple> for FlowKey {
    fn from(tuple: Tuple) -> Self {
        Self {
            protocol: tuple.protocol,
            inbound: tuple.direction == Direction::In as u8,
            service: tuple.direction == Direction::Service as u8,
            source: tuple.source.into(),
            source_port: tuple.source_port.number(),
            destination: tuple.destination.into(),
            destination_port: tuple.destination_port.number(),
        }
    }
}

/// An entry of the ipcache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IpcacheRecord {
    /// Whose.
    pub prefix: Ipv4Net,
    /// Security identity.
    pub identity: u32,
    /// The node that it is behind, in a tunnel; unspecified when it is not.
    pub tunnel_endpoint: Ipv4Addr,
}

/// An entry of the NAT map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatRecord {
    /// The packet that it applies to.
    pub flow: FlowKey,
    /// Address to write: source on the way out, destination on the way back.
    pub address: Ipv4Addr,
    /// Port or ICMP echo identifier to write.
    pub port: u16,
    /// When it was made, in seconds of `CLOCK_MONOTONIC`.
    pub created: u32,
    /// Whether NAT itself keeps the conntrack entry: host traffic.
    pub needs_ct: bool,
}

impl From<(Tuple, NatEntry)> for NatRecord {
    fn from((tuple, entry): (Tuple, NatEntry)) -> Self {
        Self {
            flow: tuple.into(),
            address: entry.address.into(),
            port: entry.port.number(),
            created: entry.created,
            needs_ct: entry.needs_ct != 0,
        }
    }
}

/// An entry of a conntrack map. "tx" is from whoever opened the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtRecord {
    /// The flow.
    pub flow: FlowKey,
    /// When it dies, in seconds of `CLOCK_MONOTONIC`.
    pub lifetime: u32,
    /// Packets towards the opener.
    pub rx_packets: u64,
    /// Bytes towards the opener.
    pub rx_bytes: u64,
    /// TCP flags seen towards the opener, ored.
    pub rx_flags_seen: u8,
    /// Last packet towards the opener, in seconds of `CLOCK_MONOTONIC`.
    pub last_rx_report: u32,
    /// Packets from the opener.
    pub tx_packets: u64,
    /// Bytes from the opener.
    pub tx_bytes: u64,
    /// TCP flags seen from the opener, ored.
    pub tx_flags_seen: u8,
    /// Last packet from the opener, in seconds of `CLOCK_MONOTONIC`.
    pub last_tx_report: u32,
    /// `lab_datapath_common::conntrack::flag`.
    pub flags: u16,
}

impl From<(Tuple, CtEntry)> for CtRecord {
    fn from((tuple, entry): (Tuple, CtEntry)) -> Self {
        Self {
            flow: tuple.into(),
            lifetime: entry.lifetime,
            rx_packets: entry.rx_packets,
            rx_bytes: entry.rx_bytes,
            rx_flags_seen: entry.rx_flags_seen,
            last_rx_report: entry.last_rx_report,
            tx_packets: entry.tx_packets,
            tx_bytes: entry.tx_bytes,
            tx_flags_seen: entry.tx_flags_seen,
            last_tx_report: entry.last_tx_report,
            flags: entry.flags,
        }
    }
}

/// A counter of dropped packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// `lab_datapath_common::DropReason` as its code.
    pub reason: u8,
    /// Out of the node or a pod; otherwise in.
    pub egress: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl From<(MetricsKey, MetricsValue)> for MetricRecord {
    fn from((key, value): (MetricsKey, MetricsValue)) -> Self {
        Self {
            reason: key.reason,
            egress: key.direction == lab_datapath_common::maps::METRIC_EGRESS,
            packets: value.count,
            bytes: value.bytes,
        }
    }
}
