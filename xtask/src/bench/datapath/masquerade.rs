//! Masquerading: a pod talks to the router through its node, which
//! forwards plainly, masquerades with our datapath, with iptables, or with nft.
//!
//! All four are the study lab. The plain one and the two peers run without our
//! programs on the node that is measured, and the kernel's stack forwards there.

use anyhow::{Context, Result};

use super::super::lab::Lab;
use super::measures::{self, Figures, Way, start_servers};
use crate::table::Table;

const LAB: &str = "labs/study.yaml";
const PASSTHROUGH: &str = "datapath/prebuilt/passthrough.bpf.o";
const NODE: &str = "k8s-ctr";
const POD: &str = "curl-pod";
const ROUTER: &str = "router";
const ROUTER_ADDRESS: &str = "192.168.10.200";

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    Plain,
    Labctl,
    Iptables,
    Nft,
}

impl Contestant {
    const ALL: [Self; 4] = [Self::Plain, Self::Labctl, Self::Iptables, Self::Nft];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain forwarding",
            Self::Labctl => "labctl masquerade",
            Self::Iptables => "iptables MASQUERADE",
            Self::Nft => "nft masquerade",
        }
    }

    fn lab_name(self) -> &'static str {
        match self {
            Self::Plain => "bench-plain",
            Self::Labctl => "bench-labctl",
            Self::Iptables => "bench-ipt",
            Self::Nft => "bench-nft",
        }
    }

    fn bring_up(self) -> Result<Lab> {
        if self == Self::Labctl {
            return Lab::up(LAB, self.lab_name(), &[]);
        }
        let lab = Lab::up(LAB, self.lab_name(), &["--datapath-object", PASSTHROUGH])?;
        // Unpinning a TCX link detaches it: from here on the node's stack is alone.
        lab.exec(NODE, &["rm", "-r", "/sys/fs/bpf/cilium/links"])?;
        let rules: &[&[&str]] = match self {
            Self::Plain | Self::Labctl => &[],
            Self::Iptables => &[&[
                "iptables",
                "-t",
                "nat",
                "-A",
                "POSTROUTING",
                "-s",
                "10.244.0.0/16",
                "-o",
                "eth1",
                "-j",
                "MASQUERADE",
            ]],
            Self::Nft => &[
                &["nft", "add table ip lab"],
                &[
                    "nft",
                    "add chain ip lab post { type nat hook postrouting priority 100 ; }",
                ],
                &[
                    "nft",
                    "add rule ip lab post ip saddr 10.244.0.0/16 oifname eth1 masquerade",
                ],
            ],
        };
        for rule in rules {
            lab.exec(NODE, rule)?;
        }
        if self == Self::Plain {
            let back = [
                "ip",
                "route",
                "add",
                "10.244.0.0/24",
                "via",
                "192.168.10.100",
            ];
            lab.exec(ROUTER, &back)?;
        }
        Ok(lab)
    }
}

/// Who forwards, and how well.
pub(super) fn table(rounds: usize, traffic: &str) -> Result<Table> {
    let mut labs = Vec::new();
    for contestant in Contestant::ALL {
        let lab = contestant.bring_up().with_context(|| contestant.name())?;
        start_servers(&lab, ROUTER, ROUTER_ADDRESS, traffic)?;
        labs.push(lab);
    }
    let mut figures = vec![Figures::default(); labs.len()];
    for round in 0..rounds {
        eprintln!("bench: masquerade: round {} of {rounds}", round + 1);
        for (lab, figures) in labs.iter().zip(&mut figures) {
            figures.add(&Way {
                lab,
                from: POD,
                to: ROUTER_ADDRESS.to_owned(),
                traffic,
            })?;
        }
    }
    let names = Contestant::ALL.map(Contestant::name);
    Ok(measures::table(
        "who forwards",
        names.into_iter().zip(&figures),
    ))
}
