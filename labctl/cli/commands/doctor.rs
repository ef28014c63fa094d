//! `doctor`: what this host lacks, why it matters, and the command that mends it.

use crate::args::DoctorArgs;
use crate::doctor::{self, Finding, Need};
use crate::exit::{Exit, Failure};
use crate::output::print_as;

pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let needs = doctor::examine();
    print_as(args.format.output, &needs, || table(&needs))?;
    let lacks = needs
        .iter()
        .any(|need| matches!(need.finding, Finding::Missing { .. }));
    Ok(if lacks {
        Exit::HostLacks
    } else {
        Exit::Success
    })
}

/// A line for each need, and under what is missing the command that mends it.
fn table(needs: &[Need]) -> String {
    let width = needs.iter().map(|need| need.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for need in needs {
        let (word, name, detail) = (need.finding.word(), need.name, need.finding.detail());
        text.push_str(&format!("{word:<10}{name:<width$}   {detail}\n"));
        if !matches!(need.finding, Finding::Ok { .. }) {
            text.push_str(&format!(
                "{:<10}for: {}\n{:<10}run: {}\n",
                "", need.why, "", need.mend
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_why_and_how() {
        let need = |name, finding| Need {
            name,
            why: "checks capture",
            mend: "install it",
            finding,
        };
        let needs = [
            need(
                "ping",
                Finding::Ok {
                    detail: "/bin/ping".to_owned(),
                },
            ),
            need(
                "tcpdump",
                Finding::Missing {
                    detail: "not on PATH".to_owned(),
                },
            ),
        ];
        assert_eq!(
            table(&needs),
            "ok        ping      /bin/ping\n\
             missing   tcpdump   not on PATH\n\
             \x20         for: checks capture\n\
             \x20         run: install it\n"
        );
    }
}
