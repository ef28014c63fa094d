//! A query, read without allocation.

use domain::base::iana::{Class, Opcode, Rtype};
use domain::base::name::ToLabelIter as _;
use domain::base::opt::Opt;
use domain::base::{Header, Message, ParsedName};

use super::HEADER;

/// Longest name in wire format, octets (RFC 1035 §3.1).
const MAX_NAME: usize = 255;

/// Least first octet of a pointer to the rest of a name (RFC 1035 §4.1.4).
const POINTER: u8 = 0xc0;

/// Why a message is no query that can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// Shorter than a header, or a response: it is dropped without a word, since
    /// whoever sent it would answer the answer.
    Unanswerable,
    /// FORMERR: the question or the OPT record cannot be read, or there is not
    /// exactly one question.
    Malformed,
    /// NOTIMP: an opcode other than QUERY.
    Opcode,
    /// BADVERS: an EDNS version other than 0 (RFC 6891 §6.1.3).
    Version,
}

/// What the client's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest datagram that it takes, octets; 512 at least, whatever it says.
    pub udp_size: u16,
    /// DO: it wants DNSSEC's records.
    pub dnssec_ok: bool,
    /// Version; [`Query::read`] refuses all but 0.
    pub version: u8,
}

/// A name in wire format, absolute and uncompressed, its ASCII letters lower case.
#[derive(Clone, Copy)]
pub struct NameKey {
    octets: [u8; MAX_NAME],
    len: u8,
}

impl NameKey {
    /// Lower-cases a name in uncompressed wire format; none if it is too long.
    #[must_use]
    pub fn from_wire(name: &[u8]) -> Option<Self> {
        let mut octets = [0; MAX_NAME];
        octets.get_mut(..name.len())?.copy_from_slice(name);
        // Lengths of labels are below 64, and no letter is.
        octets[..name.len()].make_ascii_lowercase();
        Some(Self {
            octets,
            len: u8::try_from(name.len()).ok()?,
        })
    }

    /// The octets, root label included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

impl PartialEq for NameKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NameKey {}

impl std::fmt::Debug for NameKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NameKey({})", self.as_bytes().escape_ascii())
    }
}

/// A query that can be looked up: opcode QUERY, one question, EDNS 0 or none.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    message: &'a [u8],
    name_end: usize,
    key: NameKey,
    rtype: Rtype,
    class: Class,
    edns: Option<Edns>,
}

impl<'a> Query<'a> {
    /// Reads a message from a client.
    ///
    /// # Errors
    /// What to answer instead, if anything. [`Self::edns_of`] still reads the OPT
    /// record of what is [`QueryError::Version`].
    pub fn read(message: &'a [u8]) -> Result<Self, QueryError> {
        let parsed = Message::from_slice(message).map_err(|_| QueryError::Unanswerable)?;
        let header = parsed.header();
        if header.qr() {
            return Err(QueryError::Unanswerable);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(QueryError::Opcode);
        }
        let question = parsed.sole_question().map_err(|_| QueryError::Malformed)?;
        let name: &ParsedName<&[u8]> = question.qname();
        // Compressed, it would point into the header. A name that is nothing but a pointer
        // counts as what it points at, which is not compressed (`domain` 0.12).
        let is_pointer = message.get(HEADER).is_some_and(|octet| *octet >= POINTER);
        if is_pointer || name.is_compressed() {
            return Err(QueryError::Malformed);
        }
        let name_end = HEADER + usize::from(name.compose_len());
        let key = message
            .get(HEADER..name_end)
            .and_then(NameKey::from_wire)
            .ok_or(QueryError::Malformed)?;
        let edns = Self::edns_of(parsed)?;
        if edns.is_some_and(|edns| edns.version != 0) {
            return Err(QueryError::Version);
        }
        Ok(Self {
            message,
            name_end,
            key,
            rtype: question.qtype(),
            class: question.qclass(),
            edns,
        })
    }

    /// What the OPT record says, if there is one.
    ///
    /// # Errors
    /// [`QueryError::Malformed`] when there are two (RFC 6891 §6.1.1), or a section
    /// cannot be read.
    pub fn edns_of(message: &Message<[u8]>) -> Result<Option<Edns>, QueryError> {
        let counts = message.header_counts();
        if counts.arcount() == 0 {
            return Ok(None);
        }
        let additional = message.additional().map_err(|_| QueryError::Malformed)?;
        let mut found = None;
        for record in additional {
            let record = record.map_err(|_| QueryError::Malformed)?;
            if record.rtype() != Rtype::OPT {
                continue;
            }
            if found.is_some() || !record.owner().is_root() {
                return Err(QueryError::Malformed);
            }
            // Its options have to end where it does.
            if !matches!(record.to_record::<Opt<_>>(), Ok(Some(_))) {
                return Err(QueryError::Malformed);
            }
            // The TTL is extended RCODE, version, flags (RFC 6891 §6.1.3).
            let [_, version, flags, _] = record.ttl().as_secs().to_be_bytes();
            found = Some(Edns {
                udp_size: record.class().to_int().max(512),
                dnssec_ok: flags & 0x80 != 0,
                version,
            });
        }
        Ok(found)
    }

    /// The whole message, as it came.
    #[must_use]
    pub const fn message(&self) -> &'a [u8] {
        self.message
    }

    /// ID and flags.
    #[must_use]
    pub fn header(&self) -> Header {
        *Header::for_message_slice(self.message)
    }

    /// The name as the client spelt it, in wire format.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        &self.message[HEADER..self.name_end]
    }

    /// Name, type and class, as they are in the message.
    #[must_use]
    pub fn question(&self) -> &'a [u8] {
        &self.message[HEADER..self.name_end + 4]
    }

    /// The name in lower case.
    #[must_use]
    pub const fn key(&self) -> &NameKey {
        &self.key
    }

    /// Query type.
    #[must_use]
    pub const fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// Query class.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// EDNS, if the client has it.
    #[must_use]
    pub const fn edns(&self) -> Option<Edns> {
        self.edns
    }

    /// DO: the client wants DNSSEC's records.
    #[must_use]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

#[cfg(test)]
mod tests {
    use domain::base::{MessageBuilder, Name};

    use super::*;

    fn query(name: &str) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_rd(true);
        let mut question = builder.question();
        let name = Name::vec_from_str(name).unwrap();
        question.push((name, Rtype::A)).unwrap();
        question.finish()
    }

    #[test]
    fn name_is_kept_as_spelt_and_looked_up_in_lower_case() {
        let message = query("mIEK.nL.");
        let query = Query::read(&message).unwrap();
        assert_eq!(query.name(), b"\x04mIEK\x02nL\0");
        assert_eq!(query.key().as_bytes(), b"\x04miek\x02nl\0");
        assert_eq!((query.rtype(), query.class()), (Rtype::A, Class::IN));
        assert_eq!(query.question().len(), 9 + 4);
        assert!(query.header().rd());
        assert_eq!(query.edns(), None);
    }

    #[test]
    fn edns_is_read_and_other_versions_refused() {
        for (version, expected) in [(0, None), (100, Some(QueryError::Version))] {
            let mut builder = MessageBuilder::new_vec().question();
            builder.push((Name::root_ref(), Rtype::NS)).unwrap();
            let mut additional = builder.additional();
            additional
                .opt(|opt| {
                    opt.set_udp_payload_size(100);
                    opt.set_version(version);
                    opt.set_dnssec_ok(true);
                    Ok(())
                })
                .unwrap();
            let message = additional.finish();
            let read = Query::read(&message);
            assert_eq!(read.as_ref().err().copied(), expected);
            if let Ok(query) = read {
                let edns = query.edns().unwrap();
                assert_eq!((edns.udp_size, edns.dnssec_ok), (512, true));
            }
        }
    }

    #[test]
    fn what_cannot_be_looked_up_says_what_to_answer() {
        let good = query("miek.nl.");
        let with = |at: usize, octet: u8| {
            let mut message = good.clone();
            message[at] = octet;
            message
        };
        assert_eq!(
            Query::read(&good[..11]).unwrap_err(),
            QueryError::Unanswerable
        );
        assert_eq!(
            Query::read(&with(2, 0x80)).unwrap_err(),
            QueryError::Unanswerable
        );
        assert_eq!(
            Query::read(&with(2, 15 << 3)).unwrap_err(),
            QueryError::Opcode
        );
        // No question, two, one that ends early, one that points at itself.
        assert_eq!(Query::read(&with(5, 0)).unwrap_err(), QueryError::Malformed);
        assert_eq!(Query::read(&with(5, 2)).unwrap_err(), QueryError::Malformed);
        assert_eq!(Query::read(&good[..20]).unwrap_err(), QueryError::Malformed);
        let mut looping = with(12, 0xc0);
        looping[13] = 12;
        assert_eq!(Query::read(&looping).unwrap_err(), QueryError::Malformed);
        // One that is a pointer into the header, where a name of 14 octets is; found by fuzzing.
        let into_header =
            b"\x0c\x05\x01\0\0\x01\0\0\0\0\0\0\xc0\0\x01\0\0\x80\0\0\x05\0\x22\0\xfe\x58\x01";
        assert_eq!(Query::read(into_header).unwrap_err(), QueryError::Malformed);
        // An additional record that is announced and not there.
        assert_eq!(
            Query::read(&with(11, 1)).unwrap_err(),
            QueryError::Malformed
        );
    }
}
