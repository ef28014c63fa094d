//! Services, as `kubectl get service` has them, with what `kubectl get endpoints` says of
//! each (`pkg/printers/internalversion`, `printService` and `formatEndpoints`).

use std::net::Ipv4Addr;

use lab_model::node_state::{Service, ServicePort, ServiceType};

use super::in_namespace;
use crate::output::Table;

/// Backends that are shown by their addresses; of the rest, their number is.
const SHOWN: usize = 3;

/// A line per service.
pub(super) fn table(services: &[Service]) -> String {
    let mut table = Table::new(&[
        "NAME",
        "TYPE",
        "CLUSTER-IP",
        "EXTERNAL-IP",
        "PORT(S)",
        "ENDPOINTS",
    ]);
    for service in services {
        // `None` is what manifests call a headless service's, and an alias has none at all.
        let cluster_ip = match (service.cluster_ip, service.service_type) {
            (Some(ip), _) => ip.to_string(),
            (None, ServiceType::ExternalName) => String::new(),
            (None, _) => "None".to_owned(),
        };
        let ports: Vec<String> = service.ports.iter().map(port).collect();
        table.row([
            in_namespace(&service.namespace, &service.name),
            service.service_type.as_str().to_owned(),
            cluster_ip,
            external_ip(service),
            ports.join(","),
            endpoints(service),
        ]);
    }
    table.render()
}

fn port(port: &ServicePort) -> String {
    let (number, protocol) = (port.port, port.protocol);
    match port.node_port {
        Some(node_port) => format!("{number}:{node_port}/{protocol}"),
        None => format!("{number}/{protocol}"),
    }
}

/// A LoadBalancer that no pool has an address for waits for one.
fn external_ip(service: &Service) -> String {
    if let Some(name) = &service.external_name {
        return name.clone();
    }
    let waits = service.service_type == ServiceType::LoadBalancer;
    let given = service.load_balancer_ips.iter();
    let all: Vec<String> = given
        .chain(&service.external_ips)
        .map(Ipv4Addr::to_string)
        .collect();
    if all.is_empty() && waits {
        return "<pending>".to_owned();
    }
    all.join(",")
}

/// A headless service without ports has addresses alone.
fn endpoints(service: &Service) -> String {
    let all: Vec<String> = if service.ports.is_empty() {
        let endpoints = service.endpoints.iter();
        endpoints.map(|it| it.address.to_string()).collect()
    } else {
        let backends = service.ports.iter().flat_map(|port| &port.backends);
        backends
            .map(|backend| format!("{}:{}", backend.address, backend.port))
            .collect()
    };
    match all.get(SHOWN..) {
        Some(more) if !more.is_empty() => {
            format!("{} + {} more...", all[..SHOWN].join(","), more.len())
        }
        _ => all.join(","),
    }
}

#[cfg(test)]
mod tests {
    use lab_model::node_state::{Backend, Endpoint, Protocol, TrafficPolicy};

    use super::*;

    fn service(service_type: ServiceType, name: &str, ports: Vec<ServicePort>) -> Service {
        Service {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            external_name: None,
            service_type,
            cluster_ip: Some([10, 96, 0, 80].into()),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            denies_source_ranges: false,
            external_ips: Vec::new(),
            ports,
            endpoints: Vec::new(),
            external_traffic_policy: TrafficPolicy::Cluster,
            internal_traffic_policy: TrafficPolicy::Cluster,
            session_affinity: None,
        }
    }

    fn port(number: u16, node_port: Option<u16>, backends: u8) -> ServicePort {
        let backend = |last| Backend {
            pod: format!("default/web-{last}"),
            node: "k8s-w1".to_owned(),
            address: [10, 244, 1, last].into(),
            port: 8080,
        };
        ServicePort {
            name: None,
            protocol: Protocol::Tcp,
            port: number,
            node_port,
            backends: (1..=backends).map(backend).collect(),
        }
    }

    fn endpoint(last: u8) -> Endpoint {
        Endpoint {
            pod: format!("web/web-{last}"),
            address: [10, 244, 1, last].into(),
            hostname: None,
        }
    }

    #[test]
    fn services_are_shown_as_kubectl_shows_them() {
        let mut headless = service(ServiceType::ClusterIp, "headless", Vec::new());
        headless.namespace = "web".to_owned();
        headless.cluster_ip = None;
        headless.endpoints = (1..=4).map(endpoint).collect();
        let mut external = service(
            ServiceType::NodePort,
            "external",
            vec![port(80, Some(30080), 3)],
        );
        external.external_ips = vec![[203, 0, 113, 80].into()];
        let mut balanced = service(
            ServiceType::LoadBalancer,
            "balanced",
            vec![port(80, Some(30081), 2), port(443, Some(30082), 2)],
        );
        balanced.load_balancer_ips = vec![[192, 168, 10, 241].into()];
        let mut alias = service(ServiceType::ExternalName, "alias", Vec::new());
        alias.cluster_ip = None;
        alias.external_name = Some("example.com".to_owned());
        let waiting = service(
            ServiceType::LoadBalancer,
            "waiting",
            vec![port(80, Some(30083), 0)],
        );
        assert_eq!(
            table(&[headless, external, balanced, alias, waiting]),
            "NAME           TYPE           CLUSTER-IP   EXTERNAL-IP      PORT(S)                      ENDPOINTS\n\
             web/headless   ClusterIP      None         <none>           <none>                       10.244.1.1,10.244.1.2,10.244.1.3 + 1 more...\n\
             external       NodePort       10.96.0.80   203.0.113.80     80:30080/TCP                 10.244.1.1:8080,10.244.1.2:8080,10.244.1.3:8080\n\
             balanced       LoadBalancer   10.96.0.80   192.168.10.241   80:30081/TCP,443:30082/TCP   10.244.1.1:8080,10.244.1.2:8080,10.244.1.1:8080 + 1 more...\n\
             alias          ExternalName   <none>       example.com      <none>                       <none>\n\
             waiting        LoadBalancer   10.96.0.80   <pending>        80:30083/TCP                 <none>\n"
        );
    }
}
