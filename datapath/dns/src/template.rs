//! The `template` plugin: records made from the question.

mod text;

use domain::base::Name;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::zonefile::inplace::{Entry, Zonefile};
use regex::Regex;

use crate::clock::Time;
use crate::config::Template;
use crate::message::Query;
use crate::plugin::{LocalAnswers, LocalReply, Passing, Presented, Section, Speaker, Step, Zones};

use text::Values;
pub(crate) use text::{Text, TextError};

/// A template that cannot be served; [`crate::corefile`] finds these with their line.
#[derive(Debug, thiserror::Error)]
#[error("plugin/template: {0}")]
pub struct TemplateError(String);

/// The plugin: one `template` of a server block.
#[derive(Clone, Debug)]
pub struct Plugin {
    class: Option<Class>,
    rtype: Option<Rtype>,
    zones: Zones,
    zone_names: Vec<String>,
    matches: Vec<Regex>,
    records: Vec<(Section, Text)>,
    rcode: Rcode,
}

/// All templates of a server block: the first that fits answers.
#[derive(Clone, Debug)]
pub struct Plugins(Vec<(Plugin, Passing)>);

impl Plugins {
    /// The templates of a block of `zones`, in order.
    ///
    /// # Errors
    /// A regular expression or a template that cannot be used.
    pub fn new(templates: &[Template], zones: &[String]) -> Result<Self, TemplateError> {
        let plugins = templates.iter().map(|template| {
            let passing = Passing::new(&template.fallthrough);
            Ok((Plugin::new(template, zones)?, passing))
        });
        plugins.collect::<Result<_, _>>().map(Self)
    }
}

impl Plugin {
    fn new(template: &Template, zones: &[String]) -> Result<Self, TemplateError> {
        let zones = match template.zones.is_empty() {
            true => zones,
            false => &template.zones,
        };
        let matches = template.matches.iter().map(|text| expression(text));
        let matches = matches
            .collect::<Result<Vec<_>, _>>()
            .map_err(TemplateError)?;
        let lines = [
            (Section::Answer, &template.answers),
            (Section::Authority, &template.authorities),
            (Section::Additional, &template.additionals),
        ];
        let mut records = Vec::new();
        for (section, line) in lines
            .iter()
            .flat_map(|(section, lines)| lines.iter().map(|line| (*section, line)))
        {
            let text = Text::parse(line).and_then(|text| text.check(&matches).map(|()| text));
            records.push((
                section,
                text.map_err(|error| TemplateError(error.to_string()))?,
            ));
        }
        Ok(Self {
            class: template.class.map(Class::from_int),
            rtype: template.rtype.map(Rtype::from_int),
            zones: Zones::new(zones),
            zone_names: zones.to_vec(),
            matches,
            records,
            rcode: Rcode::masked_from_int(template.rcode),
        })
    }

    fn takes(&self, query: &Query<'_>) -> Option<&[u8]> {
        let class = self
            .class
            .is_none_or(|class| class == query.class() || query.class() == Class::ANY);
        let rtype = self
            .rtype
            .is_none_or(|rtype| rtype == query.rtype() || query.rtype() == Rtype::ANY);
        let zone = self.zones.containing(query.key().as_bytes())?;
        (class && rtype).then_some(zone)
    }

    /// The answer, if the name fits one of the expressions.
    fn fill(&self, query: &Query<'_>, zone: &[u8]) -> Option<Step> {
        let name = Presented(query.key().as_bytes()).to_string();
        let captures = self
            .matches
            .iter()
            .find_map(|expression| expression.captures(&name));
        if captures.is_none() && !self.matches.is_empty() {
            return None;
        }
        let zone = Presented(zone).to_string();
        let zone = self
            .zone_names
            .iter()
            .find(|it| **it == zone)
            .unwrap_or(&zone);
        let values = Values {
            name: &name,
            zone,
            rtype: &query.rtype().to_string(),
            class: &query.class().to_string(),
            captures: captures.as_ref(),
        };
        let mut reply = LocalReply::new(query, Speaker::Authority);
        reply.rcode(self.rcode);
        for (section, text) in &self.records {
            let line = text.fill(&values);
            if let Err(error) = record(&mut reply, *section, &line) {
                return Some(Step::Failed(format!("plugin/template: {line}: {error}")));
            }
        }
        Some(Step::Answer(reply.finish()))
    }
}

impl LocalAnswers for Plugins {
    fn answer(&self, query: &Query<'_>, _: Time) -> Step {
        for (plugin, passing) in &self.0 {
            let Some(zone) = plugin.takes(query) else {
                continue;
            };
            match plugin.fill(query, zone) {
                Some(step) => return step,
                // The name fits none of its expressions: other templates are asked only if it says so.
                None if passing.passes(query.key().as_bytes()) => {}
                None => return Step::Next,
            }
        }
        Step::Next
    }
}

/// A regular expression over names: RE2's syntax, as in Go, but for a few classes.
pub(crate) fn expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let told = error.to_string();
        let last = told
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        format!("`{text}` is no regular expression: {last}")
    })
}

/// Adds the record of a zone file's line; its TTL is an hour unless it has one.
fn record(reply: &mut LocalReply, section: Section, line: &str) -> Result<(), String> {
    let mut zone = Zonefile::from(format!("{line}\n").as_str());
    zone.set_origin(Name::root_bytes());
    zone.set_default_class(Class::IN);
    match zone.next_entry() {
        Ok(Some(Entry::Record(record))) => {
            let mut data = Vec::new();
            let Ok(()) = record.data().compose_rdata(&mut data);
            let owner = record.owner().to_vec();
            reply.class(record.class());
            let ttl = record.ttl().as_secs();
            reply.record(section, owner.as_slice(), record.rtype(), ttl, &data);
            Ok(())
        }
        Ok(_) => Err("no record".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
