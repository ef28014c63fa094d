//! `image`: what virtual machines are made from.

use std::time::SystemTime;

use lab_vm::build::{Built, Options, Progress as Doing};
use lab_vm::import::{Checksum, Source};
use lab_vm::recipe::Recipe;
use lab_vm::store::{Image, Store};
use serde::Serialize;

use crate::args::{ImageBuildArgs, ImageCommand, ImageImportArgs};
use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt::Interrupt;
use crate::output::{Format, Table, print_as, print_line};
use crate::progress::Progress;

pub(crate) fn run(command: ImageCommand, quiet: bool) -> Result<Exit, Failure> {
    let store = Store::of_user().or_exit(Exit::HostLacks)?;
    match command {
        ImageCommand::Build(args) => build(&store, &args, quiet),
        ImageCommand::Import(args) => import(&store, args, quiet),
        ImageCommand::List(args) => list(&store, args.output),
        ImageCommand::Remove { image } => {
            store.remove(&image).or_exit(Exit::LabFailed)?;
            told(quiet, format_args!("image {image} is removed"))
        }
        ImageCommand::Prune => {
            let freed = store.prune().or_exit(Exit::LabFailed)?;
            told(
                quiet,
                format_args!("{} MiB of templates removed", freed >> 20),
            )
        }
    }
}

fn build(store: &Store, args: &ImageBuildArgs, quiet: bool) -> Result<Exit, Failure> {
    let recipe = Recipe::named(&args.name).ok_or_else(|| {
        Failure::usage(format_args!("there is no recipe `{}`", args.name))
            .help("there is debian-12; `labctl image import` takes other images")
    })?;
    let kernels = args.kernel.iter().map(String::as_str);
    let recipe = if args.kernel.is_empty() {
        recipe
    } else {
        recipe.with_kernels(kernels).map_err(|unknown| {
            let known = Recipe::known_kernels();
            let known: Vec<_> = known.iter().map(|kernel| kernel.name.as_str()).collect();
            Failure::usage(format_args!("there is no kernel `{unknown}` for it"))
                .help(format!("there are {}", known.join(", ")))
        })?
    };
    let recipe = recipe.with_packages(args.include.iter().cloned());
    let options = Options {
        rebuild: args.rebuild,
    };
    let interrupt = Interrupt::listen()?;
    let progress = Progress::endless(quiet);
    let mut doing = |step: Doing| progress.doing(words(&step));
    let built = store.build(&recipe, options, interrupt.flag(), &mut doing);
    drop(progress);
    made(built.map_err(|error| stopped(&interrupt, &error))?, quiet)
}

fn import(store: &Store, args: ImageImportArgs, quiet: bool) -> Result<Exit, Failure> {
    let checksum: Checksum = args
        .checksum
        .parse()
        .map_err(|error| Failure::usage(format_args!("failed to {error}")))?;
    let source = Source {
        name: args.name,
        location: args.from,
        checksum,
    };
    let interrupt = Interrupt::listen()?;
    let progress = Progress::endless(quiet);
    let mut doing = |step: Doing| progress.doing(words(&step));
    let imported = store.import(&source, interrupt.flag(), &mut doing);
    drop(progress);
    made(
        imported.map_err(|error| stopped(&interrupt, &error))?,
        quiet,
    )
}

fn words(doing: &Doing) -> String {
    match doing {
        Doing::Waiting => "another process makes this image; waiting for it".to_owned(),
        Doing::Step(step) => step.clone(),
    }
}

fn stopped(interrupt: &Interrupt, error: &dyn std::fmt::Display) -> Failure {
    if interrupt.asked() {
        return Failure::interrupted();
    }
    Failure::new(Exit::LabFailed, format_args!("failed to {error}"))
}

fn made(built: Built, quiet: bool) -> Result<Exit, Failure> {
    let how = match &built {
        Built::Already(_) => "is there already",
        Built::New(_) => "is made",
    };
    let image = built.into_image();
    let digest = image.digest().short();
    told(
        quiet,
        format_args!("image {} ({digest}) {how}", image.name()),
    )
}

fn told(quiet: bool, what: std::fmt::Arguments<'_>) -> Result<Exit, Failure> {
    if !quiet {
        print_line(what)?;
    }
    Ok(Exit::Success)
}

/// An image as `-o json` writes it.
#[derive(Serialize)]
struct ImageLine {
    name: String,
    digest: String,
    kernels: Vec<String>,
    size: u64,
    made: u64,
    used_by: Vec<std::path::PathBuf>,
}

fn list(store: &Store, format: Format) -> Result<Exit, Failure> {
    let images = store.list().or_exit(Exit::LabFailed)?;
    let lines = images.iter().map(line);
    let lines: Vec<ImageLine> = lines.collect::<Result<_, _>>()?;
    print_as(format, &lines, || {
        let mut table = Table::new(&["NAME", "DIGEST", "KERNELS", "SIZE", "AGE", "USED BY"]);
        for (line, image) in lines.iter().zip(&images) {
            let age = SystemTime::now().duration_since(image.made_at());
            table.row([
                line.name.clone(),
                image.digest().short().to_owned(),
                line.kernels.join(", "),
                format!("{} MiB", line.size >> 20),
                format!("{}d", age.unwrap_or_default().as_secs() / 86400),
                line.used_by.len().to_string(),
            ]);
        }
        table.render()
    })?;
    Ok(Exit::Success)
}

fn line(image: &Image) -> Result<ImageLine, Failure> {
    let made = image.made_at().duration_since(SystemTime::UNIX_EPOCH);
    Ok(ImageLine {
        name: image.name().to_owned(),
        digest: image.digest().to_string(),
        kernels: image.kernels().iter().map(|it| it.name.clone()).collect(),
        size: image.size().or_exit(Exit::LabFailed)?,
        made: made.unwrap_or_default().as_secs(),
        used_by: image.users().or_exit(Exit::LabFailed)?,
    })
}
