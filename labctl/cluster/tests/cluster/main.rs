//! Manifests in, `NodeState`s and diagnostics out.

mod cilium;
mod dns;
mod faults;
mod properties;
mod services;
mod settings;
mod shipped;
mod study;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use lab_cluster::{Allocations, Cluster, Object, compute, parse};
use lab_model::lab::{Lab, Node, Role};
use lab_model::values::Values;

/// The study lab without its routes.
pub(crate) fn study_lab() -> Lab {
    lab(&[
        ("k8s-ctr", Role::ControlPlane, Some(100)),
        ("k8s-w1", Role::Worker, Some(101)),
        ("k8s-w2", Role::Worker, Some(102)),
        ("router", Role::Router, Some(200)),
        ("internet", Role::World, None),
    ])
}

/// A lab of these nodes, with the last byte of their addresses.
pub(crate) fn lab(nodes: &[(&str, Role, Option<u8>)]) -> Lab {
    let node = |&(name, role, address): &(&str, Role, Option<u8>)| Node {
        name: name.to_owned(),
        role,
        address: address.map(|last| Ipv4Addr::new(192, 168, 10, last)),
        dummies: BTreeMap::new(),
        serve_http: None,
        zone: None,
        machine: <_>::default(),
    };
    Lab {
        name: "study".to_owned(),
        network: "192.168.10.0/24".parse().unwrap(),
        nodes: nodes.iter().map(node).collect(),
        routes: Vec::new(),
        values: Values::default(),
        dns: None,
        provider: <_>::default(),
        manifests: Vec::new(),
        checks: Vec::new(),
    }
}

/// The study lab's `webpod`, as the original writes it.
pub(crate) fn webpod(replicas: u32) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: webpod
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app: webpod
  template:
    metadata:
      labels:
        app: webpod
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - labelSelector:
              matchExpressions:
              - key: app
                operator: In
                values:
                - sample-app
            topologyKey: \"kubernetes.io/hostname\"
      containers:
      - name: webpod
        image: traefik/whoami
        ports:
        - containerPort: 80
"
    )
}

/// The study lab's `curl-pod`, likewise.
pub(crate) const CURL_POD: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: curl-pod
  labels:
    app: curl
spec:
  nodeName: k8s-ctr
  containers:
  - name: curl
    image: nicolaka/netshoot
    command: ["tail"]
    args: ["-f", "/dev/null"]
  terminationGracePeriodSeconds: 0
"#;

#[track_caller]
pub(crate) fn objects(manifests: &[&str]) -> Vec<Object> {
    let parsed = manifests.iter().map(|text| match parse("lab.yaml", text) {
        Ok(objects) => objects,
        Err(faults) => panic!("{faults}"),
    });
    parsed.flatten().collect()
}

#[track_caller]
pub(crate) fn cluster(lab: &Lab, objects: &[Object], previous: &Allocations) -> Cluster {
    match compute(lab, objects, previous) {
        Ok(cluster) => cluster,
        Err(faults) => panic!("{faults}"),
    }
}
