//! What is counted of upstreams, by the real sockets.

mod as_root {
    use super::super::server::{Site, ask_udp, metric};
    use super::super::wire::{A, query};

    /// Asks for three names, one after the other; says how many went out by a socket that was
    /// there already, and by a new one.
    fn sockets_taken(option: &str) -> (f64, f64) {
        let site = Site::new("30", option);
        let _server = site.start(&Site::binary(), &[]);
        for (id, name) in ["one.example.", "two.example.", "three.example."]
            .iter()
            .enumerate()
        {
            let id = u16::try_from(id).expect("three");
            ask_udp(&query(id, name, A)).expect("an answer");
        }
        let counted =
            ["hits", "misses"].map(|it| metric(&format!("coredns_proxy_conn_cache_{it}_total")));
        (counted[0], counted[1])
    }

    #[test]
    fn a_connection_is_taken_again_and_counted_so() {
        assert_eq!(sockets_taken("force_tcp"), (2.0, 1.0));
    }

    #[test]
    fn each_datagram_has_a_socket_of_its_own_and_is_counted_so() {
        assert_eq!(sockets_taken("max_concurrent 1000"), (0.0, 3.0));
    }
}
