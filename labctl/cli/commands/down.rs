//! `down`: nothing of a lab is left, whatever is there of it.

use lab_providers::Provider;

use crate::args::DownArgs;
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::labs::{all, choose, open};
use crate::live::{failed, lock};
use crate::output::print_line;

pub(crate) fn run(args: &DownArgs, quiet: bool) -> Result<Exit, Failure> {
    let there = all()?;
    let labs = match &args.lab.lab {
        _ if args.all || there.is_empty() => there,
        Some(lab) => there.into_iter().filter(|(it, _)| it == lab).collect(),
        None => {
            let (provider, lab) = choose(None)?;
            vec![(lab, provider.kind())]
        }
    };
    // Down is what was asked for, and down it is: scripts may repeat it.
    if labs.is_empty() && !quiet {
        let lab = args.lab.lab.as_deref();
        let what = lab.map_or_else(|| "no lab".to_owned(), |lab| format!("no lab {lab}"));
        print_line(format_args!("{what} is up: nothing to do"))?;
    }
    let interrupt = Interrupt::listen()?;
    interrupt.would_leave("`labctl down` again removes the rest");
    for (lab, kind) in &labs {
        take_down(&open(*kind)?, lab, &interrupt)?;
        if !quiet {
            print_line(format_args!("lab {lab} is down"))?;
        }
    }
    Ok(Exit::Success)
}

fn take_down(provider: &Provider, lab: &str, interrupt: &Interrupt) -> Result<(), Failure> {
    let lock = lock(provider, lab, interrupt)?;
    provider
        .down(&lock, interrupt.flag(), &mut |_| {})
        .map_err(|error| failed(lab, &error))
}
