use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::*;

fn routes_as_text(netlink: &mut Netlink) -> Vec<String> {
    let links = netlink.links().expect("dump links");
    let name = |index| {
        links
            .iter()
            .find(|l| l.index == index)
            .map(|l| l.name.clone())
    };
    let mut routes: Vec<_> = netlink
        .routes()
        .expect("dump routes")
        .iter()
        .map(|r| r.describe(name))
        .collect();
    routes.sort();
    routes
}

#[test]
fn requests_print_as_ip_commands() {
    let veth = Request::AddVeth {
        end: LinkEnd::named("k8s-ctr"),
        master: Some(2),
        peer: LinkEnd::named("eth1")
            .mac(Mac([2, 0, 0, 0, 0, 1]))
            .mtu(1500)
            .index(3),
    };
    assert_eq!(
        veth.to_string(),
        "ip link add k8s-ctr master if2 up type veth peer eth1 index 3 address 02:00:00:00:00:01 mtu 1500"
    );
    let route = Route::via(
        "10.244.1.0/24".parse().expect("legal"),
        Ipv4Addr::new(192, 168, 10, 101),
    )
    .device(3)
    .protocol(protocol::KERNEL);
    assert_eq!(
        Request::ReplaceRoute(route).describe(|index| (index == 3).then(|| "eth1".to_owned())),
        "ip route replace 10.244.1.0/24 via 192.168.10.101 dev eth1 proto kernel"
    );
}

#[test]
fn an_ethernet_address_is_read_as_it_is_printed() {
    let mac: Mac = "02:00:5e:10:00:ff".parse().expect("legal");
    assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
    for text in [
        "",
        "02:00:5e:10:00",
        "02:00:5e:10:00:ff:00",
        "+2:00:5e:10:00:ff",
        "2:0:5e:10:0:ff",
    ] {
        assert!(text.parse::<Mac>().is_err(), "{text:?}");
    }
}

mod as_root {
    use std::os::fd::OwnedFd;

    use super::*;

    fn namespace_with_netlink() -> (OwnedFd, Netlink) {
        let netns = namespace::create_unnamed().expect("create a namespace as root");
        let netlink = Netlink::open_in(&netns).expect("open");
        (netns, netlink)
    }

    /// A veth pair between two namespaces, from a socket in neither of them.
    #[test]
    fn a_veth_pair_is_born_in_two_other_namespaces_in_one_request() {
        let (_netns, mut netlink) = namespace_with_netlink();
        let (one, mut in_one) = namespace_with_netlink();
        let (two, mut in_two) = namespace_with_netlink();
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        netlink
            .execute(&Request::AddVeth {
                end: LinkEnd::named("eth0")
                    .index(2)
                    .mac(mac)
                    .mtu(1400)
                    .in_netns(one.as_fd()),
                master: None,
                peer: LinkEnd::named("lxc12").index(9).in_netns(two.as_fd()),
            })
            .expect("add");
        in_two
            .execute(&Request::SetLink {
                name: "lxc12".into(),
                change: LinkChange::up(),
            })
            .expect("set up");
        let eth0 = in_one.link("eth0").expect("query").expect("there");
        let lxc = in_two.link("lxc12").expect("query").expect("there");
        assert_eq!(
            (eth0.index, eth0.mac, eth0.mtu, eth0.up),
            (2, Some(mac), 1400, true)
        );
        assert_eq!((lxc.index, lxc.kind.as_str(), lxc.up), (9, "veth", true));
        assert_eq!((eth0.peer, lxc.peer), (Some(9), Some(2)));
        assert!(eth0.peer_netns_id.is_some());
        assert_eq!(
            netlink.links().expect("dump").len(),
            1,
            "only lo stays behind"
        );
    }

    #[test]
    fn a_batch_makes_a_node_and_dumps_show_it() {
        let (_netns, mut netlink) = namespace_with_netlink();
        let device = 5;
        let node: Ipv4Net = "192.168.10.100/24".parse().expect("legal");
        let gateway = Ipv4Addr::new(192, 168, 10, 200);
        netlink
            .execute_all(&[
                Request::AddLink {
                    kind: LinkKind::Bridge,
                    end: LinkEnd::named("lab").index(4),
                },
                Request::AddVeth {
                    end: LinkEnd::named("port").index(6),
                    master: Some(4),
                    peer: LinkEnd::named("eth1").index(device),
                },
                Request::SetLink {
                    name: "eth1".into(),
                    change: LinkChange::up(),
                },
                Request::AddAddress {
                    device,
                    address: node,
                    scope: Scope::Universe,
                },
                Request::AddRoute(
                    Route::via("10.10.0.0/16".parse().expect("legal"), gateway)
                        .protocol(protocol::STATIC),
                ),
                Request::ReplaceNeighbour {
                    device,
                    address: gateway,
                    mac: Mac([2; 6]),
                },
            ])
            .expect("all accepted");
        assert_eq!(
            netlink.link("port").expect("query").expect("there").master,
            Some(4)
        );
        assert_eq!(
            netlink.addresses().expect("dump"),
            [Address {
                device,
                address: node,
                scope: Scope::Universe
            }]
        );
        assert_eq!(
            routes_as_text(&mut netlink),
            [
                "10.10.0.0/16 via 192.168.10.200 dev eth1 proto static",
                "192.168.10.0/24 dev eth1 proto kernel scope link src 192.168.10.100",
            ]
        );
        let neighbours = netlink.neighbours().expect("dump");
        assert_eq!(
            neighbours
                .iter()
                .map(|n| (n.address, n.mac, n.permanent))
                .collect::<Vec<_>>(),
            [(gateway, Mac([2; 6]), true)]
        );
    }

    #[test]
    fn every_route_found_can_be_deleted_and_replaced() {
        let (_netns, mut netlink) = namespace_with_netlink();
        let host =
            Route::link("10.244.0.5/32".parse().expect("legal"), 2).protocol(protocol::KERNEL);
        let mut default = Route::via(Ipv4Net::default(), Ipv4Addr::new(10, 244, 0, 1)).device(2);
        default.onlink = true;
        netlink
            .execute_all(&[
                // Without a local table no gateway is one (`__inet_dev_addr_type`).
                Request::SetLink {
                    name: "lo".into(),
                    change: LinkChange::up(),
                },
                Request::AddVeth {
                    end: LinkEnd::named("lxc1").index(2),
                    master: None,
                    peer: LinkEnd::named("x").index(3),
                },
                Request::SetLink {
                    name: "x".into(),
                    change: LinkChange::up(),
                },
                Request::AddRoute(host.clone()),
                Request::AddRoute(default),
            ])
            .expect("all accepted");
        assert_eq!(
            routes_as_text(&mut netlink),
            [
                "10.244.0.5 dev lxc1 proto kernel scope link",
                "default via 10.244.0.1 dev lxc1 onlink"
            ]
        );
        netlink
            .execute(&Request::ReplaceRoute(host))
            .expect("replace");
        for route in netlink.routes().expect("dump") {
            netlink
                .execute(&Request::DeleteRoute(route))
                .expect("delete what was found");
        }
        assert_eq!(netlink.routes().expect("dump"), []);
    }

    #[test]
    fn a_refusal_names_the_request_and_the_rest_of_the_batch_is_tried() {
        let (_netns, mut netlink) = namespace_with_netlink();
        let requests = [
            Request::DeleteLink {
                name: "gone".into(),
            },
            Request::AddAddress {
                device: 1,
                address: "127.0.0.9/8".parse().expect("legal"),
                scope: Scope::Host,
            },
            Request::AddRoute(Route::via(
                "10.0.0.0/8".parse().expect("legal"),
                Ipv4Addr::new(9, 9, 9, 9),
            )),
        ];
        let outcomes = netlink.execute_each(&requests).expect("sent");
        let gone = outcomes[0]
            .as_ref()
            .expect_err("there is no such interface");
        assert!(gone.is_missing());
        assert_eq!(gone.to_string(), "run `ip link del gone`: No such device");
        assert!(outcomes[1].is_ok());
        let unreachable = outcomes[2].as_ref().expect_err("no way to the gateway");
        assert_eq!(unreachable.errno(), Some(Errno::ENETUNREACH));
        assert_eq!(
            unreachable.to_string(),
            "run `ip route add 10.0.0.0/8 via 9.9.9.9`: Network is unreachable (Nexthop has invalid gateway)"
        );
        // The socket is in step again: a new request gets its own answer.
        netlink
            .execute(&requests[0])
            .expect_err("still no such interface");
        assert_eq!(netlink.addresses().expect("dump").len(), 1);
    }

    /// More requests than acknowledgements fit into a socket's buffer.
    #[test]
    fn a_thousand_addresses_go_in_one_call() {
        let (_netns, mut netlink) = namespace_with_netlink();
        let requests: Vec<_> = (0..1000_u32)
            .map(|n| Request::AddAddress {
                device: 1,
                address: Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + n), 32).expect("legal"),
                scope: Scope::Universe,
            })
            .collect();
        netlink.execute_all(&requests).expect("all accepted");
        assert_eq!(netlink.addresses().expect("dump").len(), 1000);
        let again = netlink.execute_each(&requests).expect("sent");
        assert_eq!(
            again
                .iter()
                .filter(|o| o.as_ref().is_err_and(NetlinkError::is_already_there))
                .count(),
            1000
        );
    }

    #[test]
    fn an_interface_changes_and_goes() {
        let (_netns, mut netlink) = namespace_with_netlink();
        let kind = netlink
            .add_dummy(&LinkEnd::named("loop1"))
            .expect("dummy or ifb");
        let change = LinkChange {
            up: Some(false),
            mtu: Some(1300),
            ..LinkChange::default()
        };
        netlink
            .execute(&Request::SetLink {
                name: "loop1".into(),
                change,
            })
            .expect("change");
        let link = netlink.link("loop1").expect("query").expect("there");
        assert_eq!(
            (link.up, link.mtu, link.kind.as_str()),
            (false, 1300, kind.as_str())
        );
        netlink
            .execute(&Request::DeleteLink {
                name: "loop1".into(),
            })
            .expect("delete");
        assert_eq!(netlink.link("loop1").expect("query"), None);
        assert_eq!(netlink.index_of("lo").expect("query"), Some(1));
    }
}
