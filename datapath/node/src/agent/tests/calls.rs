//! What programs call, while an agent with more of that takes over.

mod as_root {
    use std::fs;
    use std::path::Path;

    use crate::agent::tests::node::TestNode;
    use crate::api::AttachMode;
    use crate::datapath::{Datapath, Sizes};

    const BPFFS: &str = "/sys/fs/bpf";

    /// Arrays of calls that are pinned.
    fn arrays(node: &TestNode) -> usize {
        node.as_node(|| {
            let entries = fs::read_dir(Path::new(BPFFS).join("cilium")).expect("list");
            let names = entries.map(|entry| entry.expect("list").file_name());
            let names = names.map(|name| name.to_string_lossy().into_owned());
            names
                .filter(|name| name.starts_with("cilium_calls"))
                .count()
        })
    }

    /// What answers a masqueraded pod is given its address back in a called program, without
    /// which it would be dropped.
    fn answers_come(node: &TestNode) {
        node.run_in("default_pod-a", "ping -c 1 -W 1 192.168.10.101");
    }

    #[test]
    fn an_earlier_agents_programs_go_on_calling_until_they_are_replaced() {
        let (mut one, _two) = TestNode::pair();
        one.apply(&one.state());
        answers_come(&one);
        one.stop_agent();
        let mut sizes = Sizes::of(&one.state().datapath);
        sizes.calls += 1;
        // As far as an agent of another version comes before it is killed.
        let load = || {
            let bpffs = Path::new(BPFFS);
            let loaded = Datapath::load(None, bpffs, sizes, AttachMode::of_kernel(), false);
            loaded.map(drop)
        };
        one.as_node(load).expect("load");
        assert_eq!(arrays(&one), 2);
        answers_come(&one);
        one.start_agent();
        answers_come(&one);
        assert_eq!(arrays(&one), 1, "nothing needs the earlier one");
    }
}
