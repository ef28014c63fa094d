//! Values as they are written in a filter.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::error::FilterError;
use super::field::{Field, Kind};

/// A value to compare with, and the bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) value: u64,
    /// All ones, but for an address with a prefix length.
    pub(super) mask: u64,
}

impl Literal {
    pub(super) const fn exact(value: u64) -> Self {
        Self {
            value,
            mask: u64::MAX,
        }
    }
}

/// Reads `word` as a value of `field`.
pub(super) fn parse(word: &str, field: &Field, span: Range<usize>) -> Result<Literal, FilterError> {
    match field.kind {
        Kind::Ipv4 => ipv4(word, span),
        Kind::Mac => mac(word, span),
        Kind::Flag => flag(word, field, span),
        Kind::Number(bits) => {
            let value = number(word, span.clone())?;
            if value >> bits != 0 {
                let most = (1u64 << bits) - 1;
                return Err(FilterError::new(
                    span,
                    format!(
                        "{word} is too big for `{}`, which ends at {most}",
                        field.name
                    ),
                ));
            }
            Ok(Literal::exact(value))
        }
    }
}

/// A number as C writes it: decimal, `0x…`, `0b…`, and octal behind a leading `0`.
pub(super) fn number(word: &str, span: Range<usize>) -> Result<u64, FilterError> {
    let lower = word.to_ascii_lowercase();
    let parsed = if let Some(hex) = lower.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        u64::from_str_radix(binary, 2)
    } else if lower.len() > 1 && lower.starts_with('0') {
        u64::from_str_radix(&lower, 8)
    } else {
        lower.parse()
    };
    // from_str_radix would take `0x+1`, which Wireshark does not.
    parsed.ok().filter(|_| !lower.contains('+')).ok_or_else(|| {
        FilterError::new(span, format!("`{word}` is not a number"))
            .help("write it as 80, 0x50, 0b1010000, or with a leading 0 as octal 0120")
    })
}

fn flag(word: &str, field: &Field, span: Range<usize>) -> Result<Literal, FilterError> {
    match word {
        "1" | "True" | "TRUE" => Ok(Literal::exact(1)),
        "0" | "False" | "FALSE" => Ok(Literal::exact(0)),
        _ => Err(FilterError::new(
            span,
            format!("`{}` is a flag, and `{word}` is none", field.name),
        )
        .help("compare it with 1 or 0")),
    }
}

fn ipv4(word: &str, span: Range<usize>) -> Result<Literal, FilterError> {
    let (address, prefix) = word
        .split_once('/')
        .map_or((word, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(parsed) = address.parse::<Ipv4Addr>() else {
        return Err(
            FilterError::new(span, format!("`{word}` is not an IPv4 address"))
                .help("write it as 192.168.10.100, or with a prefix length as 192.168.10.0/24"),
        );
    };
    let bits = match prefix.map(str::parse::<u32>) {
        None => 32,
        Some(Ok(bits @ 0..=32)) => bits,
        Some(_) => {
            return Err(FilterError::new(
                span,
                format!("`{word}` has no prefix length between 0 and 32"),
            ));
        }
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Ok(Literal {
        value: u64::from(u32::from(parsed)),
        mask: u64::from(mask),
    })
}

fn mac(word: &str, span: Range<usize>) -> Result<Literal, FilterError> {
    let separator = if word.contains('-') { '-' } else { ':' };
    let bytes: Vec<u64> = word
        .split(separator)
        .filter(|part| part.len() == 2)
        .filter_map(|part| u64::from_str_radix(part, 16).ok())
        .collect();
    if bytes.len() != 6 || word.len() != 17 {
        return Err(
            FilterError::new(span, format!("`{word}` is not a MAC address"))
                .help("write it as 08:00:27:dc:00:69"),
        );
    }
    Ok(Literal::exact(
        bytes.iter().fold(0, |all, byte| all << 8 | byte),
    ))
}
