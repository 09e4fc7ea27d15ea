//! What a recipe may add to an image: files, programs and what they need, kernel arguments, modules.

mod common;

use std::{fs, io::Read as _};

use builder::{manifest::Manifest, tree::Origin};
use common::{World, fixture, said};

fn write(world: &World, more: &str) {
    let text = "extends = \"server\"\nname = \"test\"\n[root]\nlevel = 3\nadd = [\"/usr/sbin/debugfs\"]\n[disk]\nsize = \"480MiB\"\n";
    fs::write(&world.recipe, format!("{text}{more}")).unwrap();
}

const MORE: &str = "[kernel]\nadd = [\"quiet\"]\n[modules]\nasked = [\"xen_blkfront\"]\n\
    [[files]]\nsource = \"files/tool\"\npath = \"/usr/bin/tool\"\nmode = \"0755\"\n\
    [[files]]\nsource = \"files/motd\"\npath = \"/etc/motd\"\n";

#[test]
fn what_a_recipe_adds_is_in_the_image() {
    let world = World::new();
    write(&world, MORE);
    fs::create_dir(world.path("files")).unwrap();
    fs::write(world.path("files/tool"), fixture::elf(Some("/lib64/ld-linux-x86-64.so.2"), &["libblkid.so.1"])).unwrap();
    fs::write(world.path("files/motd"), "hello\n").unwrap();
    let output = world.path("out");
    let manifest = || Manifest::read(&output.join("steppe-0.1.0-test-x86_64.manifest.json")).unwrap();
    let built = world.build(&output, &["--format", "netboot"]);
    assert!(built.status.success(), "{}", said(&built));
    let first = manifest();
    let file = |manifest: &Manifest, path: &str| manifest.files.iter().find(|file| file.path == path).cloned();
    let tool = file(&first, "/usr/bin/tool").unwrap();
    assert_eq!((tool.origin, tool.mode.as_str()), (Origin::Recipe, "0755"));
    assert_eq!(file(&first, "/usr/share/steppe/etc/motd").unwrap().size, 6);
    assert!(file(&first, "/usr/sbin/debugfs").is_some());
    assert!(file(&first, "/usr/lib/x86_64-linux-gnu/libblkid.so.1").is_some(), "what the tool needs comes with it");
    assert!(first.cmdline.ends_with(" quiet"), "{}", first.cmdline);
    assert!(first.files.iter().any(|file| file.path.ends_with("/xen_blkfront.ko")));

    // Another source of the same bytes changes nothing; other bytes do.
    fs::write(world.path("files/motd"), "good day\n").unwrap();
    let built = world.build(&output, &["--format", "netboot"]);
    assert!(built.status.success(), "{}", said(&built));
    assert_eq!(file(&manifest(), "/usr/share/steppe/etc/motd").unwrap().size, 9);
}

#[test]
fn what_cannot_be_added_is_named_with_the_way_out() {
    let world = World::new();
    let output = world.path("out");
    let fails = |more: &str| {
        write(&world, more);
        let built = world.build(&output, &[]);
        assert_eq!(built.status.code(), Some(1), "{}", said(&built));
        said(&built)
    };
    let file = |path: &str| format!("[[files]]\nsource = \"test.toml\"\npath = \"{path}\"\n");
    for path in ["/usr/bin/nomad", "/usr/sbin/agent", "/etc/hosts", "/usr/share/zoneinfo.zip", "/usr/lib/os-release"] {
        let text = fails(&file(path));
        assert!(text.contains(&format!("{path} is a file of the image itself")), "{text}");
    }
    let text = fails("[[files]]\nsource = \"nothing\"\npath = \"/usr/share/x\"\n");
    assert!(text.contains("/nothing for /usr/share/x of the image"), "{text}");
    let text = fails("[modules]\nasked = [\"virtio_nett\"]\n");
    assert!(text.contains("virtio_nett"), "{text}");
    assert!(
        !output.exists() || fs::read_dir(&output).unwrap().next().is_none(),
        "nothing is left of a build that failed"
    );
}

#[test]
fn an_images_own_version_is_in_its_names_and_in_what_describes_it() {
    let world = World::new();
    let recipe = fs::read_to_string(&world.recipe).unwrap();
    fs::write(&world.recipe, format!("version = \"7.1\"\n{recipe}")).unwrap();
    let output = world.path("out");
    let built = world.build(&output, &["--format", "ova"]);
    assert!(built.status.success(), "{}", said(&built));
    let ova = fs::read(output.join("steppe-7.1-test-x86_64.ova")).unwrap();
    let mut archive = tar::Archive::new(&ova[..]);
    let mut envelope = String::new();
    archive.entries().unwrap().next().unwrap().unwrap().read_to_string(&mut envelope).unwrap();
    assert!(envelope.contains("<Version>7.1</Version>"), "{envelope}");
}
