//! `labctl dns`: the DNS server.

mod node_cache;

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use lab_dns::corefile::Pillars;
use lab_dns::log::Output;
use lab_dns::metrics::Registry;
use lab_dns::server::{self, Ended, Options, RunError};

use lab_node::dns_answers::DnsAnswers;
use node_cache::Keeper;

use super::node::inherited;
use crate::args::DnsArgs;
use crate::exit::{Exit, Failure};

pub(super) fn run(args: DnsArgs) -> Result<Exit, Failure> {
    let ready = args.ready_fd.map(inherited).transpose()?.map(File::from);
    let version = env!("CARGO_PKG_VERSION");
    let metrics = Registry::new(version);
    let keeper = Keeper::new(&args, &metrics).map(Arc::new);
    if let Some(keeper) = &keeper {
        keeper.set_interface_up();
    }
    let on_node = keeper.clone();
    let output = Arc::new(Output::stdout());
    let options = Options {
        corefile: args.conf,
        pillars: Pillars {
            cluster_dns: args.upstream_service,
            upstream_servers: args.upstream_servers,
            local_dns: args.local_ip,
        },
        records: args.kubernetes,
        handover: args.handover,
        answers: args
            .answer_in_kernel
            .map(|interface| Box::new(DnsAnswers::new(interface)) as Box<_>),
        workers: args.workers.map(usize::from),
        version: version.to_owned(),
        metrics,
        output: Arc::clone(&output),
        serving: Box::new(move || {
            if let Some(keeper) = on_node {
                keeper.keep();
            }
            if let Some(mut ready) = ready {
                // Who asked may have gone.
                let _ = ready.write_all(b"\n");
            }
        }),
    };
    let ended = server::run(options);
    if let (Some(keeper), false) = (keeper, matches!(ended, Ok(Ended::Relieved))) {
        keeper.tear_down();
    }
    match ended {
        Ok(_) => Ok(Exit::Success),
        // As CoreDNS ends, which its supervisors know.
        Err(RunError::Loop(line)) => {
            output.print(format!("[FATAL] {line}\n").as_bytes());
            Ok(Exit::OfCommand(1))
        }
        Err(error @ RunError::Corefile(_)) => Err(Failure::new(Exit::InvalidFile, error)),
        Err(error) => Err(Failure::new(Exit::LabFailed, error)),
    }
}
