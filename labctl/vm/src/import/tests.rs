//! What is taken into the store, and what is refused.

use super::*;
use crate::store::StoreError;

static NEVER: AtomicBool = AtomicBool::new(false);

fn qcow2(backing: u64) -> Vec<u8> {
    let mut bytes = vec![0; 112];
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    bytes[8..16].copy_from_slice(&backing.to_be_bytes());
    bytes
}

fn source(folder: &Path, content: &[u8]) -> Source {
    let path = folder.join("cloud.qcow2");
    std::fs::write(&path, content).unwrap();
    let checksum = format!("sha256:{}", store::hex(&Sha256::digest(content)));
    Source {
        name: "cloud".to_owned(),
        location: path.display().to_string(),
        checksum: checksum.parse().unwrap(),
    }
}

fn import(store: &Store, source: &Source) -> Result<Built, BuildError> {
    store.import(source, &NEVER, &mut |_| ())
}

#[test]
fn an_image_is_imported_once_by_path_and_by_url() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(&folder.path().join("images")).unwrap();
    let mut source = source(folder.path(), &qcow2(0));
    let image = import(&store, &source).unwrap().into_image();
    assert_eq!(
        (image.name(), image.boot(), image.kernels().len()),
        ("cloud", Boot::BootLoader, 0)
    );
    assert!(matches!(
        import(&store, &source).unwrap(),
        Built::Already(_)
    ));
    store.remove("cloud").unwrap();
    source.location = format!("file://{}", source.location);
    assert!(matches!(import(&store, &source).unwrap(), Built::New(_)));
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn what_is_not_what_was_promised_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(&folder.path().join("images")).unwrap();
    let mut other = source(folder.path(), &qcow2(0));
    other.checksum = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let error = import(&store, &other).unwrap_err();
    assert!(matches!(error, BuildError::Checksum { .. }), "{error}");

    let gone = Source {
        location: format!("file://{}/gone", folder.path().display()),
        ..other
    };
    let error = import(&store, &gone).unwrap_err();
    assert!(matches!(error, BuildError::Program { .. }), "{error}");

    // It would have its machine read any file of the user's.
    let backed = source(folder.path(), &qcow2(112));
    let error = import(&store, &backed).unwrap_err();
    assert!(matches!(error, BuildError::NoImage { .. }), "{error}");

    assert!(matches!(
        store.image("cloud"),
        Err(StoreError::NoSuchImage(_))
    ));
    let left = std::fs::read_dir(store.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left
        .filter(|name| name.to_string_lossy().starts_with("building"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_checksum_says_how_it_was_made() {
    for bad in [
        "",
        "0000",
        "md5:0",
        "sha256:0",
        &format!("sha256:{}", "g".repeat(64)),
    ] {
        assert!(bad.parse::<Checksum>().is_err(), "{bad}");
    }
    let text = format!("sha512:{}", "AB".repeat(64));
    assert_eq!(
        text.parse::<Checksum>().unwrap().to_string(),
        text.to_lowercase()
    );
}
