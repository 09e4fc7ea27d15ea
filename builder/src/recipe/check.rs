//! Values of a recipe that are of the right type and yet wrong.

use agent::{
    node::datasource,
    slots::{Slot, config},
    update::{manifest::LONGEST_CMDLINE, version::Version},
};

use super::{Recipe, RecipeError};
use crate::{architecture::Architecture, hint, update};

impl Recipe {
    /// Bytes of the longest command line that a disk's kernel gets: with the root hash, and by BIOS with what syslinux adds (the files, and
    /// the word for a boot on trial). Networks and CDs have no root hash, and so have shorter ones.
    fn cmdline_of_disk(&self) -> usize {
        let own = "roothash=".len() + 64 + 1 + self.kernel.cmdline.join(" ").len();
        let slot = Slot::A;
        let syslinux = format!("BOOT_IMAGE=/{}  initrd=/{} {}", slot.kernel(), slot.initrd(), config::TRIAL);
        own + if self.bios { syslinux.len() } else { 0 }
    }

    pub(super) fn check(&self, file: &str) -> Result<(), RecipeError> {
        let wrong = |key: &'static str, why: String| Err(RecipeError::Value { file: file.to_owned(), key, why });
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._+".contains(&c));
        if !plain(&self.name) {
            return wrong("name", format!("{:?} has characters other than letters, digits and -._+", self.name));
        }
        match self.architecture {
            Architecture::X86_64 => {}
            // Its names are known, its images are not made: they need an agent, kernels, modules and boot loaders of their own.
            other @ Architecture::Aarch64 => {
                let only = Architecture::X86_64;
                let why = format!(
                    "images for {other} cannot be built yet: the agent, and the kernels and boot loaders of the recipes, are \
                     those of {only}; say {:?} or leave the key to what the recipe extends",
                    only.as_str()
                );
                return wrong("architecture", why);
            }
        }
        if let Some(platform) = self.platform.as_deref().filter(|name| !datasource::names().any(|n| n == *name)) {
            let names: Vec<&str> = datasource::names().collect();
            let near = hint::nearest(platform, names.iter().copied()).map(|name| format!("; did you mean {name:?}?"));
            let known = names.join(", ");
            return wrong("platform", format!("{platform:?} is none of {known}{}", near.unwrap_or_default()));
        }
        if let Some(Err(why)) = self.version.as_ref().map(|version| version.parse::<Version>()) {
            return wrong("version", why.to_string());
        }
        if self.update_key.as_ref().is_some_and(|key| update::public_key(key).is_none()) {
            return wrong("update.key", "it is no public key of minisign: `builder key` makes one".to_owned());
        }
        for level in [self.root.level, self.initramfs_level] {
            if !(1..=22).contains(&level) {
                return wrong("level", format!("zstd has the levels 1 to 22, not {level}"));
            }
        }
        let block = self.root.block;
        if !block.0.is_power_of_two() || !(4 << 10..=1 << 20).contains(&block.0) {
            return wrong("root.block", format!("{block} is not a power of two from 4KiB to 1MiB"));
        }
        if self.esp_size.0 < 34 << 20 || !self.esp_size.0.is_multiple_of(1 << 20) {
            return wrong("disk.esp", format!("{} is not a multiple of 1MiB from 34MiB on", self.esp_size));
        }
        if self.slot_size.0 == 0 || !self.slot_size.0.is_multiple_of(1 << 20) {
            return wrong("disk.slot", format!("{} is not a multiple of 1MiB", self.slot_size));
        }
        if !self.disk_size.0.is_multiple_of(1 << 20) {
            return wrong("disk.size", format!("{} is not a multiple of 1MiB", self.disk_size));
        }
        for name in self.packages.names.iter().chain([&self.kernel.package, &self.packages.suite]) {
            if !plain(name) || name.starts_with('-') {
                return wrong("packages", format!("{name:?} is not the name of a package or suite"));
            }
        }
        let words = &self.kernel.cmdline;
        if let Some(word) = words.iter().find(|word| word.starts_with("root=") || word.starts_with("roothash=")) {
            return wrong("kernel.cmdline", format!("{word:?} is the builder's to say"));
        }
        if let Some(word) = words.iter().find(|word| word.contains(char::is_control)) {
            return wrong("kernel.cmdline", format!("{word:?} has a control character"));
        }
        let length = self.cmdline_of_disk();
        if length > LONGEST_CMDLINE {
            let why = format!(
                "with all that stands before and behind it, the command line has {length} bytes, and a kernel takes no more than \
                 {LONGEST_CMDLINE}: leave words out of kernel.add, kernel.cmdline or harden.cmdline"
            );
            return wrong("kernel.add", why);
        }
        for (index, file) in self.files.iter().enumerate() {
            if let Err(why) = file.check() {
                return wrong("files", format!("{:?} {why}", file.path));
            }
            if self.files[..index].iter().any(|other| other.place() == file.place()) {
                return wrong("files", format!("{:?} is there twice", file.path));
            }
        }
        let modules = &self.modules;
        let named = modules.always.iter().chain(&modules.devices).chain(&modules.asked).chain(&modules.initramfs);
        if let Some(name) = named.into_iter().find(|name| !plain(name.trim_start_matches('?'))) {
            return wrong("modules", format!("{name:?} is not the name of a module"));
        }
        Ok(())
    }
}
