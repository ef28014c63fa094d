//! The outside of a lab: every node reaches it from the same address, as from
//! behind VirtualBox's NAT, and here it tells them apart.

use std::fs;
use std::path::Path;

use anyhow::Context;
use lab_model::plan::{OutsideLink, Service};
use lab_node::outside::Outside;

use super::{World, listen, whoami};

/// Translates the links' addresses, then serves HTTP; on SIGHUP reads the links
/// again and changes what differs.
pub(super) fn serve(world: &World) -> anyhow::Result<()> {
    let mut outside = Outside::load()?;
    outside.set_links(&links(&world.config)?)?;
    let on_hangup = || {
        let changed = links(&world.config).and_then(|links| Ok(outside.set_links(&links)?));
        match changed {
            Ok(()) => eprintln!("links are as {} says", world.config.display()),
            Err(error) => eprintln!("failed to change links: {error:#}"),
        }
    };
    listen::serve(world.listen, whoami::answer, on_hangup)
}

fn links(config: &Path) -> anyhow::Result<Vec<OutsideLink>> {
    let read = || format!("failed to read {}", config.display());
    let text = fs::read_to_string(config).with_context(read)?;
    match serde_json::from_str(&text).with_context(read)? {
        Service::World { links } => Ok(links),
        Service::Http { .. } => anyhow::bail!("{} is not about a world", config.display()),
    }
}
