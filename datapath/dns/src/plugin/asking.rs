//! Tests ask plugins, and compare the answer as text.

use domain::base::iana::Rtype;
use domain::base::{Message, MessageBuilder, Name, ParsedRecord};
use domain::rdata::AllRecordData;

use super::{LocalAnswers, Presented, Step};
use crate::clock::Time;
use crate::message::Query;

/// A query with RD set, as stub resolvers send it.
pub(crate) fn query(name: &str, rtype: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    let name = Name::vec_from_str(name).unwrap();
    question
        .push((name, rtype.parse::<Rtype>().unwrap()))
        .unwrap();
    question.finish()
}

/// What `plugin` makes of the question, a line each: RCODE and flags, then records.
pub(crate) fn ask(plugin: &dyn LocalAnswers, name: &str, rtype: &str) -> String {
    let asked = query(name, rtype);
    let read = Query::read(&asked).unwrap();
    match plugin.answer(&read, Time::ZERO) {
        Step::Answer(answer) => {
            let message = Message::from_octets(answer.as_slice()).unwrap();
            assert_eq!(message.header().id(), 0x1234);
            assert!(
                answer[12..].starts_with(read.question()),
                "the question as it came"
            );
            text(&answer)
        }
        Step::Alias(alias) => {
            let question = alias.question(&read);
            let question = Query::read(&question).unwrap();
            let target = Presented(question.name()).to_string();
            format!("{}\nthen {target}", text(&alias.completed(&[])))
        }
        Step::Next => "next".to_owned(),
        Step::Failed(error) => format!("failed {error}"),
    }
}

/// A message as text.
pub(crate) fn text(message: &[u8]) -> String {
    let message = Message::from_octets(message).unwrap();
    let header = message.header();
    let flags = [
        (header.qr(), "qr"),
        (header.aa(), "aa"),
        (header.tc(), "tc"),
        (header.rd(), "rd"),
        (header.ra(), "ra"),
    ];
    let flags: Vec<_> = flags
        .iter()
        .filter_map(|(set, name)| set.then_some(*name))
        .collect();
    let mut lines = vec![format!("{} {}", header.rcode(), flags.join(","))];
    let (_, answer, authority, additional) = message.sections().unwrap();
    lines.extend(answer.map(|record| line("", &record.unwrap())));
    lines.extend(authority.map(|record| line("auth ", &record.unwrap())));
    lines.extend(additional.map(|record| line("add ", &record.unwrap())));
    lines.join("\n")
}

fn line(section: &str, record: &ParsedRecord<'_, &[u8]>) -> String {
    let record = record.to_record::<AllRecordData<_, _>>().unwrap().unwrap();
    let absolute = |name: String| format!("{}.", name.trim_end_matches('.'));
    let mut data = record.data().to_string();
    if matches!(
        record.rtype(),
        Rtype::CNAME | Rtype::MX | Rtype::NS | Rtype::PTR | Rtype::SRV
    ) {
        data = absolute(data);
    }
    format!(
        "{section}{} {} {} {data}",
        absolute(record.owner().to_string()),
        record.ttl().as_secs(),
        record.rtype(),
    )
}
