//! Zones of the Corefile, compared with names of queries.

use std::str::FromStr as _;

use domain::base::Name;

use super::NameKey;

/// A zone's name, lower case, in wire format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Box<[u8]>);

/// Not a domain name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a domain name")]
pub struct ZoneError(String);

impl Zone {
    /// Reads `cluster.local.`; the final dot may be left out.
    ///
    /// # Errors
    /// Not a domain name.
    pub fn parse(text: &str) -> Result<Self, ZoneError> {
        let name = Name::<Vec<u8>>::from_str(text).map_err(|_| ZoneError(text.to_owned()))?;
        Ok(Self(name.as_slice().to_ascii_lowercase().into()))
    }

    /// Whether `name` is the zone's name or lies below it.
    #[must_use]
    pub fn contains(&self, name: &NameKey) -> bool {
        let name = name.as_bytes();
        if !name.ends_with(&self.0) {
            return false;
        }
        let zone_at = name.len() - self.0.len();
        let mut at = 0;
        while at < zone_at {
            at += usize::from(name[at]) + 1;
        }
        at == zone_at
    }

    /// Whether `name` is the zone's own.
    #[must_use]
    pub fn is_apex(&self, name: &NameKey) -> bool {
        name.as_bytes() == &*self.0
    }

    /// Length in wire format: the longer of two zones that fit is the nearer.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_names_at_label_boundaries() {
        let name = NameKey::from_wire(b"\x01A\x07Cluster\x05local\0").unwrap();
        let holds = |zone| Zone::parse(zone).unwrap().contains(&name);
        assert!(
            holds(".") && holds("local.") && holds("CLUSTER.local") && holds("a.cluster.local.")
        );
        assert!(!holds("uster.local.") && !holds("b.a.cluster.local.") && !holds("nl."));
        // The octets of a zone's name may stand in the middle of a label.
        let tricky = NameKey::from_wire(b"\x07ab\x05local\0").unwrap();
        assert!(!Zone::parse("local.").unwrap().contains(&tricky));
        assert!(Zone::parse("a.cluster.local").unwrap().is_apex(&name));
    }
}
