//! The commands that steps are: argument vectors, and how their output is read.
//!
//! Both halves stand here, so that what is asked of `ping`, `curl` and `ip` and what
//! is understood of their answers cannot drift apart.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use crate::check_file::{Curl, Ping, Route, Step};

impl Step {
    /// The command that the step is, to be run where [`Step::target`] says, with its standard
    /// output and error kept. Steps that are no command, but a change or a connection, have none.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        match self {
            Self::Ping(ping) => Some(ping.command()),
            Self::Curl(curl) => Some(curl.command()),
            Self::Exec(exec) => Some(exec.command.clone()),
            Self::ExpectRoute { .. } => Some(words("ip -json -4 route show table all")),
            Self::Tcp(_)
            | Self::Route { .. }
            | Self::Link { .. }
            | Self::Set(_)
            | Self::Apply(_)
            | Self::Delete(_)
            | Self::Scale(_) => None,
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Seconds between echo requests: the students' one second would be most of a check's time.
const PING_INTERVAL: &str = "0.05";

impl Ping {
    fn command(&self) -> Vec<String> {
        // -W: seconds that the last reply may take.
        let mut command = words(&format!(
            "ping -n -c {} -i {PING_INTERVAL} -W 1",
            self.count
        ));
        if let Some(size) = self.size {
            command.extend(["-s".to_owned(), size.to_string()]);
        }
        if self.dont_fragment {
            command.extend(words("-M do"));
        }
        command.extend(["--".to_owned(), self.to.clone()]);
        command
    }
}

/// What ping printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// Replies to different requests.
    pub received: u32,
    /// Further replies to requests that had one.
    pub duplicates: u32,
    /// TTL of each reply.
    pub ttls: Vec<u8>,
}

impl Replies {
    /// Reads the output of iputils' ping; `None` when it did not get as far as its statistics.
    #[must_use]
    pub fn read(stdout: &str) -> Option<Self> {
        let statistics = stdout
            .lines()
            .find(|line| line.contains(" packets transmitted, "))?;
        let received = statistics
            .split(", ")
            .find_map(|part| part.strip_suffix(" received"))?;
        let replies = stdout.lines().filter(|line| line.contains(" bytes from "));
        Some(Self {
            received: received.parse().ok()?,
            duplicates: stdout
                .lines()
                .filter(|line| line.ends_with("(DUP!)"))
                .count() as u32,
            ttls: replies
                .filter_map(|line| line.split("ttl=").nth(1)?.split(' ').next()?.parse().ok())
                .collect(),
        })
    }
}

impl Curl {
    fn command(&self) -> Vec<String> {
        // The body, a line feed, and the status: `%{http_code}` is 000 without an answer.
        let mut command = words("curl --silent --show-error --noproxy * --write-out");
        command.push("\\n%{http_code}".to_owned());
        command.extend([
            "--max-time".to_owned(),
            self.timeout.as_secs_f64().to_string(),
        ]);
        if let Some(port) = self.local_port {
            command.extend(["--local-port".to_owned(), port.to_string()]);
        }
        command.extend(["--".to_owned(), self.url.clone()]);
        command
    }
}

/// Splits what curl printed into body and status.
#[must_use]
pub fn curl_answer(stdout: &str) -> Option<(&str, u16)> {
    let (body, status) = stdout.rsplit_once('\n')?;
    Some((body, status.parse().ok()?))
}

/// A route as `ip -json route` prints it.
#[derive(Debug, Deserialize)]
struct PrintedRoute {
    dst: String,
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
}

impl PrintedRoute {
    /// `default`, an address, or an address with a prefix length.
    fn destination(&self) -> Option<Ipv4Net> {
        match self.dst.as_str() {
            "default" => Some(Ipv4Net::default()),
            dst => dst
                .parse()
                .ok()
                .or_else(|| dst.parse::<Ipv4Addr>().ok().map(Ipv4Net::from)),
        }
    }
}

impl std::fmt::Display for PrintedRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.dst)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        Ok(())
    }
}

/// Looks for `wanted` in what `ip -json route` printed: whether it is there, and the routes to
/// the same destination, as `ip route` shows them.
///
/// # Errors
///
/// Output that is not ip's.
pub fn find_route(stdout: &str, wanted: &Route) -> Result<(bool, Vec<String>), serde_json::Error> {
    let routes: Vec<PrintedRoute> = serde_json::from_str(if stdout.trim().is_empty() {
        "[]"
    } else {
        stdout
    })?;
    let same: Vec<&PrintedRoute> = routes
        .iter()
        .filter(|route| route.destination() == Some(wanted.to))
        .collect();
    let found = same.iter().any(|route| {
        wanted.via.is_none_or(|via| route.gateway == Some(via))
            && wanted
                .dev
                .as_ref()
                .is_none_or(|dev| route.dev.as_ref() == Some(dev))
    });
    Ok((found, same.iter().map(ToString::to_string).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINGED: &str = "\
PING 192.168.10.200 (192.168.10.200) 56(84) bytes of data.
64 bytes from 192.168.10.200: icmp_seq=1 ttl=63 time=0.433 ms
64 bytes from 192.168.10.200: icmp_seq=1 ttl=63 time=0.533 ms (DUP!)
64 bytes from 192.168.10.200: icmp_seq=2 ttl=63 time=0.657 ms

--- 192.168.10.200 ping statistics ---
2 packets transmitted, 2 received, +1 duplicates, 0% packet loss, time 50ms
rtt min/avg/max/mdev = 0.433/0.545/0.657/0.112 ms
";

    #[test]
    fn ping_statistics_are_read() {
        let replies = Replies::read(PINGED).unwrap();
        assert_eq!(
            replies,
            Replies {
                received: 2,
                duplicates: 1,
                ttls: vec![63, 63, 63]
            }
        );
    }

    #[test]
    fn a_ping_that_got_errors_received_nothing() {
        let stdout = "PING 10.9.9.9 (10.9.9.9) 56(84) bytes of data.\n\
            From 192.168.10.200 icmp_seq=1 Destination Host Unreachable\n\n\
            --- 10.9.9.9 ping statistics ---\n\
            1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n";
        let replies = Replies::read(stdout).unwrap();
        assert_eq!((replies.received, replies.duplicates), (0, 0));
    }

    /// netlab 3496: an expected failure must not pass because nothing was printed at all.
    #[test]
    fn no_statistics_are_no_replies() {
        assert_eq!(Replies::read(""), None);
    }

    #[test]
    fn curl_prints_body_and_status() {
        assert_eq!(
            curl_answer("Hostname: router\n\n200"),
            Some(("Hostname: router\n", 200))
        );
        assert_eq!(curl_answer("\n000"), Some(("", 0)));
        assert_eq!(curl_answer(""), None);
    }

    #[test]
    fn routes_are_found() {
        let stdout = r#"[{"dst":"default","gateway":"10.0.2.2","dev":"eth0","flags":[]},
            {"dst":"10.10.0.0/16","gateway":"192.168.10.200","dev":"eth1","protocol":"static","flags":[]},
            {"dst":"10.244.0.5","dev":"lxc0895f39b5225","protocol":"kernel","scope":"link","flags":[]}]"#;
        let route = |to: &str, via: Option<&str>, dev: Option<&str>| Route {
            to: to.parse().unwrap(),
            via: via.map(|via| via.parse().unwrap()),
            dev: dev.map(str::to_owned),
        };
        let found = |route: Route| find_route(stdout, &route).unwrap().0;
        assert!(found(route(
            "10.10.0.0/16",
            Some("192.168.10.200"),
            Some("eth1")
        )));
        assert!(found(route("0.0.0.0/0", None, None)));
        assert!(found(route("10.244.0.5/32", None, Some("lxc0895f39b5225"))));
        assert!(!found(route("10.10.0.0/24", None, None)));
        let (found, same) =
            find_route(stdout, &route("10.10.0.0/16", Some("192.168.10.1"), None)).unwrap();
        assert!(!found);
        assert_eq!(same, ["10.10.0.0/16 via 192.168.10.200 dev eth1"]);
    }
}
