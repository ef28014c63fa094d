//! Words of a Corefile as numbers, durations, names and addresses.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use domain::base::Name;

use super::error::Fault;
use super::lexer::Token;
use super::tree::Line;

impl Token {
    pub(super) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(&self.place, what)
    }

    /// A number within `range`.
    pub(super) fn number<T>(&self, range: RangeInclusive<T>) -> Result<T, Fault>
    where
        T: FromStr + PartialOrd + Display,
    {
        let number = self.text.parse::<T>().ok();
        let number = number.filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            let what = format!("`{}` is no number from {least} to {most}", self.text);
            self.fault(what)
        })
    }

    /// A duration as Go writes it: `5s`, `1m30s`, `1.5h`; `0` is the one without unit.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Fault> {
        let Some(duration) = go_duration(&self.text) else {
            let fault = self.fault(format!("`{}` is no duration", self.text));
            return Err(
                fault.help("write a number and its unit, such as `30s`, `500ms` or `1h30m`")
            );
        };
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (range.start(), range.end());
        let what = match *most == Duration::MAX {
            true => format!("`{}` is too short; {least:?} is the least", self.text),
            false => format!("`{}` isn't from {least:?} to {most:?}", self.text),
        };
        Err(self.fault(what))
    }

    /// A domain name: lower case, with the final dot.
    pub(super) fn name(&self) -> Result<String, Fault> {
        normalize(&self.text)
            .ok_or_else(|| self.fault(format!("`{}` is no domain name", self.text)))
    }

    /// Zones that it stands for: one, but for networks that end within a label.
    pub(super) fn zones(&self) -> Result<Vec<String>, Fault> {
        let text = self.text.strip_prefix("dns://").unwrap_or(&self.text);
        match super::reverse::zones(text) {
            Some(zones) => Ok(zones),
            None => Ok(vec![normalize(text).ok_or_else(|| {
                self.fault(format!("`{}` is no zone", self.text))
            })?]),
        }
    }

    /// An address to listen on: `:9153`, `127.0.0.1:9153`, `localhost:9153`, `[::1]:9153`.
    pub(super) fn listener(&self) -> Result<SocketAddr, Fault> {
        let help = "write ADDRESS:PORT, or :PORT for all addresses";
        let fault = || {
            let what = format!("`{}` is nothing to listen on", self.text);
            self.fault(what).help(help)
        };
        let (host, port) = self.text.rsplit_once(':').ok_or_else(fault)?;
        let port = port.parse().map_err(|_| fault())?;
        let address = match host {
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => {
                let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
                bare.unwrap_or(host).parse().map_err(|_| fault())?
            }
        };
        Ok(SocketAddr::new(address, port))
    }
}

impl Line {
    /// That there are no arguments.
    pub(super) fn no_args(&self) -> Result<(), Fault> {
        self.args_between(0, 0)?;
        Ok(())
    }

    /// The one argument.
    pub(super) fn one_arg(&self) -> Result<&Token, Fault> {
        self.args_between(1, 1)?;
        Ok(&self.args[0])
    }

    /// The arguments, if there are as many as there may be.
    pub(super) fn args_between(&self, least: usize, most: usize) -> Result<&[Token], Fault> {
        let (name, count) = (&self.name.text, self.args.len());
        if let Some(extra) = self.args.get(most) {
            let what = format!("`{}` is one word too many for `{name}`", extra.text);
            return Err(extra.fault(what));
        }
        if count < least {
            let what = format!("`{name}` needs {least} argument(s), and has {count}");
            return Err(self.name.fault(what));
        }
        Ok(&self.args)
    }

    /// Zones that the arguments from the `first` on stand for.
    pub(super) fn zones_from(&self, first: usize) -> Result<Vec<String>, Fault> {
        let args = self.args.get(first..).unwrap_or_default();
        let zones: Result<Vec<_>, _> = args.iter().map(Token::zones).collect();
        Ok(zones?.concat())
    }
}

/// Lower case and with the final dot, if it is a name at all.
pub(super) fn normalize(text: &str) -> Option<String> {
    let trimmed = match text {
        "" | "." => return Some(".".to_owned()),
        _ => text.strip_suffix('.').unwrap_or(text),
    };
    let plain = |c: char| {
        c.is_ascii_graphic()
            && !matches!(
                c,
                '"' | '\\' | '(' | ')' | ';' | '@' | '{' | '}' | '/' | ':'
            )
    };
    if !trimmed.chars().all(plain) {
        return None;
    }
    let name = format!("{}.", trimmed.to_ascii_lowercase());
    Name::vec_from_str(&name).ok()?;
    Some(name)
}

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = tail.split_at(unit_end.unwrap_or(tail.len()));
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let seconds = number.parse::<f64>().ok()? * scale;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("500ms", 500),
            ("0", 0),
        ] {
            assert_eq!(
                go_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5x",
            "1e3s",
            "5s1",
            "99999999999999999999h",
        ] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn names_become_lower_case_and_absolute() {
        for (text, name) in [
            ("", "."),
            (".", "."),
            ("Cluster.Local", "cluster.local."),
            ("a.b.", "a.b."),
        ] {
            assert_eq!(normalize(text).as_deref(), Some(name), "{text}");
        }
        let long = format!("{}.nl", "a".repeat(64));
        for text in ["a..b", "..", "a b", "10.0.0.0/8", &long] {
            assert_eq!(normalize(text), None, "{text}");
        }
    }
}
