//! Services that are another name's alias (`type: ExternalName`).

use domain::base::iana::{Rcode, Rtype};

use crate::message::Query;
use crate::plugin::{Alias, LocalReply, Section, Speaker, Step};

use super::super::index::Index;
use super::super::request::Request;
use super::Plugin;

/// CNAME records that one answer has at most (CoreDNS's `plugin.A`).
const MAX_ALIASES: usize = 8;

impl Plugin {
    /// The answer of a service that is an alias of `target`. Other types than these have
    /// none in CoreDNS either, SRV included ("not yet implemented").
    pub(super) fn alias(
        &self,
        query: &Query<'_>,
        index: &Index,
        zone: &[u8],
        target: &[u8],
    ) -> Step {
        let step = match query.rtype() {
            Rtype::CNAME => {
                let mut reply = LocalReply::new(query, Speaker::Authority);
                self.cname(&mut reply, query.name(), target);
                Some(Step::Answer(reply.finish()))
            }
            Rtype::A | Rtype::AAAA => self.follow(query, index, zone, target),
            _ => None,
        };
        step.unwrap_or_else(|| self.denial(query, zone, index.serial, Rcode::NOERROR))
    }

    /// The alias and what it leads to. Where that is the zone's own and has nothing of the type,
    /// or leads back, nothing is left of the alias either.
    fn follow(&self, query: &Query<'_>, index: &Index, zone: &[u8], target: &[u8]) -> Option<Step> {
        let mut reply = LocalReply::new(query, Speaker::Authority);
        let mut owners = vec![query.key().as_bytes()];
        let mut target = target;
        self.cname(&mut reply, query.name(), target);
        while self.zones.containing(target) == Some(zone) {
            if owners.contains(&target) {
                return None;
            }
            let base = &target[..target.len() - zone.len()];
            let found = self.find(index, Request::read(base))?;
            match found.alias {
                Some(_) if owners.len() == MAX_ALIASES => return None,
                Some(next) => {
                    self.cname(&mut reply, target, next);
                    owners.push(target);
                    target = next;
                }
                None => {
                    let added = self.addresses(&mut reply, target, query.rtype(), &found);
                    return added.then(|| Step::Answer(reply.finish()));
                }
            }
        }
        Some(Step::Alias(Alias::new(reply, target.to_vec())))
    }

    fn cname(&self, reply: &mut LocalReply, owner: &[u8], target: &[u8]) {
        let ttl = self.settings.ttl;
        reply.record(Section::Answer, owner, Rtype::CNAME, ttl, target);
    }
}
