//! Reverse zones of networks: `10.0.0.0/8` is `10.in-addr.arpa.`.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Zones whose names are the addresses of the network `text`, if it is one.
///
/// A network that ends within a label, an octet or with IPv6 a nibble, is as many zones
/// as the label has values in it: `10.96.0.0/12` is sixteen.
pub(super) fn zones(text: &str) -> Option<Vec<String>> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let (octets, label_bits, suffix) = match address {
        IpAddr::V4(address) => (address.octets().to_vec(), 8, "in-addr.arpa."),
        IpAddr::V6(address) => (address.octets().to_vec(), 4, "ip6.arpa."),
    };
    let mut labels: Vec<u8> = match label_bits {
        8 => octets,
        _ => octets.iter().flat_map(|o| [o >> 4, o & 0xf]).collect(),
    };
    if usize::from(length) > labels.len() * usize::from(label_bits) {
        return None;
    }
    let whole = usize::from(length / label_bits);
    let partial = length % label_bits;
    if partial == 0 {
        labels.truncate(whole);
        return Some(vec![zone(&labels, suffix)]);
    }
    labels.truncate(whole + 1);
    let last = labels.pop()?;
    let span = 1_u16 << (label_bits - partial);
    let first = u16::from(last) / span * span;
    let zones = (first..first + span).filter_map(|value| {
        let mut labels = labels.clone();
        labels.push(u8::try_from(value).ok()?);
        Some(zone(&labels, suffix))
    });
    Some(zones.collect())
}

fn zone(labels: &[u8], suffix: &str) -> String {
    let mut zone = String::new();
    for label in labels.iter().rev() {
        let written = match suffix {
            "ip6.arpa." => write!(zone, "{label:x}."),
            _ => write!(zone, "{label}."),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    zone.push_str(suffix);
    zone
}

#[cfg(test)]
mod tests {
    use super::zones;

    #[test]
    fn networks_are_the_zones_of_their_addresses() {
        let of = |text| zones(text).unwrap();
        assert_eq!(of("10.0.0.0/8"), ["10.in-addr.arpa."]);
        assert_eq!(of("10.9.0.0/8"), ["10.in-addr.arpa."]);
        assert_eq!(of("192.168.10.0/24"), ["10.168.192.in-addr.arpa."]);
        assert_eq!(of("10.0.0.1/32"), ["1.0.0.10.in-addr.arpa."]);
        assert_eq!(of("0.0.0.0/0"), ["in-addr.arpa."]);
        assert_eq!(of("2001:db8::/32"), ["8.b.d.0.1.0.0.2.ip6.arpa."]);
        let twelve = of("10.96.0.0/12");
        assert_eq!(twelve.len(), 16);
        assert_eq!(twelve[0], "96.10.in-addr.arpa.");
        assert_eq!(twelve[15], "111.10.in-addr.arpa.");
        assert_eq!(
            of("2001:db8::/31"),
            ["8.b.d.0.1.0.0.2.ip6.arpa.", "9.b.d.0.1.0.0.2.ip6.arpa."]
        );
        assert_eq!(zones("10.0.0.0/33"), None);
        assert_eq!(zones("cluster.local"), None);
    }
}
