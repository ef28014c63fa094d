//! A service between a pod and a pod of another node: by its own address, through eBPF at the
//! socket, and through kube-proxy's rules.

use anyhow::{Context, Result};

use super::super::lab::Lab;
use super::measures::{self, Figures, STREAM_PORT, TOKEN_PORT, Way, start_servers};
use super::variant::Variant;
use crate::table::Table;

const CLIENT: &str = "curl-pod";
/// The pod behind the service.
pub(super) const SERVER: &str = "server";
/// The service's address.
pub(super) const CLUSTER_IP: &str = "10.96.7.7";

/// A pod on another node, and a service with its ports.
pub(super) fn manifest() -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {SERVER}, labels: {{app: {SERVER}}}}}
spec:
  nodeName: k8s-w1
  containers:
  - {{name: netshoot, image: nicolaka/netshoot}}
---
apiVersion: v1
kind: Service
metadata: {{name: {SERVER}}}
spec:
  clusterIP: {CLUSTER_IP}
  selector: {{app: {SERVER}}}
  ports:
  - {{name: stream, port: {STREAM_PORT}}}
  - {{name: datagrams, port: {STREAM_PORT}, protocol: UDP}}
  - {{name: tokens, port: {TOKEN_PORT}}}
"
    )
}

/// The address of a pod.
pub(super) fn address_of(lab: &Lab, pod: &str) -> Result<String> {
    let text = lab.exec(pod, &["ip", "-4", "-json", "addr", "show", "eth0"])?;
    let links: serde_json::Value =
        serde_json::from_str(&text).context("failed to read ip's JSON")?;
    let address = links[0]["addr_info"][0]["local"].as_str();
    Ok(address.context("the pod has no address")?.to_owned())
}

/// The lab with the service, and what answers in the pod.
pub(super) fn lab(variant: Variant, traffic: &str) -> Result<Lab> {
    let lab = variant.with_manifest("server.yaml", manifest())?.up(&[])?;
    start_servers(&lab, SERVER, "0.0.0.0", traffic)?;
    Ok(lab)
}

/// Who translates: nobody, eBPF, iptables.
pub(super) fn table(rounds: usize, traffic: &str) -> Result<Table> {
    let ebpf = lab(Variant::new("bench-socket")?, traffic)?;
    let kube_proxy = Variant::new("bench-kubeproxy")?.with_kube_proxy()?;
    let kube_proxy = lab(kube_proxy, traffic)?;
    let way = |lab, to: &str| Way {
        lab,
        from: CLIENT,
        to: to.to_owned(),
        traffic,
    };
    let ways = [
        ("the pod's address", way(&ebpf, &address_of(&ebpf, SERVER)?)),
        ("service, at the socket", way(&ebpf, CLUSTER_IP)),
        ("service, kube-proxy's rules", way(&kube_proxy, CLUSTER_IP)),
    ];
    let mut figures = vec![Figures::default(); ways.len()];
    for round in 0..rounds {
        eprintln!("bench: services: round {} of {rounds}", round + 1);
        for ((_, way), figures) in ways.iter().zip(&mut figures) {
            figures.add(way)?;
        }
    }
    let names = ways.iter().map(|(name, _)| *name);
    Ok(measures::table(
        "a pod of another node, by",
        names.zip(&figures),
    ))
}
