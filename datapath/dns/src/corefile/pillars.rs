//! The placeholders of node-cache's Corefile.

use std::net::IpAddr;

use super::error::Fault;
use super::lexer::Token;

const CLUSTER_DNS: &str = "__PILLAR__CLUSTER__DNS__";
const UPSTREAM_SERVERS: &str = "__PILLAR__UPSTREAM__SERVERS__";
const LOCAL_DNS: &str = "__PILLAR__LOCAL__DNS__";
/// Left over where iptables aren't the way to the cache: it comes to nothing.
const DNS_SERVER: &str = "__PILLAR__DNS__SERVER__";
const ANY: &str = "__PILLAR__";
const DEFAULT_UPSTREAM: &str = "/etc/resolv.conf";

/// What placeholders stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pillars {
    /// `__PILLAR__CLUSTER__DNS__`: addresses of the service in front of cluster DNS.
    pub cluster_dns: Option<Vec<IpAddr>>,
    /// `__PILLAR__UPSTREAM__SERVERS__`: addresses, or a file such as
    /// `/etc/resolv.conf`, which it is when empty. Given, `force_tcp` next to them is
    /// passed over, as node-cache does: such servers are asked by UDP.
    pub upstream_servers: Vec<String>,
    /// `__PILLAR__LOCAL__DNS__`: addresses that the cache listens on.
    pub local_dns: Vec<IpAddr>,
}

impl Pillars {
    /// `text` with all filled that can be.
    pub(super) fn fill_text(&self, text: &str) -> String {
        let cluster = self.cluster_dns.as_deref().unwrap_or_default();
        let upstream = match self.upstream_servers.as_slice() {
            [] => DEFAULT_UPSTREAM.to_owned(),
            servers => servers.join(" "),
        };
        let mut text = text.replace(UPSTREAM_SERVERS, &upstream);
        for (placeholder, addresses) in [(CLUSTER_DNS, cluster), (LOCAL_DNS, &self.local_dns)] {
            if !addresses.is_empty() {
                text = text.replace(placeholder, &joined(addresses));
            }
        }
        text.replace(DNS_SERVER, "")
    }

    /// The words that `token` comes to: itself, but for placeholders; and what is wrong
    /// if one cannot be filled.
    pub(super) fn fill(&self, mut token: Token) -> (Vec<Token>, Option<Fault>) {
        if !token.text.contains(ANY) {
            return (vec![token], None);
        }
        let text = self.fill_text(&token.text);
        if let Some(at) = text.find(ANY) {
            let fault = unfilled(&token, &text[at..]);
            token.unfilled = true;
            return (vec![token], Some(fault));
        }
        let custom = token.text.contains(UPSTREAM_SERVERS) && !self.upstream_servers.is_empty();
        let words = text.split_whitespace().map(|word| Token {
            text: word.to_owned(),
            place: token.place.clone(),
            starts_line: false,
            literal: true,
            upstream: custom,
            unfilled: false,
        });
        (words.collect(), None)
    }
}

fn joined(addresses: &[IpAddr]) -> String {
    let words: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}

fn unfilled(token: &Token, rest: &str) -> Fault {
    let ends = |c: char| !(c.is_ascii_uppercase() || c == '_');
    let placeholder = rest.split(ends).next().unwrap_or(rest);
    let fault = Fault::new(&token.place, format!("`{placeholder}` isn't filled"));
    match placeholder {
        CLUSTER_DNS => {
            fault.help("give the address of the upstream service (`--upstream-service`)")
        }
        LOCAL_DNS => fault.help("give the cache's own addresses (`--local-ip`)"),
        _ => fault.help("put the value in its place before the file is used"),
    }
}
