//! `cargo xtask bench up --provider qemu`: labs of virtual machines, booted and from
//! templates, beside the same machines without a lab, until they answer over SSH.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab_vm::machine::Base;
use lab_vm::store::{Image, Store};
use lab_vm::template::{Template, TemplateSpec};
use tokio::runtime::Runtime;

use super::lab::labctl;
use super::sample::Sample;
use crate::command::{output, target_folder};
use crate::table::Table;
use crate::vm::guest::Guests;
use crate::vm::image;

/// Numbers of machines.
const SIZES: [usize; 3] = [1, 3, 5];
/// As a lab's machines have it unless the lab file says otherwise, in MiB.
const MEMORY: u32 = 512;

pub(super) fn measure(rounds: usize) -> Result<()> {
    let bench = Bench::prepare()?;
    let mut table = Table::new(&[
        "machines",
        "bare boot, s",
        "up --cold, s",
        "ratio",
        "bare restore, s",
        "up, s",
        "ratio",
        "up again, s",
        "down, s",
    ]);
    for size in SIZES {
        table.row(bench.row(size, rounds)?);
    }
    println!("{}", table.render());
    Ok(())
}

struct Bench {
    image: Image,
    template: Template,
    runtime: Runtime,
    folder: tempfile::TempDir,
}

/// Seconds of one life of a lab.
struct Cycle {
    up: f64,
    again: f64,
    down: f64,
}

impl Bench {
    /// The image, and a template of it with nothing in it.
    fn prepare() -> Result<Self> {
        let store = image::store()?;
        let image = image::build(&store)?;
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(target_folder().join("vm"))
            .context("failed to make a folder for machines")?;
        let template = template(&store, &image, folder.path())?;
        let runtime = Runtime::new().context("failed to start a runtime")?;
        Ok(Self {
            image,
            template,
            runtime,
            folder,
        })
    }

    fn row(&self, size: usize, rounds: usize) -> Result<Vec<String>> {
        let [
            mut boot,
            mut cold,
            mut restore,
            mut warm,
            mut again,
            mut down,
        ] = [const { Sample::new() }; 6];
        let file = self.write_lab(size)?;
        // The first `up` makes the template that later ones go on from.
        self.cycle(&file, &[])?;
        for round in 0..rounds {
            eprintln!("bench: {size} machines, round {} of {rounds}", round + 1);
            boot.push(self.bare(size, &Base::Image(self.image.clone(), None))?);
            cold.push(self.cycle(&file, &["--cold"])?.up);
            restore.push(self.bare(size, &Base::Template(self.template.clone()))?);
            let cycle = self.cycle(&file, &[])?;
            warm.push(cycle.up);
            again.push(cycle.again);
            down.push(cycle.down);
        }
        let seconds = |sample: &Sample| format!("{:.2}", sample.median());
        let ratio = |ours: &Sample, bare: &Sample| format!("{:.2}", ours.ratio_to(bare));
        Ok(vec![
            size.to_string(),
            seconds(&boot),
            seconds(&cold),
            ratio(&cold, &boot),
            seconds(&restore),
            seconds(&warm),
            ratio(&warm, &restore),
            seconds(&again),
            seconds(&down),
        ])
    }

    /// Until each of that many machines has run a command over SSH.
    fn bare(&self, size: usize, base: &Base) -> Result<f64> {
        let folder = tempfile::tempdir_in(self.folder.path())
            .context("failed to make a folder for machines")?;
        let guests = Guests::new(folder.path())?;
        let specs = (1..=size)
            .map(|number| {
                let number = u8::try_from(number).context("there are fewer machines")?;
                guests.spec(&format!("node-{number}"), number, base.clone(), MEMORY)
            })
            .collect::<Result<Vec<_>>>()?;
        let began = Instant::now();
        let running = thread::scope(|scope| {
            let starting: Vec<_> = specs
                .iter()
                .map(|spec| {
                    scope.spawn(|| {
                        let guest = guests.boot(spec, self.runtime.handle())?;
                        guest.says(&["true"])?;
                        Ok(guest)
                    })
                })
                .collect();
            starting
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .collect::<Result<Vec<_>>>()
        })?;
        let seconds = began.elapsed().as_secs_f64();
        drop(running);
        Ok(seconds)
    }

    fn cycle(&self, file: &Path, options: &[&str]) -> Result<Cycle> {
        let name = format!("bench-{}", std::process::id());
        let up = || {
            seconds(
                self.labctl()
                    .arg("up")
                    .arg(file)
                    .args(["--name", &name])
                    .args(UP)
                    .args(options),
            )
        };
        let cycle = up().and_then(|first| Ok((first, up()?)));
        let down = seconds(self.labctl().args(["down", "--lab", &name]))?;
        cycle.map(|(up, again)| Cycle { up, again, down })
    }

    fn labctl(&self) -> Command {
        let mut labctl = labctl();
        labctl.env("XDG_DATA_HOME", image::data_home());
        labctl
    }

    /// Cluster nodes, which have an agent and its programs to wait for.
    fn write_lab(&self, size: usize) -> Result<PathBuf> {
        let mut text = format!("name: size-{size}\nnetwork: 192.168.10.0/24\nnodes:\n");
        for node in 1..=size {
            let role = if node == 1 { "control-plane" } else { "worker" };
            writeln!(
                text,
                "  n{node}: {{role: {role}, address: 192.168.10.{node}}}"
            )?;
        }
        let file = self.folder.path().join(format!("size-{size}.yaml"));
        std::fs::write(&file, text)
            .with_context(|| format!("failed to write {}", file.display()))?;
        Ok(file)
    }
}

const UP: [&str; 2] = ["--provider", "qemu"];

/// What bare machines go on from.
fn template(store: &Store, image: &Image, folder: &Path) -> Result<Template> {
    let guests = Guests::new(&folder.join("template"))?;
    let base = Base::Image(image.clone(), None);
    let spec = TemplateSpec {
        image: image.clone(),
        kernel: None,
        memory_mib: MEMORY,
        cpus: 1,
        content: "nothing".to_owned(),
        identity: guests.spec("template", 0, base, MEMORY)?.identity,
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let never = AtomicBool::new(false);
    store
        .make_template(&spec, deadline, &never, &mut |_| Ok(()))
        .context("failed to make a template")
}

/// Seconds that a command took.
fn seconds(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    output(command)?;
    Ok(began.elapsed().as_secs_f64())
}
