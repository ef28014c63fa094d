//! Where the parts of a message lie, found without allocation.

use domain::base::iana::Rtype;

use super::HEADER;

/// Longest name, octets (RFC 1035 §3.1).
const MAX_NAME: usize = 255;

/// A record's place in its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Where its owner's name begins.
    pub(super) start: usize,
    /// Type.
    pub(super) rtype: u16,
    /// Where its TTL is.
    pub(super) ttl_at: usize,
    /// TTL, seconds.
    pub(super) ttl: u32,
    /// Where its data begins.
    pub(super) data: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// The 16 bits at `at`, network byte order.
pub(super) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let octets = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

/// The 32 bits at `at`, network byte order.
pub(super) fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    let octets = message.get(at..at + 4)?;
    Some(u32::from_be_bytes(octets.try_into().ok()?))
}

/// Parts of a message that hold no names and may change (types, TTLs, addresses), each
/// from where to where, in the message's order.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(usize, usize)>);

impl Fields {
    /// Takes those of a record, which lies behind the ones before.
    pub(super) fn add(&mut self, record: &Record) {
        let end = match Rtype::from_int(record.rtype) {
            Rtype::A | Rtype::AAAA => record.end,
            _ => record.data,
        };
        self.0.push((record.ttl_at - 4, end));
    }

    fn touch(&self, from: usize, to: usize) -> bool {
        let next = self.0.partition_point(|&(_, end)| end <= from);
        self.0.get(next).is_some_and(|&(start, _)| start < to)
    }
}

/// Where the name at `start` ends; none unless it is whole, at most 255 octets
/// uncompressed, and each of its pointers leads to what lies wholly before it, so
/// that a message cut after any record stays readable, and to none of `fields`, so that
/// it stays so when those change.
pub(super) fn name_end(message: &[u8], start: usize, fields: &Fields) -> Option<usize> {
    let mut at = start;
    let mut end = None;
    let mut lowest = start;
    let mut part = message;
    let mut length = 1;
    loop {
        let octet = *part.get(at)?;
        let size = match octet {
            1..=63 => usize::from(octet) + 1,
            0xc0.. => 2,
            _ => 1,
        };
        if end.is_some() && fields.touch(at, at + size) {
            return None;
        }
        match octet {
            0 => return Some(end.unwrap_or(at + 1)),
            1..=63 => {
                length += size;
                if length > MAX_NAME {
                    return None;
                }
                at += size;
            }
            0xc0.. => {
                let target = usize::from(u16_at(part, at)? & 0x3fff);
                if target >= lowest || target < HEADER {
                    return None;
                }
                end = end.or(Some(at + size));
                part = &message[..lowest];
                lowest = target;
                at = target;
            }
            _ => return None,
        }
    }
}

/// The record at `start`; none if it or a name in it cannot be read, see [`name_end`].
pub(super) fn record(message: &[u8], start: usize, fields: &Fields) -> Option<Record> {
    let fixed = name_end(message, start, fields)?;
    let data = fixed + 10;
    let end = data + usize::from(u16_at(message, fixed + 8)?);
    let record = Record {
        start,
        rtype: u16_at(message, fixed)?,
        ttl_at: fixed + 4,
        ttl: u32_at(message, fixed + 4)?,
        data,
        end,
    };
    has_readable_names(message.get(..end)?, &record, fields).then_some(record)
}

/// Whether the names in a record's data are names, and end with it: in the types in
/// which they may be compressed (RFC 3597 §4) and SRV.
fn has_readable_names(message: &[u8], record: &Record, fields: &Fields) -> bool {
    let name = |at| name_end(message, at, fields);
    let data = record.data;
    let end = match Rtype::from_int(record.rtype) {
        Rtype::NS | Rtype::CNAME | Rtype::PTR => name(data),
        Rtype::MX => name(data + 2),
        Rtype::SRV => name(data + 6),
        // Serial, refresh, retry, expire and minimum follow the two names.
        Rtype::SOA => name(data).and_then(name).map(|end| end + 20),
        _ => return true,
    };
    end == Some(record.end)
}

/// Where the only question of `message` ends; none if there isn't exactly one.
pub(super) fn question_end(message: &[u8]) -> Option<usize> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let end = name_end(message, HEADER, &Fields::default())? + 4;
    (end <= message.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_they_do() {
        let mut message = vec![0; HEADER];
        message.extend(b"\x04miek\x02nl\0\x03www\xc0\x0c");
        assert_eq!(name_end(&message, 12, &Fields::default()), Some(21));
        assert_eq!(name_end(&message, 21, &Fields::default()), Some(27));
    }

    #[test]
    fn pointers_lead_back_or_nowhere() {
        for pointers in [
            &b"\xc0\x0c"[..],      // itself
            b"\xc0\x0e\xc0\x0c",   // forward
            b"\x01a\xc0\x0c",      // round in circles
            b"\xc0\x04",           // into the header
            b"\x01a\x03b\xc0\x0e", // back to a label that holds the pointer
            b"\x40",               // a label type that never came
            b"\x05ab",             // cut
        ] {
            let mut message = vec![0; HEADER];
            message.extend(pointers);
            assert_eq!(
                name_end(&message, 12, &Fields::default()),
                None,
                "{pointers:x?}"
            );
        }
    }

    #[test]
    fn a_name_that_is_pointed_to_lies_before_the_pointer() {
        let mut message = vec![0; HEADER];
        // The data of one record, which as a label would hold the owner of the next.
        message.extend(b"\x04\x01\x02\x03\xc0\x0c\0");
        assert_eq!(name_end(&message, 16, &Fields::default()), None);
    }

    #[test]
    fn no_name_is_in_a_ttl() {
        let mut message = vec![0; HEADER];
        // A TTL of 256 seconds: one octet long, the label that follows it is the class's.
        message.extend(b"\0\0\x01\0\x01\0\0\x01\0\0\x04\0\0\0\0\xc0\x13");
        let first = record(&message, HEADER, &Fields::default()).unwrap();
        assert_eq!(name_end(&message, first.end, &Fields::default()), Some(29));
        let mut fields = Fields::default();
        fields.add(&first);
        assert_eq!(name_end(&message, first.end, &fields), None);
    }

    #[test]
    fn names_in_data_end_with_it() {
        let record_of = |rtype: u8, data: &[u8]| {
            let mut message = vec![0; HEADER];
            message.extend([0, 0, rtype, 0, 1, 0, 0, 0, 60, 0]);
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(data);
            record(&message, HEADER, &Fields::default()).is_some()
        };
        for (rtype, fixed) in [(2, 0), (5, 0), (12, 0), (15, 2), (33, 6)] {
            let data = |name: &[u8]| [&[0; 6][..fixed], name].concat();
            assert!(record_of(rtype, &data(b"\x01a\0")), "{rtype}");
            assert!(record_of(rtype, &data(b"\x01a\xc0\x0c")), "{rtype}");
            assert!(!record_of(rtype, &data(b"\x02a\0")), "{rtype}");
            assert!(!record_of(rtype, &data(b"\x01a\0\0")), "{rtype}");
            assert!(!record_of(rtype, b""), "{rtype}");
        }
        assert!(record_of(6, &[0; 22]));
        assert!(!record_of(6, &[0; 21]));
        assert!(record_of(1, b"any"), "no name in it");
    }

    #[test]
    fn names_are_at_most_255_octets() {
        let mut message = vec![0; HEADER];
        for _ in 0..4 {
            message.push(62);
            message.extend([b'a'; 62]);
        }
        message.extend(b"\x01a\0");
        assert_eq!(name_end(&message, 12, &Fields::default()), Some(12 + 255));
        message.truncate(message.len() - 3);
        message.extend(b"\x02aa\0");
        assert_eq!(name_end(&message, 12, &Fields::default()), None);
    }
}
