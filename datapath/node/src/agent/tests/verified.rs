//! Programs that are verified already.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use lab_datapath_common::programs;
use lab_model::node_state::{DatapathSettings, NodeState};

use super::node::TestNode;
use crate::datapath::Datapath;

const BPFFS: &str = "/sys/fs/bpf";

/// The kernel's numbers of the pinned programs, which it gives to each once.
fn verified(node: &TestNode) -> BTreeMap<String, u32> {
    node.as_node(|| {
        let folders = |path: &Path| -> Vec<_> {
            let entries = fs::read_dir(path).expect("list");
            entries.map(|entry| entry.expect("list").path()).collect()
        };
        let objects = folders(&Path::new(BPFFS).join("cilium/programs"));
        let digests = objects.iter().flat_map(|object| folders(object));
        let pins = digests.flat_map(|digest| folders(&digest));
        let numbers = pins.map(|pin| {
            let name = pin.file_name().expect("a name").to_string_lossy();
            let program = ProgramInfo::from_pin(&pin).expect("open");
            (name.into_owned(), program.id())
        });
        numbers.collect()
    })
}

/// The number of the program at `eth1`.
fn attached(node: &TestNode) -> Option<u32> {
    node.inside(|| {
        let programs = SchedClassifier::query_tcx("eth1", TcAttachType::Ingress);
        let (_, programs) = programs.expect("ask");
        programs.first().map(ProgramInfo::id)
    })
}

fn with_more_nat_entries(mut state: NodeState) -> NodeState {
    state.datapath.nat_max *= 2;
    state
}

fn with_usual_sizes(mut state: NodeState) -> NodeState {
    let usual = DatapathSettings::default();
    let settings = &mut state.datapath;
    settings.nat_max = usual.nat_max;
    settings.ct_tcp_max = usual.ct_tcp_max;
    settings.ct_any_max = usual.ct_any_max;
    state
}

mod as_root {
    use super::*;

    #[test]
    fn an_agent_that_starts_again_takes_them_over() {
        let mut node = TestNode::start("k8s-ctr", 0);
        node.apply(&node.state());
        let before = verified(&node);
        let all = programs::ALL.len() + programs::CALLED.len() + programs::sock::ALL.len();
        // There is no tunnel, and nothing verified for one.
        assert_eq!(before.len(), all - 2);
        assert!(!before.contains_key(programs::FROM_OVERLAY));
        assert_eq!(
            attached(&node),
            before.get(programs::FROM_NETDEV).copied(),
            "what is pinned is what runs"
        );
        node.stop_agent();
        node.start_agent();
        assert_eq!(verified(&node), before);
        assert_eq!(attached(&node), before.get(programs::FROM_NETDEV).copied());
        assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
    }

    #[test]
    fn a_map_that_is_made_anew_has_all_verified_anew() {
        let node = TestNode::start("k8s-ctr", 0);
        node.apply(&node.state());
        let before = verified(&node);
        node.apply(&with_more_nat_entries(node.state()));
        let after = verified(&node);
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        );
        let is_of_sockets = |name: &&String| programs::sock::ALL.contains(&name.as_str());
        for name in before.keys().filter(|name| !is_of_sockets(name)) {
            assert_ne!(before[name], after[name], "{name} has the old map");
        }
        assert_eq!(attached(&node), after.get(programs::FROM_NETDEV).copied());
        assert_eq!(node.client().drift().expect("ask"), Vec::<String>::new());
    }

    #[test]
    fn an_agent_takes_over_what_was_verified_ahead() {
        let node = TestNode::start("k8s-ctr", 0);
        node.as_node(|| Datapath::verify_ahead(Path::new(BPFFS)))
            .expect("verify");
        let ahead = verified(&node);
        node.apply(&with_usual_sizes(node.state()));
        assert_eq!(verified(&node), ahead);
        assert_eq!(attached(&node), ahead.get(programs::FROM_NETDEV).copied());
        node.run_in("default_pod-a", "ping -c 1 -W 2 10.244.0.11");
    }
}
