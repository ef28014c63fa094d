//! With a world and nodes of their own, joined by veth pairs.

mod as_root {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Duration;

    use lab_model::plan::OutsideLink;

    use super::super::{Outside, OutsideError};
    use crate::namespace::{create_unnamed, in_netns};
    use crate::netlink::{LinkChange, LinkEnd, Mac, Netlink, Request, Route, Scope};

    const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const WORLD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const DEADLINE: Duration = Duration::from_secs(5);
    const LOOPBACK: u32 = 1;

    fn view(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(100, 64, 0, last)
    }

    /// A world with 10.0.2.2, and nodes behind `n1`, `n2`, …, all 10.0.2.15.
    struct Lab {
        world: OwnedFd,
        nodes: Vec<OwnedFd>,
    }

    impl Lab {
        fn new(nodes: u8) -> Self {
            assert!(
                nix::unistd::geteuid().is_root(),
                "this test makes network namespaces: run it as root"
            );
            let world = create_unnamed().unwrap();
            let mut netlink = Netlink::open_in(&world).unwrap();
            let address = Request::AddAddress {
                device: LOOPBACK,
                address: WORLD.into(),
                scope: Scope::Universe,
            };
            netlink.execute_all(&[up("lo"), address]).unwrap();
            let nodes = (1..=nodes)
                .map(|number| join(&mut netlink, number))
                .collect();
            Self { world, nodes }
        }

        fn load(&self) -> Outside {
            in_netns(&self.world, Outside::load).unwrap().unwrap()
        }

        fn set(&self, outside: &mut Outside, links: &[OutsideLink]) -> Result<(), OutsideError> {
            in_netns(&self.world, || outside.set_links(links)).unwrap()
        }

        /// The address that the world sees when the node connects to it and both
        /// exchange a byte.
        fn connect_from(&self, node: usize) -> Ipv4Addr {
            let listener = in_netns(&self.world, || TcpListener::bind((WORLD, 0)))
                .unwrap()
                .unwrap();
            let target = listener.local_addr().unwrap();
            let client = in_netns(&self.nodes[node], || {
                TcpStream::connect_timeout(&target, DEADLINE)
            })
            .unwrap()
            .expect("the node reaches the world");
            let (server, seen) = listener.accept().unwrap();
            exchange(&client, &server);
            ipv4(seen)
        }
    }

    fn up(name: &str) -> Request<'static> {
        Request::SetLink {
            name: name.to_owned(),
            change: LinkChange::up(),
        }
    }

    /// Makes a node and plugs it into the world.
    fn join(world: &mut Netlink, number: u8) -> OwnedFd {
        let node = create_unnamed().unwrap();
        plug(world, &node, number, view(number));
        node
    }

    fn plug(world: &mut Netlink, node: &OwnedFd, number: u8, address: Ipv4Addr) {
        let mac = Mac([2, 0, 0, 0, 1, number]);
        let port = format!("n{number}");
        let pair = Request::AddVeth {
            end: LinkEnd::named(port.as_str()),
            master: None,
            peer: LinkEnd::named("eth0").in_netns(node.as_fd()).mac(mac),
        };
        world.execute_all(&[pair, up(&port)]).unwrap();
        let mut inside = Netlink::open_in(node).unwrap();
        let eth0 = inside.index_of("eth0").unwrap().unwrap();
        let own = Request::AddAddress {
            device: eth0,
            address: format!("{NODE}/24").parse().unwrap(),
            scope: Scope::Universe,
        };
        inside.execute_all(&[up("eth0"), own]).unwrap();
        let device = world.index_of(&port).unwrap().unwrap();
        let way_back = Request::AddRoute(Route::link(address.into(), device));
        let neighbour = Request::ReplaceNeighbour {
            device,
            address,
            mac,
        };
        world.execute_all(&[way_back, neighbour]).unwrap();
    }

    fn link(number: u8, address: Ipv4Addr) -> OutsideLink {
        OutsideLink {
            interface: format!("n{number}"),
            address,
        }
    }

    fn exchange(a: &TcpStream, b: &TcpStream) {
        let mut byte = [0];
        for (mut from, mut to) in [(a, b), (b, a)] {
            to.set_read_timeout(Some(DEADLINE)).unwrap();
            from.write_all(b"x").unwrap();
            to.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
        }
    }

    fn ipv4(address: SocketAddr) -> Ipv4Addr {
        match address {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(address) => panic!("{address} is not IPv4"),
        }
    }

    #[test]
    fn the_world_tells_nodes_of_one_address_apart_and_answers_the_right_one() {
        let lab = Lab::new(2);
        let mut outside = lab.load();
        lab.set(&mut outside, &[link(1, view(1)), link(2, view(2))])
            .unwrap();
        assert_eq!(lab.connect_from(0), view(1));
        assert_eq!(lab.connect_from(1), view(2));
    }

    #[test]
    fn the_world_reaches_a_node_by_its_distinct_address() {
        let lab = Lab::new(2);
        let mut outside = lab.load();
        lab.set(&mut outside, &[link(1, view(1)), link(2, view(2))])
            .unwrap();
        let socket = in_netns(&lab.nodes[1], || UdpSocket::bind((NODE, 0)))
            .unwrap()
            .unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let sender = in_netns(&lab.world, || UdpSocket::bind((WORLD, 0)))
            .unwrap()
            .unwrap();
        sender
            .send_to(b"hello", SocketAddrV4::new(view(2), port))
            .unwrap();
        let mut buffer = [0; 16];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], ipv4(from)), (&b"hello"[..], WORLD));
        // And back, from a port that the world's socket is not connected to.
        socket.send_to(b"back", from).unwrap();
        sender.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(ipv4(sender.recv_from(&mut buffer).unwrap().1), view(2));
    }

    #[test]
    fn changed_links_do_not_disturb_the_others() {
        let lab = Lab::new(2);
        let mut outside = lab.load();
        lab.set(&mut outside, &[link(1, view(1)), link(2, view(2))])
            .unwrap();
        let listener = in_netns(&lab.world, || TcpListener::bind((WORLD, 0)))
            .unwrap()
            .unwrap();
        let target = listener.local_addr().unwrap();
        let client = in_netns(&lab.nodes[1], || {
            TcpStream::connect_timeout(&target, DEADLINE)
        })
        .unwrap()
        .unwrap();
        let (server, _) = listener.accept().unwrap();

        // The first node's interface is made anew, and it gets another address.
        let mut world = Netlink::open_in(&lab.world).unwrap();
        world
            .execute(&Request::DeleteLink {
                name: "n1".to_owned(),
            })
            .unwrap();
        plug(&mut world, &lab.nodes[0], 1, view(9));
        lab.set(&mut outside, &[link(1, view(9)), link(2, view(2))])
            .unwrap();
        assert_eq!(lab.connect_from(0), view(9));
        exchange(&client, &server);
    }

    #[test]
    fn a_link_that_leaves_is_no_longer_translated() {
        let lab = Lab::new(1);
        let mut outside = lab.load();
        lab.set(&mut outside, &[link(1, view(1))]).unwrap();
        lab.set(&mut outside, &[]).unwrap();
        let listener = in_netns(&lab.world, || UdpSocket::bind((WORLD, 0)))
            .unwrap()
            .unwrap();
        listener.set_read_timeout(Some(DEADLINE)).unwrap();
        let target = listener.local_addr().unwrap();
        let client = in_netns(&lab.nodes[0], || UdpSocket::bind((NODE, 0)))
            .unwrap()
            .unwrap();
        client.send_to(b"x", target).unwrap();
        assert_eq!(ipv4(listener.recv_from(&mut [0; 4]).unwrap().1), NODE);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let lab = Lab::new(1);
        let mut outside = lab.load();
        let error = lab.set(&mut outside, &[link(7, view(7))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "find interface n7 of the outside: ENODEV: No such device"
        );
    }
}
