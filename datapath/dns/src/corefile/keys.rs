//! Keys of server blocks: `cluster.local:53`, `dns://.:1053`, `10.0.0.0/8`.

use crate::config::ServerKey;

use super::error::Fault;
use super::lexer::Token;

const DEFAULT_PORT: u16 = 53;

/// The zones and port that `token` stands for.
pub(super) fn read(token: &Token) -> Result<Vec<ServerKey>, Fault> {
    let mut text = token.text.as_str();
    if let Some((scheme, rest)) = text.split_once("://") {
        if scheme != "dns" {
            let what = format!("labctl doesn't serve `{scheme}://`");
            return Err(token
                .fault(what)
                .help("it has DNS by UDP and TCP; write the zone alone"));
        }
        text = rest;
    }
    let (zone, port) = match text.rsplit_once(':') {
        Some((_, "")) => return Err(token.fault(format!("`{text}` has no port behind its `:`"))),
        Some((zone, digits)) if digits.chars().all(|c| c.is_ascii_digit()) => {
            let port = digits.parse().ok().filter(|port| *port != 0);
            let port = port.ok_or_else(|| token.fault(format!("`{digits}` is no port")))?;
            (zone, port)
        }
        _ => (text, DEFAULT_PORT),
    };
    let zone = Token {
        text: zone.to_owned(),
        ..token.clone()
    };
    let keys = zone.zones()?.into_iter();
    Ok(keys.map(|zone| ServerKey { zone, port }).collect())
}
