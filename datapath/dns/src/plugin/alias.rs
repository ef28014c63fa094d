//! Answers that end with a CNAME record whose target another plugin, block or server
//! knows (CoreDNS's `upstream`: the server asks itself).

use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;

use crate::forward::upstream_query;
use crate::message::{HEADER, Query};

use super::local_reply::{LocalReply, Section};

/// An answer in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    reply: LocalReply,
    /// Name in wire format that the last record leads to.
    target: Vec<u8>,
}

impl Alias {
    /// `reply`, whose last record leads to `target`.
    pub(crate) const fn new(reply: LocalReply, target: Vec<u8>) -> Self {
        Self { reply, target }
    }

    /// The client's query, for the target.
    #[must_use]
    pub fn question(&self, query: &Query<'_>) -> Vec<u8> {
        let mut message = upstream_query(query, None, query.header().id());
        let name = HEADER..HEADER + query.name().len();
        message.splice(name, self.target.iter().copied());
        message
    }

    /// The whole answer: with the records that `found`, a message, answers with, and TC if it
    /// has that. Whatever its RCODE: the alias is there (CoreDNS's `plugin.A`).
    #[must_use]
    pub fn completed(mut self, found: &[u8]) -> Vec<u8> {
        if let Ok(found) = Message::from_octets(found) {
            if found.header().tc() {
                self.reply.truncated();
            }
            for record in found.answer().into_iter().flatten().flatten() {
                self.add(&record);
            }
        }
        self.reply.finish()
    }

    /// Adds a record, its names written out.
    fn add(&mut self, record: &ParsedRecord<'_, &[u8]>) {
        let (rtype, ttl) = (record.rtype(), record.ttl().as_secs());
        let Ok(Some(record)) = record.to_record::<AllRecordData<_, _>>() else {
            return;
        };
        let (owner, mut data) = (record.owner().to_vec(), Vec::new());
        if record.data().compose_rdata(&mut data).is_ok() {
            let owner = owner.as_slice();
            self.reply.record(Section::Answer, owner, rtype, ttl, &data);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::base::iana::{Rcode, Rtype};
    use domain::base::message_builder::TreeCompressor;
    use domain::base::{MessageBuilder, Name};
    use domain::rdata::{A, Cname};

    use super::*;
    use crate::message::Response;
    use crate::plugin::asking::{query, text};
    use crate::plugin::{Speaker, wire_name};

    #[test]
    fn records_of_the_target_come_behind_the_alias() {
        let asked = query("web.a.", "A");
        let asked = Query::read(&asked).unwrap();
        let target = wire_name("www.example.org.").unwrap();
        let mut reply = LocalReply::new(&asked, Speaker::Authority);
        reply.record(Section::Answer, asked.name(), Rtype::CNAME, 5, &target);
        let alias = Alias::new(reply, target);
        let question = alias.question(&asked);
        let question = Query::read(&question).unwrap();
        assert_eq!(question.key().as_bytes(), b"\x03www\x07example\x03org\0");
        assert_eq!(question.header(), asked.header());
        assert_eq!((question.rtype(), question.edns()), (Rtype::A, None));

        let name = |name: &str| name.parse::<Name<Vec<u8>>>().unwrap();
        let builder = MessageBuilder::from_target(TreeCompressor::new(Vec::new())).unwrap();
        let asked_for = Message::from_octets(question.message()).unwrap();
        // Whatever its RCODE.
        let mut answer = builder.start_answer(&asked_for, Rcode::NXDOMAIN).unwrap();
        let (www, cdn) = (name("www.example.org."), name("cdn.example.org."));
        answer.push((www, 60, Cname::new(cdn.clone()))).unwrap();
        answer.push((cdn, 7, A::from_octets(192, 0, 2, 7))).unwrap();
        let whole = alias.completed(&answer.finish().into_target());
        assert!(Response::read(whole.clone(), &asked).is_ok());
        assert_eq!(
            text(&whole),
            "NOERROR qr,aa,rd\nweb.a. 5 CNAME www.example.org.\n\
             www.example.org. 60 CNAME cdn.example.org.\ncdn.example.org. 7 A 192.0.2.7"
        );
    }
}
