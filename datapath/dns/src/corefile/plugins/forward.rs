//! `forward`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::{Forward, HealthCheck, Policy};

use super::super::error::Fault;
use super::super::files;
use super::super::lexer::Token;
use super::super::tree::{Directive, Line};
use super::{unknown, unsupported};

const OPTIONS: [&str; 8] = [
    "except",
    "force_tcp",
    "prefer_udp",
    "max_fails",
    "expire",
    "policy",
    "health_check",
    "max_concurrent",
];
/// Upstreams of one `forward`, as many as CoreDNS takes.
const MAX_UPSTREAMS: usize = 15;
const DNS_PORT: u16 = 53;

/// `forward FROM TO… { … }`
pub(super) fn read(directive: &Directive) -> Result<Forward, Fault> {
    let head = &directive.head;
    let args = head.args_between(2, usize::MAX)?;
    let from = args[0].zones()?;
    let [from] = from.as_slice() else {
        let what = format!(
            "`{}` is {} zones, of which a forward takes one",
            args[0].text,
            from.len()
        );
        return Err(args[0].fault(what));
    };
    let mut to = Vec::new();
    for arg in &args[1..] {
        to.extend(upstreams(arg)?);
    }
    if to.len() > MAX_UPSTREAMS {
        let what = format!(
            "{} upstreams are too many; {MAX_UPSTREAMS} is the most",
            to.len()
        );
        return Err(head.name.fault(what));
    }
    let mut forward = Forward {
        from: from.clone(),
        to,
        except: Vec::new(),
        force_tcp: false,
        prefer_udp: false,
        max_fails: 2,
        expire: Duration::from_secs(10),
        policy: Policy::default(),
        health_check: HealthCheck {
            interval: Duration::from_millis(500),
            recursion_desired: true,
            domain: ".".to_owned(),
        },
        max_concurrent: 0,
    };
    for option in &directive.options {
        read_option(directive, option, &mut forward)?;
    }
    // Such servers may not speak TCP (kubernetes/dns, `updateCorefile`).
    forward.force_tcp &= !args[1..].iter().any(|arg| arg.upstream);
    Ok(forward)
}

fn read_option(directive: &Directive, option: &Line, forward: &mut Forward) -> Result<(), Fault> {
    match option.name.text.as_str() {
        "except" => {
            option.args_between(1, usize::MAX)?;
            forward.except.extend(option.zones_from(0)?);
        }
        "force_tcp" => {
            option.no_args()?;
            forward.force_tcp = true;
        }
        "prefer_udp" => {
            option.no_args()?;
            forward.prefer_udp = true;
        }
        "max_fails" => forward.max_fails = option.one_arg()?.number(0..=u32::MAX)?,
        "expire" => forward.expire = option.one_arg()?.duration(Duration::ZERO..=Duration::MAX)?,
        "policy" => forward.policy = policy(option.one_arg()?)?,
        "health_check" => forward.health_check = health_check(option)?,
        "max_concurrent" => {
            forward.max_concurrent = option.one_arg()?.number(0..=i32::MAX as u32)?
        }
        "tls" | "tls_servername" => {
            return Err(unsupported(
                directive,
                option,
                "upstreams are asked by UDP and TCP",
            ));
        }
        "next" | "next_on_nodata" | "failover" | "failfast_all_unhealthy_upstreams" => {
            let why =
                "an upstream's answer is the client's, and with all down one of them is tried";
            return Err(unsupported(directive, option, why));
        }
        "max_connect_attempts" | "max_idle_conns" => {
            let why = "attempts end with the query's deadline, connections with `expire`";
            return Err(unsupported(directive, option, why));
        }
        _ => return Err(unknown(directive, option, &OPTIONS)),
    }
    Ok(())
}

fn policy(arg: &Token) -> Result<Policy, Fault> {
    match arg.text.as_str() {
        "random" => Ok(Policy::Random),
        "round_robin" => Ok(Policy::RoundRobin),
        "sequential" => Ok(Policy::Sequential),
        other => {
            let fault = arg.fault(format!("unknown policy `{other}`"));
            Err(fault.help("labctl has random, round_robin, sequential"))
        }
    }
}

fn health_check(option: &Line) -> Result<HealthCheck, Fault> {
    let args = option.args_between(1, 4)?;
    let mut check = HealthCheck {
        interval: args[0].duration(Duration::from_millis(1)..=Duration::MAX)?,
        recursion_desired: true,
        domain: ".".to_owned(),
    };
    let mut rest = args[1..].iter();
    while let Some(arg) = rest.next() {
        match arg.text.as_str() {
            "no_rec" => check.recursion_desired = false,
            "domain" => {
                let name = rest.next();
                check.domain = name
                    .ok_or_else(|| arg.fault("`domain` needs a name"))?
                    .name()?;
            }
            other => {
                let fault = arg.fault(format!("unknown word `{other}` of `health_check`"));
                return Err(fault.help("labctl has no_rec, domain NAME"));
            }
        }
    }
    Ok(check)
}

/// The servers that `arg` names: one by its address, or those of a file such as `/etc/resolv.conf`.
fn upstreams(arg: &Token) -> Result<Vec<SocketAddr>, Fault> {
    let text = match arg.text.split_once("://") {
        Some(("dns", rest)) => rest,
        Some((scheme, _)) => {
            let fault = arg.fault(format!("labctl doesn't forward by `{scheme}://`"));
            return Err(fault.help("upstreams are asked by UDP and TCP"));
        }
        None => &arg.text,
    };
    if let Some(address) = address(text) {
        return Ok(vec![address]);
    }
    let content = files::read(text.as_ref()).map_err(|error| {
        let fault = arg.fault(format!(
            "`{text}` is neither an IP address nor a file to read: {error}"
        ));
        fault.help("write ADDRESS, ADDRESS:PORT or a file like /etc/resolv.conf")
    })?;
    let servers = nameservers(&content);
    if servers.is_empty() {
        return Err(arg.fault(format!("there is no `nameserver` in {text}")));
    }
    Ok(servers)
}

fn address(text: &str) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let alone = bare.unwrap_or(text).parse::<IpAddr>().ok();
    alone
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .or_else(|| {
            text.parse()
                .ok()
                .filter(|address: &SocketAddr| address.port() != 0)
        })
}

fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    lines.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_servers_of_resolv_conf() {
        let of = |text| address(text).map(|address| address.to_string());
        assert_eq!(of("10.0.2.3").as_deref(), Some("10.0.2.3:53"));
        assert_eq!(of("10.0.2.3:1053").as_deref(), Some("10.0.2.3:1053"));
        assert_eq!(of("::1").as_deref(), Some("[::1]:53"));
        assert_eq!(of("[::1]").as_deref(), Some("[::1]:53"));
        assert_eq!(of("[::1]:54").as_deref(), Some("[::1]:54"));
        assert_eq!(of("10.0.2.3:0"), None);
        assert_eq!(of("dns.example"), None);
        let servers =
            nameservers("# nameserver 1.1.1.1\nsearch a\nnameserver 10.0.2.3\n nameserver ::1\n");
        assert_eq!(
            servers,
            [address("10.0.2.3").unwrap(), address("::1").unwrap()]
        );
    }
}
