//! The files of a pod's `/etc`, as the kubelet writes them.

use std::path::Path;

use lab_model::node_state::{DnsPolicy, Pod, PodDns};
use minijinja::{Environment, context};

use super::{AgentError, files};

/// Where the C library looks for name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The files of a pod's `/etc`.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// Those of the kubelet.
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        Self(environment)
    }

    /// Renders them into `folder`, in place: a running pod sees them at once.
    pub(super) fn write_etc(
        &self,
        folder: &Path,
        pod: &Pod,
        dns: &PodDns,
    ) -> Result<(), AgentError> {
        // Search domains behind `NAMESPACE.svc.…`, whose rest is the first's.
        let own = dns
            .search
            .first()
            .map(|services| format!("{}.{services}", pod.namespace));
        // The kubelet's `GeneratePodHostNameAndDomain`.
        let domain = pod.subdomain.iter().zip(own.as_ref());
        let domain = domain
            .map(|(subdomain, own)| format!("{subdomain}.{own}"))
            .next();
        let search = own.iter().chain(&dns.search).chain(&dns.node_search);
        let search: Vec<_> = search.map(String::as_str).collect();
        let context = context! {
            name => pod.host_name(),
            domain,
            address => pod.address.to_string(),
            nameserver => dns.nameserver.to_string(),
            ndots => dns.ndots,
            search => search.join(" "),
        };
        let render = |file, template| {
            let rendered = self.0.render_str(template, &context);
            // Rendering takes off the template's last line break.
            let whole = rendered.map(|text| text + "\n");
            whole.map_err(|source| AgentError::Render {
                file,
                pod: pod.key(),
                source,
            })
        };
        let hosts = include_str!("../../../../templates/pod-hosts.j2");
        files::rewrite(&folder.join("hosts"), &render("hosts", hosts)?)?;
        let resolv_conf = include_str!("../../../../templates/pod-resolv.conf.j2");
        let resolv_conf = match pod.dns_policy {
            DnsPolicy::ClusterFirst => render("resolv.conf", resolv_conf)?,
            DnsPolicy::Default => of_node()?,
        };
        files::rewrite(&folder.join("resolv.conf"), &resolv_conf)?;
        files::rewrite(&folder.join("hostname"), &format!("{}\n", pod.host_name()))
    }
}

/// The node's own `resolv.conf`; where systemd-resolved answers on an address of
/// the node alone, the one that names its servers (the kubelet's `resolvConf`).
fn of_node() -> Result<String, AgentError> {
    for path in ["/run/systemd/resolve/resolv.conf", RESOLV_CONF] {
        if let Some(text) = files::read_if_there(Path::new(path))? {
            return Ok(text);
        }
    }
    Ok(String::new())
}

/// Gives the node's own `resolv.conf` the lab's search domains, where the node is a
/// namespace and the file is labctl's: `folder` is the node's.
pub(super) fn write_node_search(folder: &Path, dns: &PodDns) -> Result<(), AgentError> {
    let path = folder.join("etc/resolv.conf");
    let Some(text) = files::read_if_there(&path)? else {
        return Ok(());
    };
    files::rewrite(&path, &with_search(&text, &dns.node_search))
}

fn with_search(text: &str, search: &[String]) -> String {
    let others = text.lines().filter(|line| !line.starts_with("search "));
    let own = (!search.is_empty()).then(|| format!("search {}", search.join(" ")));
    let lines = others.map(str::to_owned).chain(own);
    lines.map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_domains_replace_those_before() {
        let text = with_search("nameserver 10.0.2.3\n", &["Davolink".to_owned()]);
        assert_eq!(text, "nameserver 10.0.2.3\nsearch Davolink\n");
        assert_eq!(with_search(&text, &[]), "nameserver 10.0.2.3\n");
    }
}
