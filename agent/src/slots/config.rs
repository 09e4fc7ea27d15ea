//! The texts that configure the boot loaders.

use super::Slot;

/// `loader.conf` of systemd-boot: no editor of the command line, no entries but those of the images, and no menu even when a key is
/// pressed. `timeout 0` would show one for noise on the serial line, and it waits for ever.
pub const LOADER: &str = "timeout menu-disabled\neditor no\nauto-entries no\nauto-firmware no\n";

/// The word on the kernel's command line that says that syslinux boots a slot on trial.
pub const TRIAL: &str = "steppe.on-trial";

/// `syslinux.cfg`: which slot is booted, and where their parts are.
///
/// No prompt, and no way to get one: after a failed start syslinux tries the default again. What it says goes to the screen and to the
/// serial port of the kernel, whose arguments are in `cmdline`.
#[must_use]
pub fn syslinux(default: Slot, cmdline: &str) -> String {
    let serial = serial(cmdline);
    format!("{serial}DEFAULT {default}\nPROMPT 0\nNOESCAPE 1\nINCLUDE /a/slot.cfg\nINCLUDE /b/slot.cfg\n")
}

/// The line by which syslinux speaks on the serial port that the kernel takes: the first of its arguments, which may stand among other
/// words. Empty without one, and for a port that syslinux has no number for.
#[must_use]
pub fn serial(cmdline: &str) -> String {
    let Some(console) = cmdline.split_whitespace().find_map(|word| word.strip_prefix("console=ttyS")) else {
        return String::new();
    };
    let (port, options) = console.split_once(',').unwrap_or((console, ""));
    let speed = options.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    // The kernel's own, where none is said.
    let speed = if speed.is_empty() { "9600" } else { speed };
    if matches!(port, "0" | "1" | "2" | "3") { format!("SERIAL {port} {speed}\n") } else { String::new() }
}

/// The slot that a `syslinux.cfg` boots.
#[must_use]
pub fn default_of(syslinux: &str) -> Option<Slot> {
    default_at(syslinux).map(|(_, slot)| slot)
}

/// The same, and where its letter stands.
#[must_use]
pub fn default_at(syslinux: &str) -> Option<(usize, Slot)> {
    const BEFORE: &str = "DEFAULT ";
    let mut at = 0;
    for line in syslinux.split_inclusive('\n') {
        if let Some(letter) = line.strip_prefix(BEFORE) {
            return Some((at + BEFORE.len(), Slot::parse(letter.trim_end())?));
        }
        at += line.len();
    }
    None
}

/// The part of a slot: its label, kernel, initramfs and command line. White space in `cmdline` becomes single spaces, so that it stays one
/// line.
#[must_use]
pub fn slot(slot: Slot, cmdline: &str) -> String {
    let cmdline = cmdline.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("LABEL {slot}\nLINUX /{}\nINITRD /{}\nAPPEND {cmdline}\n", slot.kernel(), slot.initrd())
}

/// The part of a slot that holds nothing yet.
pub const EMPTY_SLOT: &str = "# empty\n";

/// What the boot-once record says to boot `slot` on trial: its label, and a word for the kernel's command line.
#[must_use]
pub fn trial(slot: Slot) -> String {
    format!("{slot} {TRIAL}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_read_back() {
        for slot in Slot::ALL {
            assert_eq!(default_of(&syslinux(slot, "console=ttyS0")), Some(slot));
            assert_eq!(default_of(&syslinux(slot, "")), Some(slot));
        }
        assert_eq!(default_of("TIMEOUT 1\n"), None);
        assert_eq!(default_of("TIMEOUT 1\nDEFAULT c\n"), None);
        assert_eq!(default_of("TIMEOUT 1\nDEFAULT "), None);
    }

    #[test]
    fn the_serial_port_is_the_kernels() {
        for (words, line) in [
            ("console=tty0 console=ttyS1,115200n8 console=ttyS0,9600", "SERIAL 1 115200\n"),
            ("LABEL a\nAPPEND console=ttyS0 quiet", "SERIAL 0 9600\n"),
            ("console=ttyS3,n8", "SERIAL 3 9600\n"),
            ("console=ttyS4,9600", ""),
            ("console=ttyS,9600 xconsole=ttyS0", ""),
            ("console=tty0 console=hvc0", ""),
        ] {
            assert_eq!(serial(words), line, "{words}");
        }
        assert!(syslinux(Slot::A, "console=ttyS1,57600").starts_with("SERIAL 1 57600\nDEFAULT a\n"));
    }

    #[test]
    fn a_slot_is_one_label_with_its_files() {
        assert_eq!(
            slot(Slot::B, "quiet\nroothash=00"),
            "LABEL b\nLINUX /b/vmlinuz\nINITRD /b/initrd\nAPPEND quiet roothash=00\n"
        );
    }
}
