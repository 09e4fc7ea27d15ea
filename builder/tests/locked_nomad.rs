//! Builds with a release of Nomad, and what the lock file has to say about it.

mod common;

use std::fs;

use builder::{
    content::Digest,
    lock::{Lock, LockedNomad},
};
use common::{Vendor, World, nomad_fixture, said};

#[test]
fn a_release_is_locked() {
    let world = World::new();
    let vendor = Vendor::new(&world);
    let (first, second) =
        (nomad_fixture::program("Nomad v2.0.5\n"), nomad_fixture::program("Nomad v2.0.5\nand more\n"));
    let lock_file = world.recipe.with_extension("lock");
    let locked = |path| Lock::parse("lock", &fs::read_to_string(path).unwrap()).unwrap().nomad;
    let nomad = |program: &[u8]| Some(LockedNomad { version: "2.0.5".into(), sha256: Digest::of(program) });

    vendor.publish(&first);
    let built = vendor.build(&world, &[]);
    assert!(built.status.success(), "{}", said(&built));
    assert_eq!(locked(lock_file.clone()), nomad(&first));
    assert_eq!(locked(world.path("out/steppe-0.1.0-test-x86_64.lock")), nomad(&first));
    let built = vendor.build(&world, &["--locked"]);
    assert!(built.status.success(), "{}", said(&built));

    // A program that the user names is not the locked one, and does not unlock it.
    let named = ["--nomad", world.nomad.to_str().unwrap()];
    let refused = vendor.build(&world, &[&["--locked"], &named[..]].concat());
    let text = said(&refused);
    assert!(!refused.status.success() && text.contains(&Digest::of(&first).hex()), "{text}");
    let built = vendor.build(&world, &named);
    assert!(built.status.success(), "{}", said(&built));
    assert_eq!(locked(lock_file.clone()), nomad(&first));
    assert_eq!(locked(world.path("out/steppe-0.1.0-test-x86_64.lock")), None);

    // Another program under the same version, signed and all.
    vendor.publish(&second);
    fs::remove_dir_all(world.cache().join("nomad")).unwrap();
    let refused = vendor.build(&world, &["--locked"]);
    assert!(!refused.status.success() && said(&refused).contains("without --locked"), "{}", said(&refused));
    let built = vendor.build(&world, &[]);
    let text = said(&built);
    assert!(built.status.success() && text.contains("warning: the lock file has Nomad 2.0.5"), "{text}");
    assert_eq!(locked(lock_file), nomad(&second));
}
