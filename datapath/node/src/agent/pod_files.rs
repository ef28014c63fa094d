//! The files of a pod's `/etc`, as the kubelet writes them.

use std::path::Path;

use lab_model::node_state::{Pod, PodDns};
use minijinja::{Environment, context};

use super::{AgentError, files};

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
        let search: Vec<_> = own.iter().chain(&dns.search).map(String::as_str).collect();
        let context = context! {
            name => pod.name.as_str(),
            address => pod.address.to_string(),
            nameserver => dns.nameserver.to_string(),
            ndots => dns.ndots,
            search => search.join(" "),
        };
        for (file, template) in [
            ("hosts", include_str!("../../../../templates/pod-hosts.j2")),
            (
                "resolv.conf",
                include_str!("../../../../templates/pod-resolv.conf.j2"),
            ),
        ] {
            let text =
                self.0
                    .render_str(template, &context)
                    .map_err(|source| AgentError::Render {
                        file,
                        pod: pod.key(),
                        source,
                    })?;
            // Rendering takes off the template's last line break.
            files::rewrite(&folder.join(file), &(text + "\n"))?;
        }
        files::rewrite(&folder.join("hostname"), &format!("{}\n", pod.name))
    }
}
