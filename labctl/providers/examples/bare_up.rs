//! The floor that `cargo xtask bench up` compares `labctl up` with: the study
//! lab's kernel objects and nothing else, straight through netlink, one after
//! another, and the datapath's programs loaded once for each cluster node.
//!
//! No processes, no mounts, no state, no checks of what is there. The namespaces
//! have no names and go with this process. Prints two figures in milliseconds:
//! until the programs are loaded, and until they are attached as well (the kernel
//! waits for an RCU grace period at each attachment).

use std::error::Error;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use aya::Ebpf;
use aya::programs::{SchedClassifier, TcAttachType};
use ipnet::Ipv4Net;
use lab_node::netlink::{LinkChange, LinkEnd, LinkKind, Netlink, Request, Route, Scope};
use lab_node::{ebpf_loader, namespace};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Entries of the maps that labctl sizes by the lab's values, and their default there.
const SIZED_MAPS: [&str; 3] = [
    "cilium_snat_v4_external",
    "cilium_ct4_global",
    "cilium_ct_any4_global",
];
const ENTRIES: u32 = 65_536;
/// Pods of k8s-ctr, k8s-w1 and k8s-w2.
const PODS: [u8; 3] = [2, 1, 1];
/// Nodes on the lab network: the cluster's, and the router.
const ON_SEGMENT: u8 = 4;

struct Namespace {
    netns: OwnedFd,
    netlink: Netlink,
}

impl Namespace {
    fn new() -> Result<Self> {
        let netns = namespace::create_unnamed()?;
        let mut netlink = Netlink::open_in(&netns)?;
        netlink.execute(&up("lo"))?;
        Ok(Self { netns, netlink })
    }

    fn index(&mut self, name: &str) -> Result<u32> {
        self.netlink
            .index_of(name)?
            .ok_or_else(|| format!("{name} is missing").into())
    }

    fn address(&mut self, interface: &str, address: &str) -> Result<()> {
        let device = self.index(interface)?;
        let (address, scope) = (address.parse()?, Scope::Universe);
        Ok(self.netlink.execute(&Request::AddAddress {
            device,
            address,
            scope,
        })?)
    }

    fn route(&mut self, to: &str, via: [u8; 4]) -> Result<()> {
        let route = Route::via(to.parse()?, Ipv4Addr::from(via));
        Ok(self.netlink.execute(&Request::AddRoute(route))?)
    }
}

fn main() -> Result<()> {
    let start = Instant::now();
    let (nodes, _others) = network()?;
    let mut programs = Vec::new();
    let mut pods = Vec::new();
    let mut cluster = Vec::new();
    for ((mut node, count), number) in nodes.into_iter().zip(PODS).zip(0_u8..) {
        pods.extend(pods_of(&mut node, number, count)?);
        programs.push(load()?);
        cluster.push((node, count));
    }
    let loaded = start.elapsed();
    for ((node, pods), ebpf) in cluster.iter().zip(&mut programs) {
        namespace::in_netns(&node.netns, || {
            attach(ebpf, *pods).map_err(|error| error.to_string())
        })??;
    }
    let attached = start.elapsed();
    println!(
        "{:.3} {:.3}",
        loaded.as_secs_f64() * 1e3,
        attached.as_secs_f64() * 1e3
    );
    Ok(())
}

/// As the agent does: managed devices and the pods' interfaces, both directions.
fn attach(ebpf: &mut Ebpf, pods: u8) -> Result<()> {
    let devices = ["eth0", "eth1"].map(str::to_owned);
    let pods: Vec<String> = (0..pods).map(|pod| format!("lxc{pod}")).collect();
    for (program, interfaces, direction) in [
        ("cil_from_netdev", &devices[..], TcAttachType::Ingress),
        ("cil_to_netdev", &devices[..], TcAttachType::Egress),
        ("cil_from_container", &pods[..], TcAttachType::Ingress),
        ("cil_to_container", &pods[..], TcAttachType::Egress),
    ] {
        let program: &mut SchedClassifier = ebpf
            .program_mut(program)
            .ok_or("a program is missing")?
            .try_into()?;
        for interface in interfaces {
            program.attach(interface, direction)?;
        }
    }
    Ok(())
}

fn up(name: &str) -> Request<'static> {
    Request::SetLink {
        name: name.to_owned(),
        change: LinkChange::up(),
    }
}

/// The segment, the outside, and the nodes with addresses and routes; the cluster's
/// nodes first, then all others.
fn network() -> Result<(Vec<Namespace>, Vec<Namespace>)> {
    let mut fabric = Namespace::new()?;
    fabric.netlink.execute(&Request::AddLink {
        kind: LinkKind::Bridge,
        end: LinkEnd::named("lab"),
    })?;
    let bridge = fabric.index("lab")?;
    let mut world = Namespace::new()?;
    world.address("lo", "10.0.2.2/32")?;
    let mut nodes = Vec::new();
    for number in 0..ON_SEGMENT {
        let mut node = Namespace::new()?;
        veth(
            &mut fabric,
            &format!("port{number}"),
            Some(bridge),
            &mut node,
            "eth1",
        )?;
        veth(
            &mut world,
            &format!("node{number}"),
            None,
            &mut node,
            "eth0",
        )?;
        node.address("eth0", "10.0.2.15/24")?;
        let last = if number == ON_SEGMENT - 1 {
            200
        } else {
            100 + number
        };
        node.address("eth1", &format!("192.168.10.{last}/24"))?;
        node.route("0.0.0.0/0", [10, 0, 2, 2])?;
        nodes.push(node);
    }
    let mut router = nodes.pop().ok_or("there are four nodes")?;
    for (dummy, address) in [("loop1", "10.10.1.200/24"), ("loop2", "10.10.2.200/24")] {
        router.netlink.add_dummy(&LinkEnd::named(dummy))?;
        router.address(dummy, address)?;
    }
    for node in &mut nodes {
        node.route("10.10.0.0/16", [192, 168, 10, 200])?;
    }
    Ok((nodes, vec![fabric, world, router]))
}

fn veth(
    from: &mut Namespace,
    name: &str,
    master: Option<u32>,
    to: &mut Namespace,
    peer: &str,
) -> Result<()> {
    let end = LinkEnd::named(name);
    let peer_end = LinkEnd::named(peer).in_netns(to.netns.as_fd());
    from.netlink.execute(&Request::AddVeth {
        end,
        master,
        peer: peer_end,
    })?;
    Ok(to.netlink.execute(&up(peer))?)
}

/// cilium_host, direct node routes, and the pods of one cluster node.
fn pods_of(node: &mut Namespace, number: u8, count: u8) -> Result<Vec<Namespace>> {
    let pair = Request::AddVeth {
        end: LinkEnd::named("cilium_host"),
        master: None,
        peer: LinkEnd::named("cilium_net"),
    };
    node.netlink.execute_all(&[pair, up("cilium_net")])?;
    let gateway = Ipv4Addr::new(10, 244, number, 1);
    node.address("cilium_host", &format!("{gateway}/32"))?;
    for peer in (0..3).filter(|peer| *peer != number) {
        node.route(&format!("10.244.{peer}.0/24"), [192, 168, 10, 100 + peer])?;
    }
    (0..count).map(|pod| add_pod(node, gateway, pod)).collect()
}

fn add_pod(node: &mut Namespace, gateway: Ipv4Addr, number: u8) -> Result<Namespace> {
    let mut pod = Namespace::new()?;
    let interface = format!("lxc{number}");
    veth(node, &interface, None, &mut pod, "eth0")?;
    let [a, b, c, _] = gateway.octets();
    let address = Ipv4Addr::new(a, b, c, 10 + number);
    pod.address("eth0", &format!("{address}/32"))?;
    let (host, everything) = (Ipv4Net::from(gateway), Ipv4Net::default());
    let device = pod.index("eth0")?;
    pod.netlink.execute_all(&[
        Request::AddRoute(Route::link(host, device)),
        Request::AddRoute(Route::via(everything, gateway)),
    ])?;
    let device = node.index(&interface)?;
    node.netlink
        .execute(&Request::AddRoute(Route::link(address.into(), device)))?;
    Ok(pod)
}

/// The four programs, with maps of the size that labctl gives them.
fn load() -> Result<Ebpf> {
    // As the agent does: reading the kernel's BTF would cost more than all else here.
    let mut loader = ebpf_loader::without_kernel_btf();
    for map in SIZED_MAPS {
        loader.map_max_entries(map, ENTRIES);
    }
    let object = aya::include_bytes_aligned!("../../../datapath/prebuilt/datapath.bpf.o");
    let mut ebpf = loader.load(object)?;
    for (_, program) in ebpf.programs_mut() {
        let program: &mut SchedClassifier = program.try_into()?;
        program.load()?;
    }
    Ok(ebpf)
}
