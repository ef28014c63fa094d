//! Labs of routers and a world, made on this host. What runs on their nodes is
//! not labctl but a script that keeps labctl's promises to this crate: it says
//! when it is ready, and runs until it is killed. Node agents and their pods are
//! tested with the real binary, in the workspace's `tests`.

mod as_root;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lab_model::lab::{Lab, Node, ProviderKind, Role};
use lab_model::node_state::NodeStates;
use lab_model::plan::{Desired, Plan, Wiring, plan};
use lab_model::values::Values;
use tempfile::TempDir;

use super::places::mounts_below;
use super::{Netns, Options};
use crate::{ExecuteError, LabLock, Record, Target, Wait};

/// The last argument of a server is the descriptor to report readiness to. A
/// server on port 1 fails.
const STAND_IN: &str = r#"#!/bin/bash
case "$*" in
  "app pause") exec sleep infinity ;;
  "app http --port 1 "*) echo "port 1 is not to be had" >&2; exit 7 ;;
  *--ready-fd*) echo ready >&"${@: -1}"; exec sleep infinity ;;
esac
exit 64
"#;

static NEVER: AtomicBool = AtomicBool::new(false);

/// A lab that goes down when the test ends, however it ends.
struct Fixture {
    provider: Netns,
    lab: Lab,
    _folder: TempDir,
}

impl Fixture {
    /// `nodes` with the last byte of their address; a world has 0.
    fn new(nodes: &[(&str, Role, u8)]) -> Self {
        /// Labs of this process so far.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "run this test as root: it makes namespaces"
        );
        let folder = TempDir::new().expect("a folder for the stand-in");
        let provider = provider(folder.path());
        let name = format!(
            "t{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            provider,
            lab: lab(&name, nodes),
            _folder: folder,
        }
    }

    fn name(&self) -> &str {
        &self.lab.name
    }

    /// Waits if need be: a child that another test is just starting shares the
    /// lock until it executes.
    #[track_caller]
    fn lock(&self) -> LabLock {
        let wait = Wait::Until {
            interrupt: &NEVER,
            waiting: &mut |_| (),
        };
        self.provider.lock(self.name(), wait).expect("lock the lab")
    }

    fn plan(&self) -> Plan {
        self.plan_for(&self.lab)
    }

    fn plan_for(&self, lab: &Lab) -> Plan {
        let observed = self.provider.observe(&lab.name).expect("observe the lab");
        plan(
            Some(Desired {
                lab,
                node_states: &NodeStates::new(),
                wiring: Wiring::Cables,
            }),
            &observed,
        )
    }

    fn lines(&self) -> Vec<String> {
        self.plan().steps.iter().map(ToString::to_string).collect()
    }

    fn try_up(&self, lab: &Lab, interrupt: &AtomicBool) -> Result<usize, ExecuteError> {
        let lock = self.lock();
        let plan = self.plan_for(lab);
        let record = Record::new(
            lab,
            Path::new("test.yaml"),
            ProviderKind::Netns,
            Vec::new(),
            serde_json::Value::Null,
        );
        self.provider
            .execute(&lock, &plan, &record, interrupt, &mut |_| ())?;
        Ok(plan.steps.len())
    }

    /// Brings the lab up, and returns how many steps that took.
    #[track_caller]
    fn up(&self) -> usize {
        self.try_up(&self.lab, &NEVER)
            .unwrap_or_else(|error| panic!("failed to {error}"))
    }

    #[track_caller]
    fn down(&self) {
        let lock = self.lock();
        self.provider
            .down(&lock, &NEVER, &mut |_| ())
            .unwrap_or_else(|error| panic!("failed to {error}"));
    }

    fn run(&self, node: &str, argv: &[&str]) -> Output {
        let target = Target::Node {
            name: node.to_owned(),
        };
        let mut command = self
            .provider
            .command(self.name(), &target, argv)
            .expect("a command");
        command.output().expect("run the command")
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    fn output(&self, node: &str, argv: &[&str]) -> String {
        let output = self.run(node, argv);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{argv:?} on {node}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn assert_reaches(&self, node: &str, address: &str) {
        self.output(node, &["ping", "-c", "1", "-W", "5", address]);
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        let places = self.provider.places(self.name()).expect("a legal name");
        assert!(
            !places.folder().path().exists(),
            "{} is there",
            places.folder().path().display()
        );
        assert!(
            !places.cgroup().exists(),
            "{} is there",
            places.cgroup().path().display()
        );
        assert_eq!(
            mounts_below(places.folder().path()).expect("list mounts"),
            Vec::<std::path::PathBuf>::new()
        );
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let wait = Wait::Until {
            interrupt: &NEVER,
            waiting: &mut |_| (),
        };
        if let Ok(lock) = self.provider.lock(self.name(), wait)
            && let Err(error) = self.provider.down(&lock, &NEVER, &mut |_| ())
        {
            eprintln!("failed to {error}");
        }
    }
}

fn provider(folder: &Path) -> Netns {
    let labctl = folder.join("labctl");
    std::fs::write(&labctl, STAND_IN).expect("write the stand-in");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&labctl, mode).expect("make the stand-in executable");
    Netns::new(Options {
        labctl,
        datapath_object: None,
    })
    .expect("a provider")
}

fn lab(name: &str, nodes: &[(&str, Role, u8)]) -> Lab {
    let node = |(name, role, number): &(&str, Role, u8)| Node {
        name: (*name).to_owned(),
        role: *role,
        address: (*role != Role::World).then(|| Ipv4Addr::new(192, 168, 10, *number)),
        dummies: BTreeMap::new(),
        serve_http: None,
        zone: None,
        machine: <_>::default(),
    };
    Lab {
        name: name.to_owned(),
        network: "192.168.10.0/24".parse().expect("a CIDR"),
        nodes: nodes.iter().map(node).collect(),
        routes: Vec::new(),
        values: Values::default(),
        dns: None,
        provider: <_>::default(),
        manifests: Vec::new(),
        checks: Vec::new(),
    }
}
