//! Starting without a disk: an iPXE script that names kernel and initramfs beside it.

/// The script. iPXE takes names relative to where the script came from; `initrd=` is what the kernel's EFI stub needs to find it.
#[must_use]
pub fn script(title: &str, kernel: &str, initrd: &str, cmdline: &str) -> String {
    format!("#!ipxe\n# {title}\nkernel {kernel} initrd={initrd} {cmdline}\ninitrd {initrd}\nboot\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_relative() {
        let text = super::script("Steppe", "a.vmlinuz", "a.initrd", "console=ttyS0");
        assert_eq!(text, "#!ipxe\n# Steppe\nkernel a.vmlinuz initrd=a.initrd console=ttyS0\ninitrd a.initrd\nboot\n");
    }
}
