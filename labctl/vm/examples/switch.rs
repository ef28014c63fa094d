//! The switch of a segment as a process: `switch segment FOLDER [CAPTURE]`. Tests run it.

use std::path::PathBuf;
use std::process::ExitCode;

use lab_vm::segment::{Options, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(2).map(PathBuf::from);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: switch segment FOLDER [CAPTURE]");
        return ExitCode::FAILURE;
    };
    let options = Options {
        folder,
        capture: arguments.next(),
    };
    match run(&options, || ()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}
