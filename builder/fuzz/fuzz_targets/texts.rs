//! Texts: recipes, lock files, lists of modules, manifests, what apt and its configuration say, shell scripts.
#![no_main]

use std::path::Path;

use builder::{
    fuzzing, inspect,
    lock::Lock,
    manifest::Manifest,
    modules::ModuleLists,
    nomad::Fingerprint,
    recipe::{Profile, Recipe},
    size::Size,
    update, userdata,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    recipe(text);
    if let Ok(lock) = Lock::parse("l", text) {
        assert_eq!(Lock::parse("l", &lock.text()).unwrap(), lock);
        let _ = lock.changes(&Lock::embedded(Profile::Cloud).unwrap());
    }
    let _ = ModuleLists::parse("m", text);
    if let Ok(manifest) = Manifest::parse(Path::new("m"), text) {
        assert_eq!(Manifest::parse(Path::new("m"), &manifest.text()).unwrap(), manifest);
        let _ = inspect::against::differences(&inspect::Image::default(), &manifest);
        let _ = inspect::text::people(&inspect::Subject { image: None, manifest: Some(manifest) }, 80);
    }
    fuzzing::texts(text);
    let _ = Size::parse(text);
    let _ = Fingerprint::parse(text);
    let _ = update::public_key(text);
    let _ = userdata::convert::convert(text);
});

/// The text, and the pieces between lines of dashes as the files that it extends.
fn recipe(text: &str) {
    let mut pieces = text.split("\n---\n");
    let first = pieces.next().unwrap_or_default();
    let mut open = |_: &Path| pieces.next().map(str::to_owned);
    if let Err(error) = Recipe::parse("r.toml", first, None, &mut open) {
        assert!(!error.to_string().is_empty());
    }
}
