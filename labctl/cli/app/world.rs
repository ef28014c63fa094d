//! The outside of a lab: every node reaches it from the same address, as from
//! behind VirtualBox's NAT, and here it tells them apart.

mod dns;

use std::fs;
use std::path::Path;

use anyhow::Context;
use lab_model::plan::{OutsideLink, Service};
use lab_node::outside::Outside;

use super::{World, listen, whoami};

/// Translates the links' addresses, then serves DNS if it has a zone, and HTTP; on SIGHUP
/// reads the links again and changes what differs.
pub(super) fn serve(world: &World) -> anyhow::Result<()> {
    let mut outside = Outside::load()?;
    let (first, zone) = service(&world.config)?;
    outside.set_links(&first)?;
    if let Some(zone) = zone {
        dns::serve(&zone)?;
    }
    let on_hangup = || {
        let changed = service(&world.config).and_then(|(links, _)| Ok(outside.set_links(&links)?));
        match changed {
            Ok(()) => eprintln!("links are as {} says", world.config.display()),
            Err(error) => eprintln!("failed to change links: {error:#}"),
        }
    };
    listen::serve(world.listen, whoami::answer, on_hangup)
}

/// Links, and the text of the zone file.
fn service(config: &Path) -> anyhow::Result<(Vec<OutsideLink>, Option<String>)> {
    let read = || format!("failed to read {}", config.display());
    let text = fs::read_to_string(config).with_context(read)?;
    match serde_json::from_str(&text).with_context(read)? {
        Service::World { links, zone } => Ok((links, zone)),
        Service::Http { .. } => {
            anyhow::bail!(
                "failed to read {}: it is about an HTTP server",
                config.display()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links_of(text: &str) -> anyhow::Result<Vec<OutsideLink>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        service(file.path()).map(|(links, _)| links)
    }

    #[test]
    fn links_are_those_of_the_service() {
        let link = OutsideLink {
            interface: "k8s-ctr".to_owned(),
            address: [100, 64, 0, 1].into(),
        };
        let service = Service::World {
            links: vec![link.clone()],
            zone: None,
        };
        assert_eq!(
            links_of(&serde_json::to_string(&service).unwrap()).unwrap(),
            [link]
        );
    }

    #[test]
    fn another_service_is_refused() {
        let error = links_of(r#"{"http": {"port": 80}}"#).unwrap_err();
        assert!(
            error.to_string().ends_with("it is about an HTTP server"),
            "{error}"
        );
        assert!(links_of("{}").is_err());
    }
}
