//! Memory with both caches full.

mod as_root {
    use super::super::server::{Site, metric, receive, socket};
    use super::super::wire::{A, query};

    /// Both caches' entries, as node-cache has them.
    const CAPACITY: u16 = 9984;
    /// Names for each: shards fill unevenly.
    const NAMES: u16 = 15_000;
    /// Of the 30 MiB that the pod may take (KEP of node-local DNS), what is left beside the
    /// pages of an optimised program, 8.2 MiB. Those of this one, which is not, are not
    /// counted: they are 21 MiB, and the caches make no difference to them. `cargo xtask
    /// bench dns` shows all of it.
    const MOST_KIB: u64 = 20 * 1024;

    #[test]
    fn full_caches_leave_room_for_the_program_in_thirty_megabytes() {
        let site = Site::new("3600", "max_concurrent 1000");
        let mut server = site.start(&Site::binary(), &[]);
        let socket = socket();
        for kind in ["a-name-of-common-length", "no"] {
            for number in 0..NAMES {
                let name = format!("{kind}.service-{number}.namespace.svc.cluster.example.");
                socket.send(&query(number, &name, A)).expect("send");
                receive(&socket).expect("an answer");
            }
        }
        let entries = metric("coredns_cache_entries");
        assert!(
            entries >= 1.9 * f64::from(CAPACITY) && entries <= 2.0 * f64::from(CAPACITY),
            "{entries} entries"
        );
        let resident = server.status_kib("RssAnon");
        println!("{resident} KiB with {entries} entries");
        assert!(
            resident <= MOST_KIB,
            "{resident} KiB with {entries} entries"
        );
        server.answers();
    }
}
