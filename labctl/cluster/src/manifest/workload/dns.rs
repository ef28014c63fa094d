//! CoreDNS and node-cache: the flags that they are started with, which are Go's.

use lab_model::diagnostic::Diagnostic;
use lab_model::document::At;
use lab_model::node_state::{NodeCache, Workload};

use super::super::kubernetes::Container;
use super::Image;

/// Where CoreDNS looks for its Corefile unless told, in its image.
const COREFILE: &str = "/Corefile";

/// Where node-cache finds the Corefile whose placeholders it fills: `-basecorefile`.
const BASE_COREFILE: &str = "/etc/coredns/Corefile.base";

/// `coredns/coredns`.
pub(super) fn coredns(container: &Container, at: &At<'_>) -> Result<Image, Diagnostic> {
    let mut corefile = COREFILE.to_owned();
    for flag in flags(container, at, "coredns", &[])? {
        match flag.name {
            "conf" => flag.value.clone_into(&mut corefile),
            _ => return Err(flag.unknown("coredns", "it takes -conf")),
        }
    }
    Ok(Image {
        workload: Workload::Coredns,
        corefile: Some(corefile),
        upstream_service: None,
    })
}

/// `dns/k8s-dns-node-cache`.
pub(super) fn node_cache(container: &Container, at: &At<'_>) -> Result<Image, Diagnostic> {
    let mut cache = NodeCache::default();
    let mut corefile = BASE_COREFILE.to_owned();
    let mut upstream_service = "kube-dns-upstream".to_owned();
    let switches = ["setupinterface", "setupiptables", "skipteardown"];
    for flag in flags(container, at, "node-cache", &switches)? {
        match flag.name {
            "localip" => {
                let addresses = flag.value.split(',').map(|text| text.trim().parse());
                let addresses = addresses.collect::<Result<_, _>>();
                cache.local_ips = addresses.map_err(|_| flag.wrong("IPv4 addresses"))?;
            }
            "basecorefile" => flag.value.clone_into(&mut corefile),
            "upstreamsvc" => flag.value.clone_into(&mut upstream_service),
            "interfacename" => {
                if !is_interface(flag.value) {
                    return Err(flag.wrong("a name of at most 15 letters, digits, `-` and `_`"));
                }
                flag.value.clone_into(&mut cache.interface);
            }
            "setupinterface" => cache.setup_interface = flag.switch()?,
            "setupiptables" => cache.setup_iptables = flag.switch()?,
            "skipteardown" => cache.skip_teardown = flag.switch()?,
            "health-port" => {
                let port = flag.value.parse().ok().filter(|&port| port != 0);
                cache.health_port = port.ok_or_else(|| flag.wrong("a port"))?;
            }
            "syncinterval" => cache.sync_interval = seconds(&flag)?,
            // The files that it writes, which nobody else reads.
            "conf" | "pidfile" | "metrics-listen-address" | "kubecm" => {}
            _ => {
                let help = "it takes -localip, -conf, -basecorefile, -upstreamsvc, -skipteardown, \
                            -setupinterface, -setupiptables, -interfacename, -health-port and \
                            -syncinterval";
                return Err(flag.unknown("node-cache", help));
            }
        }
    }
    if cache.local_ips.is_empty() {
        let message = "node-cache needs -localip, the addresses of the cache";
        return Err(at.key("args").key_fault(message));
    }
    Ok(Image {
        workload: Workload::NodeCache(cache),
        corefile: Some(corefile),
        upstream_service: Some(upstream_service),
    })
}

/// Names that the kernel takes and that mean nothing to iptables.
fn is_interface(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 15 && name.bytes().all(legal)
}

/// Go's duration, of whole seconds.
fn seconds(flag: &Flag<'_, '_>) -> Result<u32, Diagnostic> {
    let (number, unit) = match flag.value.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (flag.value.strip_suffix('s').unwrap_or(""), 1),
    };
    let seconds = number.parse::<u32>().ok();
    let seconds = seconds.and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|&seconds| seconds > 0)
        .ok_or_else(|| flag.wrong("a time like 60s or 1m"))
}

/// A flag, its value, and where it is written.
struct Flag<'a, 'b> {
    name: &'a str,
    value: &'a str,
    at: At<'b>,
}

impl Flag<'_, '_> {
    fn switch(&self) -> Result<bool, Diagnostic> {
        match self.value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    fn wrong(&self, expected: &str) -> Diagnostic {
        let message = format!("-{} must be {expected}, not `{}`", self.name, self.value);
        self.at.fault(message)
    }

    fn unknown(&self, program: &str, help: &str) -> Diagnostic {
        let message = format!("{program} takes no argument `-{}` here", self.name);
        self.at.fault(message).with_help(help)
    }
}

/// The arguments as flags: one hyphen or two, the value behind an equals sign or, unless
/// it is one of `switches`, in the next argument.
fn flags<'a, 'b>(
    container: &'a Container,
    at: &At<'b>,
    program: &str,
    switches: &[&str],
) -> Result<Vec<Flag<'a, 'b>>, Diagnostic> {
    if container.command.iter().flatten().next().is_some() {
        let message = format!("{program} takes no other command here");
        return Err(at.key("command").key_fault(message));
    }
    let mut flags = Vec::new();
    let mut args = container.args.iter().flatten().enumerate();
    while let Some((index, arg)) = args.next() {
        let at = at.key("args").index(index);
        let name = arg.strip_prefix('-');
        let name = name.map(|name| name.strip_prefix('-').unwrap_or(name));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(at.fault(format!("{program} takes flags only, not `{arg}`")));
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value),
            None if switches.contains(&name) => (name, "true"),
            None => match args.next() {
                Some((_, value)) => (name, value.as_str()),
                None => return Err(at.fault(format!("-{name} needs a value"))),
            },
        };
        flags.push(Flag { name, value, at });
    }
    Ok(flags)
}
