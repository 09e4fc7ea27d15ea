//! The ISO: what it takes from packages.

use anyhow::Result;

use super::{
    Build,
    inputs::Inputs,
    time,
    write::{Made, STUB_PACKAGE},
};
use crate::{
    content::Digest,
    disk, esp, iso, root,
    syslinux::{self, Installer},
    uki,
};

impl Build<'_> {
    /// The bytes of an ISO that starts with this initramfs, which has the root in it.
    pub(super) fn iso(&self, inputs: &Inputs, made: &Made<'_>, initrd: &[u8], cmdline: &str) -> Result<Vec<u8>> {
        let recipe = &self.request.recipe;
        let [stub] = self.boot_files(inputs, STUB_PACKAGE, [recipe.architecture.stub()])?;
        let isolinux = if recipe.bios {
            let [loader, mbr] = self.boot_files(inputs, iso::PACKAGE, [iso::ISOLINUX, iso::MBR])?;
            let [installer] = self.boot_files(inputs, syslinux::PACKAGE, [syslinux::INSTALLER])?;
            Some((loader, Installer::parse(&installer)?.module, mbr))
        } else {
            None
        };
        let system = iso::System {
            architecture: recipe.architecture,
            stub: &stub,
            parts: uki::Parts {
                os_release: &esp::os_release(&root::os_release(made.facts)),
                cmdline,
                uname: &made.kernel.release,
                initrd,
                linux: &made.kernel.image,
                time: time(made.kernel.epoch),
            },
            isolinux: isolinux.as_ref().map(|(loader, module, mbr)| iso::Isolinux { loader, module, mbr }),
            id: disk::identifier(Digest::of(made.root), "iso").as_fields().0,
        };
        Ok(iso::build(&system)?)
    }
}
