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

/// Where the name at `start` ends; none unless it is whole, at most 255 octets
/// uncompressed, and each of its pointers leads to what lies wholly before it, so
/// that a message cut after any record stays readable.
pub(super) fn name_end(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut end = None;
    let mut lowest = start;
    let mut part = message;
    let mut length = 1;
    loop {
        let octet = *part.get(at)?;
        match octet {
            0 => return Some(end.unwrap_or(at + 1)),
            1..=63 => {
                length += usize::from(octet) + 1;
                if length > MAX_NAME {
                    return None;
                }
                at += usize::from(octet) + 1;
            }
            0xc0.. => {
                let target = usize::from(u16_at(part, at)? & 0x3fff);
                if target >= lowest || target < HEADER {
                    return None;
                }
                end = end.or(Some(at + 2));
                part = &message[..lowest];
                lowest = target;
                at = target;
            }
            _ => return None,
        }
    }
}

/// The record at `start`.
pub(super) fn record(message: &[u8], start: usize) -> Option<Record> {
    let fixed = name_end(message, start)?;
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
    has_readable_names(message.get(..end)?, &record).then_some(record)
}

/// Whether the names in a record's data are names, and end with it: in the types in
/// which they may be compressed (RFC 3597 §4) and SRV.
fn has_readable_names(message: &[u8], record: &Record) -> bool {
    let name = |at| name_end(message, at);
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
    let end = name_end(message, HEADER)? + 4;
    (end <= message.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_they_do() {
        let mut message = vec![0; HEADER];
        message.extend(b"\x04miek\x02nl\0\x03www\xc0\x0c");
        assert_eq!(name_end(&message, 12), Some(21));
        assert_eq!(name_end(&message, 21), Some(27));
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
            assert_eq!(name_end(&message, 12), None, "{pointers:x?}");
        }
    }

    #[test]
    fn a_name_that_is_pointed_to_lies_before_the_pointer() {
        let mut message = vec![0; HEADER];
        // The data of one record, which as a label would hold the owner of the next.
        message.extend(b"\x04\x01\x02\x03\xc0\x0c\0");
        assert_eq!(name_end(&message, 16), None);
    }

    #[test]
    fn names_in_data_end_with_it() {
        let record_of = |rtype: u8, data: &[u8]| {
            let mut message = vec![0; HEADER];
            message.extend([0, 0, rtype, 0, 1, 0, 0, 0, 60, 0]);
            message.push(u8::try_from(data.len()).unwrap());
            message.extend(data);
            record(&message, HEADER).is_some()
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
        assert_eq!(name_end(&message, 12), Some(12 + 255));
        message.truncate(message.len() - 3);
        message.extend(b"\x02aa\0");
        assert_eq!(name_end(&message, 12), None);
    }
}
