//! The plugins of a server block that answer from local data, in CoreDNS's order.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::ServerBlock;
use crate::metrics::Registry;
use crate::template::TemplateError;
use crate::zone::ZoneFileError;
use crate::{hosts, kubernetes, template, zone};

use super::LocalAnswers;

/// What such plugins need from outside.
#[derive(Clone, Debug)]
pub struct LocalData {
    /// The cluster's records.
    pub store: kubernetes::Store,
    /// Where they count.
    pub registry: Arc<Registry>,
    /// Addresses that the server has.
    pub addresses: Vec<IpAddr>,
}

/// A plugin cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LocalPluginError {
    /// A template; a Corefile that was read has none such.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The zone file.
    #[error("plugin/zone: {0}")]
    Zone(#[from] ZoneFileError),
}

/// A plugin and its name, by which metrics tell whose answer one is.
pub type LocalPlugin = (&'static str, Box<dyn LocalAnswers>);

/// The plugins of `block`, the first to be asked first.
///
/// # Errors
/// What keeps one from starting.
pub fn local_plugins(
    block: &ServerBlock,
    data: &LocalData,
) -> Result<Vec<LocalPlugin>, LocalPluginError> {
    let mut zones: Vec<_> = block.keys.iter().map(|key| key.zone.clone()).collect();
    zones.dedup();
    let mut plugins: Vec<LocalPlugin> = Vec::new();
    if !block.templates.is_empty() {
        let templates = template::Plugins::new(&block.templates, &zones)?;
        plugins.push(("template", Box::new(templates)));
    }
    if let Some(settings) = &block.hosts {
        let hosts = hosts::Plugin::new(settings, &zones, Arc::clone(&data.registry));
        plugins.push(("hosts", Box::new(hosts)));
    }
    if let Some(settings) = &block.kubernetes {
        let kubernetes = kubernetes::Plugin::new(settings, data.store.clone());
        let kubernetes = kubernetes.with_addresses(data.addresses.clone());
        plugins.push(("kubernetes", Box::new(kubernetes)));
    }
    if let Some(settings) = &block.zone {
        let zone = zone::Plugin::load(&settings.file, settings.resolver)?;
        plugins.push(("zone", Box::new(zone)));
    }
    Ok(plugins)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Time;
    use crate::corefile::{Pillars, parse};
    use crate::message::{Query, Response};
    use crate::plugin::Step;
    use crate::plugin::asking::{ask, query};

    #[test]
    fn plugins_are_asked_in_coredns_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("world.zone");
        std::fs::write(&path, ". SOA a. b. 1 2 3 4 5\nc. A 192.0.2.1\n").unwrap();
        let text = format!(
            ". {{\n zone {} {{\n resolver\n }}\n kubernetes cluster.local\n hosts /none {{\n \
             10.0.0.1 a\n fallthrough\n }}\n template IN A x {{\n rcode REFUSED\n }}\n}}",
            path.display()
        );
        let config = parse("Corefile".as_ref(), &text, &Pillars::default()).unwrap();
        let data = LocalData {
            store: kubernetes::Store::default(),
            registry: Registry::new("test"),
            addresses: Vec::new(),
        };
        let plugins = local_plugins(&config.blocks[0], &data).unwrap();
        let names: Vec<_> = plugins.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["template", "hosts", "kubernetes", "zone"]);
        assert!(ask(&*plugins[3].1, "c.", "A").starts_with("NOERROR qr,rd,ra\nc. "));
        std::fs::remove_file(&path).unwrap();
        let error = local_plugins(&config.blocks[0], &data)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("plugin/zone: cannot read zone file "),
            "{error}"
        );
    }

    /// One of each, with names to find.
    static PLUGINS: LazyLock<Vec<LocalPlugin>> = LazyLock::new(|| {
        let text = ". {\n hosts /none a b.c in-addr.arpa {\n 10.0.0.1 a www.a b.c\n }\n \
            kubernetes cluster.local in-addr.arpa {\n pods insecure\n }\n \
            template ANY ANY x {\n match ^(?P<n>[^.]*)\\.\n answer \"{{ .Name }} TXT {{ .Group.n }}\"\n }\n}";
        let config = parse("Corefile".as_ref(), text, &Pillars::default()).unwrap();
        let data = LocalData {
            store: kubernetes::Store::default(),
            registry: Registry::new("test"),
            addresses: vec!["10.0.0.2".parse().unwrap()],
        };
        let records = r#"{"serial": 1, "namespaces": ["a"], "pods": [], "services": [
            {"namespace": "a", "name": "www", "cluster_ip": null, "ports": [{"name": "x", "protocol": "tcp", "port": 1}],
             "endpoints": [{"address": "10.0.0.2", "pod": "b", "hostname": "c", "ports": [1]}]},
            {"namespace": "a", "name": "x", "external_name": "www.a.svc.cluster.local", "cluster_ip": null, "ports": [], "endpoints": []},
            {"namespace": "a", "name": "b", "external_name": "a.b", "cluster_ip": null, "ports": [], "endpoints": []}]}"#;
        data.store.replace(serde_json::from_str(records).unwrap());
        let mut plugins = local_plugins(&config.blocks[0], &data).unwrap();
        let zone = ". SOA a. b. 1 2 3 4 5\na.b. CNAME x.a.\n*.a. CNAME www.a.\nwww.a. A 10.0.0.1\nb. MX 1 a.\n";
        let zone = zone::Plugin::parse("zone", zone, true).unwrap();
        plugins.push(("zone", Box::new(zone)));
        plugins
    });

    proptest! {
        /// Whatever is asked: if a plugin answers, it is a whole message to that question.
        #[test]
        fn answers_are_messages(
            labels in proptest::collection::vec(
                prop_oneof![
                    6 => proptest::sample::select(vec![
                        "a", "b", "c", "www", "x", "svc", "pod", "_x", "_tcp", "10", "0", "1", "2", "10-0-0-9",
                        "cluster", "local", "in-addr", "arpa", "*", "ns", "dns", "dns-version",
                    ]).prop_map(str::to_owned),
                    1 => "[A-Za-z0-9_*-]{1,63}",
                    1 => proptest::collection::vec(0_u8..=255, 1..6)
                        .prop_map(|octets| octets.iter().map(|octet| format!("\\{octet:03}")).collect()),
                ],
                0..7,
            ),
            rtype in proptest::sample::select(vec!["A", "AAAA", "PTR", "SRV", "TXT", "NS", "SOA", "MX", "ANY", "CNAME"]),
        ) {
            let mut name = format!("{}.", labels.join("."));
            if domain::base::Name::vec_from_str(&name).is_err() {
                ".".clone_into(&mut name);
            }
            let message = query(&name, rtype);
            let query = Query::read(&message).unwrap();
            for (plugin, answers) in PLUGINS.iter() {
                match answers.answer(&query, Time::ZERO) {
                    Step::Answer(answer) => {
                        let read = Response::read(answer.clone(), &query);
                        prop_assert!(read.is_ok(), "{}: {} {}: {:?}", plugin, name, rtype, answer);
                    }
                    Step::Alias(alias) => {
                        let question = alias.question(&query);
                        prop_assert!(Query::read(&question).is_ok(), "{}: {} {}", plugin, name, rtype);
                        prop_assert!(Response::read(alias.completed(&[]), &query).is_ok());
                    }
                    Step::Next => {}
                    Step::Failed(error) => prop_assert!(false, "{}: {} {}: {}", plugin, name, rtype, error),
                }
            }
        }
    }
}
