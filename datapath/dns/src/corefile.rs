//! Corefiles: read by Caddy's rules, as CoreDNS does, and checked as a whole before
//! anything starts.
//!
//! Words ([`lexer`]) make a tree of blocks, plugins and options ([`tree`]), snippets and
//! files imported; that becomes a [`Config`]. Every fault has its file and line.

mod error;
mod files;
mod keys;
mod lexer;
mod pillars;
mod plugins;
mod reverse;
mod tree;
mod values;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use sha2::{Digest as _, Sha512};

use crate::config::{Config, ServerBlock, ServerKey};

pub use error::{CorefileError, Fault, Place};
pub use pillars::Pillars;

use lexer::Environment;
use tree::{Block, Tree};

/// Reads the Corefile `path`.
///
/// # Errors
/// [`CorefileError`]
pub fn load(path: &Path, pillars: &Pillars) -> Result<Config, CorefileError> {
    let text = files::read(path).map_err(|source| CorefileError::Read {
        file: path.display().to_string(),
        source,
    })?;
    parse(path, &text, pillars)
}

/// Reads `text`, which is the content of `file`; imports are relative to that, and
/// `{$NAME}` is what the environment says.
///
/// # Errors
/// [`CorefileError::Faults`]
pub fn parse(file: &Path, text: &str, pillars: &Pillars) -> Result<Config, CorefileError> {
    parse_in(file, text, pillars, &|name| std::env::var(name).ok())
}

fn parse_in(
    file: &Path,
    text: &str,
    pillars: &Pillars,
    environment: Environment<'_>,
) -> Result<Config, CorefileError> {
    let tree = tree::read(file, text, pillars, environment).map_err(CorefileError::Faults)?;
    let mut faults = tree.faults.clone();
    let mut taken = Vec::new();
    let blocks = tree.blocks.iter();
    let blocks: Vec<_> = blocks
        .map(|block| server_block(block, &mut taken, &mut faults))
        .collect();
    if blocks.is_empty() {
        let place = Place {
            file: file.into(),
            line: 1,
        };
        let fault = Fault::new(&place, "there is no server block");
        faults.push(fault.help("write one, such as `.:53 { … }`"));
    }
    if !faults.is_empty() {
        // In the order of the file, with those of imported files where they were found.
        faults.sort_by_key(|fault| (fault.place.file.as_ref() != file, fault.place.line));
        return Err(CorefileError::Faults(faults));
    }
    Ok(Config {
        file: file.to_owned(),
        digest: digest(text, pillars, &tree),
        blocks,
    })
}

fn server_block(block: &Block, taken: &mut Vec<Taken>, faults: &mut Vec<Fault>) -> ServerBlock {
    let mut keys = Vec::new();
    for token in block.keys.iter().filter(|token| !token.unfilled) {
        match keys::read(token) {
            Ok(read) => keys.extend(read.into_iter().map(|key| (token, key))),
            Err(fault) => faults.push(fault),
        }
    }
    let mut server = plugins::empty(keys.iter().map(|(_, key)| key.clone()).collect());
    plugins::read(&block.directives, &mut server, faults);
    for (token, key) in keys {
        let same = |it: &&Taken| it.key == key && overlap(&it.bind, &server.bind);
        if let Some(first) = taken.iter().find(same) {
            let fault = token.fault(format!("{}:{} is served already", key.zone, key.port));
            let help = format!("the block at {} has it, at the same address", first.place);
            faults.push(fault.help(help));
        }
        taken.push(Taken {
            key,
            bind: server.bind.clone(),
            place: token.place.clone(),
        });
    }
    server
}

/// A key of a block that was read.
struct Taken {
    key: ServerKey,
    bind: Vec<IpAddr>,
    place: Place,
}

/// Whether two blocks listen on one address: those without `bind` do so on all.
fn overlap(one: &[IpAddr], other: &[IpAddr]) -> bool {
    let all = |bind: &[IpAddr]| bind.is_empty();
    all(one) || all(other) || one.iter().any(|address| other.contains(address))
}

/// SHA512 of all that was read, so that what is imported or filled in counts too.
fn digest(text: &str, pillars: &Pillars, tree: &Tree) -> String {
    let mut hash = Sha512::new();
    hash.update(pillars.fill_text(text));
    for imported in &tree.imported {
        hash.update(imported);
    }
    let mut digest = String::new();
    for octet in hash.finalize() {
        let written = write!(digest, "{octet:02x}");
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    digest
}

#[cfg(test)]
mod tests;
