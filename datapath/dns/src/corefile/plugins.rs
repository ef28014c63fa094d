//! Plugins of a server block, and their options: those of CoreDNS 1.13, supported
//! or refused by name.

mod answers;
mod cache;
mod forward;
mod serving;

use crate::config::{LogClasses, ServerBlock, ServerKey};

use super::error::Fault;
use super::tree::{Directive, Line};

/// Plugins that there are, for messages.
pub(super) const NAMES: [&str; 16] = [
    "bind",
    "bufsize",
    "cache",
    "errors",
    "forward",
    "health",
    "hosts",
    "kubernetes",
    "loadbalance",
    "log",
    "loop",
    "prometheus",
    "ready",
    "reload",
    "template",
    "zone",
];
/// Those that a block may have more than one of.
const REPEATABLE: [&str; 3] = ["bind", "forward", "template"];

/// A block without plugins.
pub(super) fn empty(keys: Vec<ServerKey>) -> ServerBlock {
    ServerBlock {
        keys,
        bind: Vec::new(),
        errors: None,
        log: None,
        health: None,
        ready: None,
        prometheus: None,
        reload: None,
        detect_loop: false,
        loadbalance: false,
        bufsize: None,
        cache: None,
        templates: Vec::new(),
        hosts: None,
        kubernetes: None,
        zone: None,
        forwards: Vec::new(),
    }
}

/// Adds what `directives` say to `block`; all that is wrong with them goes to `faults`.
pub(super) fn read(directives: &[Directive], block: &mut ServerBlock, faults: &mut Vec<Fault>) {
    let mut seen: Vec<&Directive> = Vec::new();
    for directive in directives {
        let name = &directive.head.name;
        let first = seen.iter().find(|seen| seen.head.name.text == name.text);
        if let Some(first) = first
            && !REPEATABLE.contains(&name.text.as_str())
        {
            let line = first.head.name.place.line;
            let fault = name.fault(format!("`{}` is there already", name.text));
            faults.push(fault.help(format!(
                "a server block has one; put it together with line {line}"
            )));
            continue;
        }
        seen.push(directive);
        if directive.unfilled() {
            continue;
        }
        if let Err(fault) = plugin(directive, block) {
            faults.push(fault);
        }
    }
}

fn plugin(directive: &Directive, block: &mut ServerBlock) -> Result<(), Fault> {
    let zones: Vec<String> = block.keys.iter().map(|key| key.zone.clone()).collect();
    match directive.head.name.text.as_str() {
        "bind" => block.bind.extend(serving::bind(directive)?),
        "bufsize" => block.bufsize = Some(answers::bufsize(directive)?),
        "cache" => block.cache = Some(cache::read(directive)?),
        "errors" => block.errors = Some(serving::errors(directive)?),
        "forward" => block.forwards.push(forward::read(directive)?),
        "health" => block.health = Some(serving::health(directive)?),
        "hosts" => block.hosts = Some(answers::hosts(directive)?),
        "kubernetes" => block.kubernetes = Some(answers::kubernetes(directive, zones)?),
        "loadbalance" => block.loadbalance = answers::loadbalance(directive)?,
        "log" => block.log = Some(serving::log(directive, &zones)?),
        "loop" => {
            alone(directive)?;
            block.detect_loop = true;
        }
        "prometheus" => block.prometheus = Some(serving::prometheus(directive)?),
        "ready" => block.ready = Some(serving::ready(directive)?),
        "reload" => block.reload = serving::reload(directive)?,
        "template" => block.templates.push(answers::template(directive)?),
        "zone" => block.zone = Some(answers::zone(directive)?),
        unknown => {
            let fault = directive
                .head
                .name
                .fault(format!("unknown plugin `{unknown}`"));
            return Err(fault.help(format!("labctl has {}", NAMES.join(", "))));
        }
    }
    Ok(())
}

/// That a plugin has neither arguments nor options.
fn alone(directive: &Directive) -> Result<(), Fault> {
    directive.head.no_args()?;
    no_options(directive)
}

fn no_options(directive: &Directive) -> Result<(), Fault> {
    match directive.options.first() {
        Some(option) => Err(unknown(directive, option, &[])),
        None => Ok(()),
    }
}

/// That `option` is none of `known`.
fn unknown(directive: &Directive, option: &Line, known: &[&str]) -> Fault {
    let (plugin, name) = (&directive.head.name.text, &option.name);
    let fault = name.fault(format!("unknown option `{}` of `{plugin}`", name.text));
    fault.help(match known {
        [] => format!("`{plugin}` has none"),
        _ => format!("labctl has {}", known.join(", ")),
    })
}

/// That labctl leaves out an option of CoreDNS, and why.
fn unsupported(directive: &Directive, option: &Line, why: &str) -> Fault {
    let (plugin, name) = (&directive.head.name.text, &option.name);
    let what = format!("labctl doesn't have `{}` of `{plugin}`", name.text);
    name.fault(what).help(why)
}

const ALL_CLASSES: LogClasses = LogClasses {
    success: true,
    denial: true,
    error: true,
};
