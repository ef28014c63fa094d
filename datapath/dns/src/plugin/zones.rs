//! Zones that a plugin answers for, and those that it passes on.

use std::fmt::{self, Write as _};

use domain::base::Name;

use crate::config::Fallthrough;

/// Zones in wire format, lower case, longest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones(Vec<Vec<u8>>);

impl Zones {
    /// Those of a configuration, which has checked them; others are left out.
    pub(crate) fn new<'a>(zones: impl IntoIterator<Item = &'a String>) -> Self {
        let zones = zones.into_iter().filter_map(|zone| wire_name(zone));
        let mut zones: Vec<_> = zones.collect();
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.len()));
        Self(zones)
    }

    /// The longest of them that `name`, lower case, lies in.
    pub(crate) fn containing(&self, name: &[u8]) -> Option<&[u8]> {
        let fits = |zone: &&Vec<u8>| is_below(name, zone);
        self.0.iter().find(fits).map(Vec::as_slice)
    }
}

/// Whether `name` is `zone` or below it; both in wire format and lower case.
fn is_below(name: &[u8], zone: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(zone.len()) else {
        return false;
    };
    if &name[start..] != zone {
        return false;
    }
    // The same octets may begin within a label.
    let mut at = 0;
    while at < start {
        at += 1 + usize::from(name[at]);
    }
    at == start
}

/// [`Fallthrough`], ready for queries.
#[derive(Clone, Debug)]
pub(crate) enum Passing {
    Never,
    Always,
    Zones(Zones),
}

impl Passing {
    pub(crate) fn new(fallthrough: &Fallthrough) -> Self {
        match fallthrough {
            Fallthrough::Never => Self::Never,
            Fallthrough::Always => Self::Always,
            Fallthrough::Zones(zones) => Self::Zones(Zones::new(zones)),
        }
    }

    /// Whether `name`, which the plugin doesn't know, goes to the next.
    pub(crate) fn passes(&self, name: &[u8]) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Zones(zones) => zones.containing(name).is_some(),
        }
    }
}

/// A name in wire format, lower case; none if it isn't one.
pub(crate) fn wire_name(name: &str) -> Option<Vec<u8>> {
    let mut wire = Name::vec_from_str(name).ok()?.into_octets();
    wire.make_ascii_lowercase();
    Some(wire)
}

/// A name in wire format as text, with the final dot, whatever is special in a zone file or in a line of
/// the log escaped.
pub(crate) struct Presented<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == [0] {
            return f.write_char('.');
        }
        while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let (label, after) = after
                .split_at_checked((*length).into())
                .unwrap_or((after, &[]));
            for octet in label {
                match octet {
                    b'.' | b'"' | b'\'' | b'\\' | b'(' | b')' | b';' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(*octet))?;
                    }
                    0x21..=0x7e => f.write_char(char::from(*octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_char('.')?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_with_what_is_special_escaped() {
        for name in [".", "a.b-1.", "\\010x\\.y\\\"\\(.\\200.", "*.a."] {
            let wire = wire_name(name).unwrap();
            assert_eq!(Presented(&wire).to_string(), name);
        }
        assert_eq!(Presented(b"\x03a b\0").to_string(), "a\\032b.");
        assert_eq!(Presented(b"\x09a").to_string(), "a.");
    }

    #[test]
    fn longest_zone_at_a_labels_start() {
        let zones = ["local.", "cluster.local.", "arpa."].map(str::to_owned);
        let zones = Zones::new(&zones);
        let of = |name: &str| {
            let name = wire_name(name).unwrap();
            zones.containing(&name).map(<[u8]>::to_vec)
        };
        assert_eq!(of("a.cluster.local."), wire_name("cluster.local."));
        assert_eq!(of("cluster.local."), wire_name("cluster.local."));
        assert_eq!(of("xcluster.local."), wire_name("local."));
        assert_eq!(of("example."), None);
        // `\x05local\0` at the end of a label of 6 octets is no zone.
        assert_eq!(zones.containing(b"\x06\x05local\0"), None);
    }
}
