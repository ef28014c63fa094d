use super::*;

fn printed(steps: &[MountStep]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_hides_what_it_must_not_hold_before_it_covers_run() {
    let hidden = [PathBuf::from("/run/labctl/study/netns")];
    let steps =
        printed(&node(Path::new("/run/labctl/study/nodes/k8s-ctr"), &hidden).expect("legal"));
    assert_eq!(
        steps[..10],
        [
            "keep mounts from the host",
            "unmount /run/labctl/study/netns",
            "change to /run/labctl/study/nodes/k8s-ctr",
            "mount tmpfs at /run",
            "make the folder /run/labctl",
            "bind . to /run/labctl",
            "change to /",
            "make the folder /run/netns",
            "bind /run/netns to /run/netns",
            "mount sysfs at /sys",
        ]
    );
    assert_eq!(
        steps[10..12],
        [
            "mount bpf at /sys/fs/bpf",
            "mount cgroup2 at /sys/fs/cgroup"
        ]
    );
    assert!(
        steps.contains(&"bind /run/labctl/etc/hosts to /etc/hosts".to_owned()),
        "{steps:#?}"
    );
}

/// systemd-resolved's `/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf`.
#[test]
fn a_link_is_followed_also_to_where_nothing_is() {
    let folder = tempfile::tempdir().expect("make a folder");
    let link = folder.path().join("resolv.conf");
    let up = "../".repeat(link.components().count());
    let target = format!("{up}run/labctl-no-such-folder/resolve/stub-resolv.conf");
    std::os::unix::fs::symlink(target, &link).expect("link");
    let resolved = resolve(&link).expect("leads somewhere");
    assert_eq!(
        resolved,
        Path::new("/run/labctl-no-such-folder/resolve/stub-resolv.conf")
    );
    assert_eq!(
        folders_below(Path::new("/run"), &resolved),
        [
            Path::new("/run/labctl-no-such-folder"),
            Path::new("/run/labctl-no-such-folder/resolve")
        ]
    );
    assert_eq!(resolve(&folder.path().join("missing")), None);
    let circle = folder.path().join("circle");
    std::os::unix::fs::symlink("circle", &circle).expect("link");
    assert_eq!(resolve(&circle), None);
}

#[test]
fn a_path_with_a_zero_byte_is_refused() {
    assert!(node(Path::new("/run/labctl/\0"), &[]).is_err());
}
