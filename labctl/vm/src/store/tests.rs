//! Names, users, and what a build that did not end leaves.

use std::fs;

use sha2::Sha256;

use super::*;
use crate::build::{BuildError, Options};
use crate::recipe::Recipe;

static NEVER: AtomicBool = AtomicBool::new(false);

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(&folder.path().join("images")).unwrap();
        Self { folder, store }
    }

    fn image(&self, name: &str) -> Image {
        use sha2::Digest as _;
        let digest = Digest::of(Sha256::new_with_prefix(name));
        let unfinished = self.store.begin(&digest).unwrap();
        fs::write(unfinished.folder().join("disk.raw"), [1; 4096]).unwrap();
        let kernel = |name: &str, release: &str| Kernel {
            name: name.into(),
            release: release.into(),
        };
        let kernels = vec![
            kernel("6.1", "6.1.0-56-cloud-amd64"),
            kernel("sid", "7.2.13-cloud-amd64"),
        ];
        let document = Document {
            name: name.into(),
            digest,
            boot: Boot::Kernel,
            kernels,
            made_at: 0,
        };
        self.store.finish(&unfinished, document).unwrap()
    }

    /// Everything in the store's folder but locks.
    fn left(&self) -> Vec<String> {
        let names = files::entries(self.store.root()).unwrap().into_iter();
        let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        names.filter(|name| !name.starts_with("lock")).collect()
    }
}

#[test]
fn an_image_is_found_by_name_and_by_the_beginning_of_its_digest() {
    let fixture = Fixture::new();
    let image = fixture.image("debian-12");
    let found = |name| {
        fixture
            .store
            .image(name)
            .map(|image| image.digest().clone())
    };
    assert_eq!(&found("debian-12").unwrap(), image.digest());
    assert_eq!(&found(image.digest().short()).unwrap(), image.digest());
    assert!(matches!(
        found(&image.digest().as_str()[..7]),
        Err(StoreError::NoSuchImage(_))
    ));
    assert!(matches!(
        found("debian-13"),
        Err(StoreError::NoSuchImage(_))
    ));
    assert_eq!(fixture.store.list().unwrap().len(), 1);
}

#[test]
fn a_kernel_is_found_by_name_and_release_and_the_first_is_the_default() {
    let image = Fixture::new().image("debian-12");
    let release = |asked| image.kernel(asked).map(|kernel| kernel.release.clone());
    assert_eq!(release(None).unwrap(), "6.1.0-56-cloud-amd64");
    assert_eq!(release(Some("sid")).unwrap(), "7.2.13-cloud-amd64");
    assert_eq!(
        release(Some("7.2.13-cloud-amd64")).unwrap(),
        "7.2.13-cloud-amd64"
    );
    let error = release(Some("5.10")).unwrap_err().to_string();
    assert_eq!(
        error,
        "find kernel 5.10 in image debian-12: it has 6.1, sid"
    );
}

#[test]
fn an_image_in_use_is_not_removed() {
    let fixture = Fixture::new();
    let image = fixture.image("debian-12");
    let disk = fixture.folder.path().join("disk.qcow2");
    fs::write(&disk, "").unwrap();
    let template = image.templates().join("t");
    register(&template, &disk).unwrap();
    let error = fixture.store.remove("debian-12").unwrap_err();
    assert!(
        matches!(&error, StoreError::InUse { users, .. } if *users == [disk.clone()]),
        "{error}"
    );
    assert_eq!(fixture.store.prune().unwrap(), 0, "the template is in use");

    fs::remove_file(&disk).unwrap();
    assert!(fixture.store.prune().unwrap() > 0);
    assert!(!template.exists());
    fixture.store.remove("debian-12").unwrap();
    assert_eq!(fixture.left(), ["names.json"]);
}

#[test]
fn an_image_that_lost_its_name_is_pruned() {
    let fixture = Fixture::new();
    let old = fixture.image("debian-12");
    let new = fixture.image("other");
    fixture.store.name(new, "debian-12").unwrap();
    assert!(fixture.store.prune().unwrap() >= 4096);
    assert!(fixture.store.find(old.digest()).unwrap().is_none());
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let fixture = Fixture::new();
    let recipe = Recipe::debian_12();
    let interrupted = AtomicBool::new(true);
    let built = fixture
        .store
        .build(&recipe, Options::default(), &interrupted, &mut |_| ());
    assert!(matches!(built, Err(BuildError::Interrupted)), "{built:?}");
    assert!(fixture.left().is_empty(), "{:?}", fixture.left());
}

#[test]
fn what_a_killed_build_left_goes_with_the_next() {
    let fixture = Fixture::new();
    let digest = Recipe::debian_12().digest();
    let scratch = fixture.folder.path().join("labctl-build-x");
    fs::create_dir(&scratch).unwrap();
    let unfinished = fixture.store.begin(&digest).unwrap();
    std::os::unix::fs::symlink(&scratch, unfinished.scratch_link()).unwrap();
    fs::write(unfinished.folder().join("disk.raw"), "half").unwrap();
    std::mem::forget(unfinished);

    let again = fixture.store.begin(&digest).unwrap();
    assert!(!scratch.exists());
    assert!(files::entries(again.folder()).unwrap().is_empty());
    drop(again);
    assert!(fixture.left().is_empty(), "{:?}", fixture.left());
}

#[test]
fn a_lock_is_waited_for_until_an_interrupt() {
    let fixture = Fixture::new();
    let digest = Recipe::debian_12().digest();
    let mut waited = 0;
    let held = fixture
        .store
        .build_lock(&digest, &NEVER, &mut || ())
        .unwrap();
    let interrupted = AtomicBool::new(true);
    let second = fixture
        .store
        .build_lock(&digest, &interrupted, &mut || waited += 1)
        .unwrap();
    assert!(held.is_some() && second.is_none() && waited == 1);
}
