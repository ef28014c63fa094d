//! DNS messages by hand: also such as no library would make.

/// Octets before the question.
pub(crate) const HEADER: usize = 12;

pub(crate) const NOERROR: u8 = 0;
pub(crate) const FORMERR: u8 = 1;
pub(crate) const SERVFAIL: u8 = 2;
pub(crate) const NOTIMP: u8 = 4;

pub(crate) const A: u16 = 1;

/// A name in wire format.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("labels are short"));
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// A query with RD, without EDNS.
pub(crate) fn query(id: u16, name: &str, rtype: u16) -> Vec<u8> {
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message[..2].copy_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&self::name(name));
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// The same with an OPT record: UDP size, version, options in wire format.
pub(crate) fn with_edns(mut query: Vec<u8>, size: u16, version: u8, options: &[u8]) -> Vec<u8> {
    query[11] += 1;
    query.extend_from_slice(&[0, 0, 41]);
    query.extend_from_slice(&size.to_be_bytes());
    query.extend_from_slice(&[0, version, 0, 0]);
    let length = u16::try_from(options.len()).expect("options are short");
    query.extend_from_slice(&length.to_be_bytes());
    query.extend_from_slice(options);
    query
}

/// What an answer's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u16,
    pub(crate) response: bool,
    pub(crate) truncated: bool,
    pub(crate) opcode: u8,
    pub(crate) rcode: u8,
    /// Question, answer, authority, additional.
    pub(crate) counts: [u16; 4],
}

impl Header {
    pub(crate) fn of(message: &[u8]) -> Self {
        assert!(
            message.len() >= HEADER,
            "an answer has a header: {message:?}"
        );
        let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        Self {
            id: word(0),
            response: message[2] & 0x80 != 0,
            truncated: message[2] & 2 != 0,
            opcode: message[2] >> 3 & 0xf,
            rcode: message[3] & 0xf,
            counts: [word(4), word(6), word(8), word(10)],
        }
    }
}
