//! What DNS servers read: the Corefile of their ConfigMap, and the cluster's records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lab_dns::kubernetes::{Endpoint, Pod, Port, Records, Service};
use lab_model::node_state::{self, NodeState, Workload};

use super::sandbox::Sandbox;
use super::{AgentError, files};

/// Folder of these files, in the pod's.
pub(super) const FOLDER: &str = "dns";
/// The Corefile.
pub(super) const COREFILE: &str = "Corefile";
/// The cluster's records, as JSON.
pub(super) const RECORDS: &str = "records.json";

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Writes what the pod reads into `folder`, as far as it differs. The server notices
/// by itself: it is not started again.
pub(super) fn write(folder: &Path, pod: &Sandbox, state: &NodeState) -> Result<(), AgentError> {
    if !pod.workload().serves_dns() {
        return Ok(());
    }
    let folder = folder.join(FOLDER);
    files::make_folder(&folder)?;
    let (path, corefile) = (folder.join(COREFILE), pod.corefile().unwrap_or_default());
    if files::read_if_there(&path)?.as_deref() != Some(corefile) {
        files::replace(&path, corefile.as_bytes())?;
    }
    if *pod.workload() != Workload::Coredns {
        return Ok(());
    }
    let path = folder.join(RECORDS);
    let before = files::read_if_there(&path)?;
    let before = before.and_then(|text| serde_json::from_str::<Records>(&text).ok());
    let serial = before.as_ref().map(|before| before.serial);
    let records = records(state, serial.unwrap_or_default());
    if before.is_some_and(|before| before == records) {
        return Ok(());
    }
    let records = Records {
        serial: now(),
        ..records
    };
    let text = serde_json::to_vec(&records)
        .map_err(|error| AgentError::file("write", &path)(error.into()))?;
    files::replace(&path, &text)
}

/// Seconds since 1970; CoreDNS makes the serial of its zone of the time of the last
/// change, as an unsigned 32-bit number.
fn now() -> u32 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "serials wrap around (RFC 1982)"
    )]
    let serial = since.as_secs() as u32;
    serial
}

/// What the names of the cluster stand for.
fn records(state: &NodeState, serial: u32) -> Records {
    let here = state.pods.iter();
    let here = here.map(|pod| (&pod.namespace, &pod.name, pod.address));
    let there = state.remote_pods.iter();
    let there = there.map(|pod| (&pod.namespace, &pod.name, pod.address));
    let mut pods: Vec<Pod> = here
        .chain(there)
        .map(|(namespace, name, address)| Pod {
            namespace: namespace.clone(),
            name: name.clone(),
            address,
        })
        .collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let services = state.services.iter().map(|service| &service.namespace);
    let namespaces: BTreeSet<String> = NAMESPACES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(services.cloned())
        .chain(pods.iter().map(|pod| pod.namespace.clone()))
        .collect();
    Records {
        serial,
        namespaces: namespaces.into_iter().collect(),
        services: state.services.iter().map(service).collect(),
        pods,
    }
}

fn service(service: &node_state::Service) -> Service {
    let port = |port: &node_state::ServicePort| Port {
        name: port.name.clone(),
        protocol: port.protocol.to_string().to_lowercase(),
        port: port.port,
    };
    let mut endpoints: BTreeMap<_, _> = service
        .endpoints
        .iter()
        .map(|it| {
            let endpoint = Endpoint {
                address: it.address,
                pod: name_of(&it.pod).to_owned(),
                hostname: it.hostname.clone(),
                ports: vec![None; service.ports.len()],
            };
            ((it.address, &it.pod), endpoint)
        })
        .collect();
    for (index, port) in service.ports.iter().enumerate() {
        for backend in &port.backends {
            if let Some(endpoint) = endpoints.get_mut(&(backend.address, &backend.pod)) {
                endpoint.ports[index] = Some(backend.port);
            }
        }
    }
    Service {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        external_name: service.external_name.clone(),
        cluster_ip: service.cluster_ip,
        ports: service.ports.iter().map(port).collect(),
        endpoints: endpoints.into_values().collect(),
    }
}

/// The name in `namespace/name`.
fn name_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use lab_model::node_state::{Backend, DnsPolicy, Protocol, ServicePort, TrafficPolicy};

    use super::*;
    use crate::agent::tests::document;

    fn with_service() -> NodeState {
        let mut state = document("k8s-ctr", 0);
        let backend = |address: [u8; 4], port| Backend {
            pod: "default/pod-b".to_owned(),
            node: "k8s-ctr".to_owned(),
            address: address.into(),
            port,
        };
        let port = |name: &str, protocol, port, backends| ServicePort {
            name: Some(name.to_owned()),
            protocol,
            port,
            node_port: None,
            backends,
        };
        let endpoint = |address: [u8; 4], hostname: Option<&str>| node_state::Endpoint {
            pod: "default/pod-b".to_owned(),
            address: address.into(),
            hostname: hostname.map(str::to_owned),
        };
        let udp = vec![
            backend([10, 244, 0, 11], 5353),
            backend([10, 244, 1, 9], 53),
        ];
        let tcp = vec![backend([10, 244, 0, 11], 8080)];
        state.services = vec![node_state::Service {
            namespace: "web".to_owned(),
            name: "web".to_owned(),
            external_name: None,
            service_type: node_state::ServiceType::ClusterIp,
            cluster_ip: None,
            load_balancer_ips: vec![],
            source_ranges: Vec::new(),
            denies_source_ranges: false,
            external_ips: vec![],
            ports: vec![
                port("dns", Protocol::Udp, 53, udp),
                port("http", Protocol::Tcp, 80, tcp),
            ],
            endpoints: vec![
                endpoint([10, 244, 0, 11], Some("db-0")),
                endpoint([10, 244, 1, 9], None),
                endpoint([10, 244, 1, 10], None),
            ],
            external_traffic_policy: TrafficPolicy::Cluster,
            internal_traffic_policy: TrafficPolicy::Cluster,
            session_affinity: None,
        }];
        state
    }

    #[test]
    fn an_endpoint_has_the_ports_that_its_pod_has() {
        let records = records(&with_service(), 7);
        assert_eq!(records.serial, 7);
        assert!(records.namespaces.contains(&"web".to_owned()));
        assert!(records.namespaces.contains(&"kube-system".to_owned()));
        let [service] = records.services.as_slice() else {
            panic!("{records:?}")
        };
        assert_eq!(service.ports[0].protocol, "udp");
        let endpoints = service.endpoints.iter();
        let endpoints: Vec<_> = endpoints
            .map(|it| {
                (
                    it.address.to_string(),
                    it.hostname.as_deref(),
                    it.ports.clone(),
                )
            })
            .collect();
        let expected = [
            (
                "10.244.0.11".to_owned(),
                Some("db-0"),
                vec![Some(5353), Some(8080)],
            ),
            ("10.244.1.9".to_owned(), None, vec![Some(53), None]),
            ("10.244.1.10".to_owned(), None, vec![None, None]),
        ];
        assert_eq!(endpoints, expected);
        assert!(service.endpoints.iter().all(|it| it.pod == "pod-b"));
        assert!(records.pods.iter().any(|pod| pod.name == "pod-a"));
    }

    #[test]
    fn the_serial_changes_with_the_records_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = with_service();
        let mut pod = state.pods.remove(0);
        pod.workload = Workload::Coredns;
        pod.dns_policy = DnsPolicy::Default;
        pod.corefile = Some(".:53 {\n}\n".to_owned());
        let pod = Sandbox::Own(pod);
        let path = folder.path().join(FOLDER).join(RECORDS);
        let read = || serde_json::from_str::<Records>(&std::fs::read_to_string(&path).unwrap());
        write(folder.path(), &pod, &state).unwrap();
        let mut old = read().unwrap();
        assert!(old.serial > 1_700_000_000);
        // As if it were long ago.
        old.serial = 1;
        std::fs::write(&path, serde_json::to_vec(&old).unwrap()).unwrap();
        write(folder.path(), &pod, &state).unwrap();
        assert_eq!(read().unwrap().serial, 1);
        state.services.clear();
        write(folder.path(), &pod, &state).unwrap();
        assert!(read().unwrap().serial > 1_700_000_000);
        let corefile = folder.path().join(FOLDER).join(COREFILE);
        assert_eq!(std::fs::read_to_string(corefile).unwrap(), ".:53 {\n}\n");
    }
}
