//! What the server prints, in CoreDNS's words: the `log` plugin's lines, the `errors`
//! plugin's, and those of start and reload.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Header, Message};

use crate::config::{Config, LogClasses};
use crate::message::Query;
use crate::plugin::Presented;
use crate::upstream::Transport;

/// Where lines go: standard output, or what a test reads. Lines of several threads don't mix.
pub struct Output(Mutex<Box<dyn Write + Send>>);

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

impl Output {
    /// Lines go to `writer`, each in one write.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(writer)))
    }

    /// Standard output, where `labctl logs` reads.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(std::io::stdout())
    }

    /// Prints whole lines, their ends included. That nobody reads them is no fault.
    pub fn print(&self, lines: &[u8]) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _unread = writer.write_all(lines).and_then(|()| writer.flush());
    }

    /// `[INFO] TEXT`
    pub fn info(&self, text: &str) {
        self.print(format!("[INFO] {text}\n").as_bytes());
    }

    /// `[WARNING] TEXT`
    pub fn warning(&self, text: &str) {
        self.print(format!("[WARNING] {text}\n").as_bytes());
    }

    /// `[ERROR] TEXT`
    pub fn error(&self, text: &str) {
        self.print(format!("[ERROR] {text}\n").as_bytes());
    }
}

/// A query and its answer, for the `log` plugin.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Who asked.
    pub client: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What.
    pub query: &'a Query<'a>,
    /// The answer as it was sent; none when there was none, or the plugins failed.
    pub answer: Option<&'a [u8]>,
    /// From query to answer.
    pub took: Duration,
}

impl Line<'_> {
    /// Appends `[INFO] 10.0.0.1:37103 - 36022 "A IN example.org. udp 46 false 512"
    /// NXDOMAIN qr,aa,rd 139 0.002148806s` and the line's end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (query, client) = (self.query, canonical(self.client));
        let transport = self.transport.as_str();
        let buffer = match (self.transport, query.edns()) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.udp_size,
            (Transport::Udp, None) => 512,
        };
        let written = write!(
            out,
            "[INFO] {client} - {} \"{} {} {} {transport} {} {} {buffer}\" ",
            query.header().id(),
            query.rtype(),
            query.class(),
            Presented(query.key().as_bytes()),
            query.message().len(),
            query.dnssec_ok(),
        );
        debug_assert!(written.is_ok(), "a Vec takes everything");
        let answer = self.answer.filter(|answer| answer.len() >= 12);
        let written = match answer {
            None => write!(out, "- - 0"),
            Some(answer) => {
                let header = *Header::for_message_slice(answer);
                write!(out, "{} {} {}", header.rcode(), Flags(header), answer.len())
            }
        };
        debug_assert!(written.is_ok(), "a Vec takes everything");
        let written = writeln!(out, " {}s", self.took.as_secs_f64());
        debug_assert!(written.is_ok(), "a Vec takes everything");
    }
}

/// The `errors` plugin's line: `[ERROR] plugin/errors: 2 example.org. A: …`, without its end.
#[must_use]
pub fn failure(rcode: Rcode, query: &Query<'_>, error: &str) -> String {
    let (code, name) = (rcode.to_int(), Presented(query.key().as_bytes()));
    // An error's text may be a peer's.
    let error = error.replace(['\n', '\r'], " ");
    format!(
        "[ERROR] plugin/errors: {code} {name} {}: {error}",
        query.rtype()
    )
}

/// Whether `log` prints `answer`, by CoreDNS's classes (its `plugin/pkg/response`).
#[must_use]
pub fn wanted(classes: LogClasses, answer: &[u8]) -> bool {
    if classes.success && classes.denial && classes.error {
        return true;
    }
    let Ok(message) = Message::from_slice(answer) else {
        return classes.error;
    };
    let counts = message.header_counts();
    match message.header().rcode() {
        Rcode::NOERROR if counts.ancount() == 0 && denies(message) => classes.denial,
        Rcode::NOERROR => classes.success,
        Rcode::NXDOMAIN if denies(message) => classes.denial,
        _ => classes.error,
    }
}

/// Whether there is a SOA record in the authority section.
fn denies(message: &Message<[u8]>) -> bool {
    let authority = message.authority().into_iter().flatten();
    authority
        .filter_map(Result::ok)
        .any(|record| record.rtype() == Rtype::SOA)
}

/// What is printed once the server listens: addresses, the Corefile's digest, the version.
#[must_use]
pub fn started(config: &Config, version: &str) -> String {
    let mut text = String::new();
    for block in &config.blocks {
        for key in &block.keys {
            let name = format!("{}:{}", key.zone, key.port);
            match block.bind.is_empty() {
                true => text.push_str(&format!("{name}\n")),
                false => block
                    .bind
                    .iter()
                    .for_each(|address| text.push_str(&format!("{name} on {address}\n"))),
            }
        }
    }
    if config.blocks.iter().any(|block| block.reload.is_some()) {
        text.push_str(&format!("[INFO] {}\n", running(config)));
    }
    text.push_str(&format!("labctl-{version}\nlinux/{}\n", architecture()));
    text
}

/// The `reload` plugin's word on the Corefile in force.
#[must_use]
pub fn running(config: &Config) -> String {
    format!(
        "plugin/reload: Running configuration SHA512 = {}",
        config.digest
    )
}

/// The architecture by Go's name.
const fn architecture() -> &'static str {
    match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        _ => std::env::consts::ARCH,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A header's flags, in CoreDNS's order (its `plugin/pkg/replacer`).
struct Flags(Header);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            (self.0.qr(), "qr"),
            (self.0.aa(), "aa"),
            (self.0.tc(), "tc"),
            (self.0.rd(), "rd"),
            (self.0.ra(), "ra"),
            (self.0.z(), "z"),
            (self.0.ad(), "ad"),
            (self.0.cd(), "cd"),
        ];
        let mut separator = "";
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
