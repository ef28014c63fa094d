//! What a failed check shows.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::check_file::{LinkState, RouteChange, Step};

/// Why a check failed: every step and every expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Steps that did not end as expected.
    pub steps: Vec<StepFailure>,
    /// Expectations of packets that were not met, in the order of the file.
    pub packets: Vec<PacketFailure>,
    /// Where the first of them stands: expectations follow the packet there and back, so that is
    /// where it went wrong first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_wrong_hop: Option<Hop>,
}

/// A place in the packet's path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Name of the capture.
    pub capture: String,
    /// Node or pod.
    pub on: String,
    /// Interface there.
    pub interface: String,
}

/// A step that did not end as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// Which, from 1.
    pub number: usize,
    /// The step in words.
    pub step: String,
    /// What should have come of it.
    pub expected: String,
    /// What came of it.
    pub observed: String,
}

/// An expectation of packets that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketFailure {
    /// Name of the capture.
    pub capture: String,
    /// Node or pod.
    pub on: String,
    /// Interface there.
    pub interface: String,
    /// How many packets were expected, in words.
    pub expected: String,
    /// Which: the display filter, templates replaced.
    pub filter: String,
    /// How many packets matched.
    pub matched: u64,
    /// How many packets were captured in all.
    pub captured: u64,
    /// Packets that explain it, as `tcpdump -nn` prints them, in UTC.
    pub packets: Vec<String>,
    /// How many more there are.
    pub packets_left_out: u64,
    /// What probably happened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl Evidence {
    pub(super) fn new(steps: Vec<StepFailure>, packets: Vec<PacketFailure>) -> Self {
        let first_wrong_hop = packets.first().map(|failure| Hop {
            capture: failure.capture.clone(),
            on: failure.on.clone(),
            interface: failure.interface.clone(),
        });
        Self {
            steps,
            packets,
            first_wrong_hop,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.capture, self.on, self.interface)
    }
}

/// For people, over several lines:
///
/// ```text
/// first wrong hop: router (router eth1)
/// at router (router eth1): expected 3 packets, 0 of 6 matched
///   where icmp.type == 8 && ip.src == 192.168.10.100
///   3 packets match but for `ip.src == 192.168.10.100`: ip.src is 10.244.0.5; …
///   09:15:15.000000 IP 10.244.0.5 > 192.168.10.200: ICMP echo request, id 1, seq 1, length 64
/// ```
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some(hop) = &self.first_wrong_hop {
            lines.push(format!("first wrong hop: {hop}"));
        }
        for failure in &self.steps {
            let observed = failure.observed.replace('\n', "\n    ");
            lines.push(format!("step {}: {}", failure.number, failure.step));
            lines.push(format!(
                "  expected {}\n  observed {observed}",
                failure.expected
            ));
        }
        lines.extend(self.packets.iter().map(ToString::to_string));
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for PacketFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            capture,
            on,
            interface,
            expected,
            matched,
            captured,
            ..
        } = self;
        write!(
            f,
            "at {capture} ({on} {interface}): expected {expected}, {matched} of {captured} matched"
        )?;
        write!(
            f,
            "\n  where {}",
            if self.filter.is_empty() {
                "(any packet)"
            } else {
                &self.filter
            }
        )?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        for packet in &self.packets {
            write!(f, "\n  {packet}")?;
        }
        match self.packets_left_out {
            0 => Ok(()),
            left_out => write!(f, "\n  … and {left_out} more"),
        }
    }
}

/// The step in the words of a shell.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(ping) => write!(f, "{}: ping -c {} {}", ping.from, ping.count, ping.to),
            Self::Curl(curl) => write!(f, "{}: curl {}", curl.from, curl.url),
            Self::Tcp(tcp) => write!(f, "{}: connect to {}:{}", tcp.from, tcp.to, tcp.port),
            Self::Exec(exec) => write!(f, "{}: {}", exec.on, exec.command.join(" ")),
            Self::Route {
                on,
                change: RouteChange::Add { to, via },
            } => {
                write!(f, "{on}: ip route add {to} via {via}")
            }
            Self::Route {
                on,
                change: RouteChange::Del { to },
            } => write!(f, "{on}: ip route del {to}"),
            Self::ExpectRoute { on, route, .. } => write!(f, "{on}: ip route show {}", route.to),
            Self::Link {
                on,
                interface,
                state,
            } => {
                let state = match state {
                    LinkState::Up => "up",
                    LinkState::Down => "down",
                };
                write!(f, "{on}: ip link set {interface} {state}")
            }
            Self::Set(values) => write!(f, "set values {}", values.0),
            Self::Apply(manifest) => {
                let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
                let kind = manifest.0.get("kind").map(text).unwrap_or_default();
                let name = manifest.0.get("metadata").map(|it| text(&it["name"]));
                write!(f, "apply {kind}/{}", name.unwrap_or_default())
            }
            Self::Delete(delete) => write!(f, "delete {}/{}", delete.kind, delete.name),
            Self::Scale(scale) => write!(
                f,
                "scale Deployment/{} --replicas {}",
                scale.deployment, scale.replicas
            ),
        }
    }
}
