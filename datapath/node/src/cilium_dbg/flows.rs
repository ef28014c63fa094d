//! Conntrack and NAT entries, one a line.

use std::fmt::Write as _;

use lab_datapath_common::conntrack::flag;
use lab_datapath_common::tuple::protocol;

use crate::api::{CtRecord, FlowKey, NatRecord};

/// `cilium-dbg bpf nat list`, at the second `now`.
pub(super) fn nat(now: u32, entries: &[NatRecord]) -> String {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| entry.flow);
    let mut text = String::new();
    for entry in &entries {
        let change = if entry.flow.inbound {
            "XLATE_DST"
        } else {
            "XLATE_SRC"
        };
        let age = now.saturating_sub(entry.created);
        let _ = writeln!(
            text,
            "{} {change} {}:{} Created={age}sec ago NeedsCT={}",
            flow(&entry.flow),
            entry.address,
            entry.port,
            u8::from(entry.needs_ct)
        );
    }
    text
}

/// `cilium-dbg bpf ct list global`. "Rx" is what the local endpoint receives: of
/// a flow that was opened towards it, that is what the opener sends.
pub(super) fn conntrack(entries: &[CtRecord]) -> String {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| entry.flow);
    let mut text = String::new();
    for entry in &entries {
        let from_opener = (
            entry.tx_packets,
            entry.tx_bytes,
            entry.tx_flags_seen,
            entry.last_tx_report,
        );
        let to_opener = (
            entry.rx_packets,
            entry.rx_bytes,
            entry.rx_flags_seen,
            entry.last_rx_report,
        );
        let (rx, tx) = if entry.flow.inbound {
            (from_opener, to_opener)
        } else {
            (to_opener, from_opener)
        };
        let _ = writeln!(
            text,
            "{} expires={} RxPackets={} RxBytes={} RxFlagsSeen={:#04x} LastRxReport={} \
             TxPackets={} TxBytes={} TxFlagsSeen={:#04x} LastTxReport={} {}",
            flow(&entry.flow),
            entry.lifetime,
            rx.0,
            rx.1,
            rx.2,
            rx.3,
            tx.0,
            tx.1,
            tx.2,
            tx.3,
            flags(entry.flags)
        );
    }
    text
}

fn flow(key: &FlowKey) -> String {
    let protocol = match key.protocol {
        protocol::ICMP => "ICMP".to_owned(),
        protocol::TCP => "TCP".to_owned(),
        protocol::UDP => "UDP".to_owned(),
        protocol::SCTP => "SCTP".to_owned(),
        other => other.to_string(),
    };
    let direction = match (key.service, key.inbound) {
        (true, _) => "SVC",
        (false, true) => "IN",
        (false, false) => "OUT",
    };
    format!(
        "{protocol} {direction} {}:{} -> {}:{}",
        key.source, key.source_port, key.destination, key.destination_port
    )
}

fn flags(flags: u16) -> String {
    let names = [
        (flag::RX_CLOSING, "RxClosing"),
        (flag::TX_CLOSING, "TxClosing"),
        (flag::SEEN_NON_SYN, "SeenNonSyn"),
    ];
    let mut text = format!("Flags={flags:#06x} [ ");
    for (_, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        text.push_str(name);
        text.push(' ');
    }
    text + "]"
}
