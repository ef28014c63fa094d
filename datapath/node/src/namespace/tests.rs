mod as_root {
    use std::os::fd::AsRawFd;

    use nix::sys::stat::fstat;

    use super::super::*;

    #[track_caller]
    fn inode(netns: &OwnedFd) -> u64 {
        fstat(netns.as_fd())
            .unwrap_or_else(|error| panic!("stat {}: {error}", netns.as_raw_fd()))
            .st_ino
    }

    #[test]
    fn a_created_namespace_is_at_its_path_until_it_is_deleted() {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("node");
        let (created, inside) = create_with(&path, || {
            inode(&current().expect("open the current namespace"))
        })
        .expect("create as root");
        assert_eq!(inside, inode(&created));
        assert!(is_netns(&path));
        assert_eq!(inode(&open(&path).expect("open")), inode(&created));
        assert_ne!(
            inode(&current().expect("open")),
            inside,
            "the caller's thread was moved"
        );

        delete(&path).expect("delete");
        assert!(!path.exists());
        delete(&path).expect("delete what is gone");
    }

    #[test]
    fn creating_over_a_leftover_file_fails_and_leaves_it() {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("node");
        File::create(&path).expect("make a file");
        assert!(matches!(create(&path), Err(NamespaceError::Mount { .. })));
        assert!(matches!(
            open(&path),
            Err(NamespaceError::NotMounted { .. })
        ));
        delete(&path).expect("delete the leftover");
        assert!(!path.exists());
    }

    #[test]
    fn a_closure_runs_inside_and_the_caller_stays_outside() {
        let netns = create_unnamed().expect("create as root");
        let inside = in_netns(&netns, || inode(&current().expect("open")));
        assert_eq!(inside.expect("enter"), inode(&netns));
        assert_ne!(inode(&current().expect("open")), inode(&netns));
    }
}
