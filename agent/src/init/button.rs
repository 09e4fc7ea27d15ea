//! Power buttons: input devices that have the key `KEY_POWER` (ACPI, virtual keyboards).

use std::{
    fs::{self, File},
    io::Read as _,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

use nix::libc;

/// `KEY_POWER` of `linux/input-event-codes.h`.
const KEY_POWER: u16 = 116;
/// `EV_KEY` of the same.
const EV_KEY: u16 = 1;
/// Size of `struct input_event` on 64-bit machines: a time of 16 bytes, type, code, value.
const EVENT: usize = 24;

/// An open device.
#[derive(Debug)]
pub(super) struct Button {
    name: String,
    file: File,
}

impl Button {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Reads what happened: `Some(true)` when the button was pressed, `None` when the device is gone.
    pub(super) fn read(&mut self) -> Option<bool> {
        let mut buffer = [0_u8; EVENT * 16];
        let mut pressed = false;
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return None,
                Ok(size) => pressed |= buffer[..size].chunks_exact(EVENT).any(is_press),
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => return Some(pressed),
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// Reads those of the buttons for which `ready` is true, in their order, and forgets the devices that are gone. Whether
/// one was pressed.
pub(super) fn any_pressed(buttons: &mut Vec<Button>, mut ready: impl FnMut(usize) -> bool) -> bool {
    let mut pressed = false;
    let mut index = 0;
    buttons.retain_mut(|button| {
        index += 1;
        if !ready(index - 1) {
            return true;
        }
        let read = button.read();
        pressed |= read == Some(true);
        read.is_some()
    });
    pressed
}

/// Whether an event is the power key going down.
fn is_press(event: &[u8]) -> bool {
    let number = |at: usize| event.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let value = event.get(20..24).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes);
    number(16) == Some(EV_KEY) && number(18) == Some(KEY_POWER) && value == Some(1)
}

/// Whether a device has the key, from its `capabilities/key` in sysfs: hexadecimal words of 64 bits, highest first.
#[must_use]
pub fn has_power_key(capabilities: &str) -> bool {
    let word = capabilities.split_whitespace().rev().nth(usize::from(KEY_POWER / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|word| word >> (KEY_POWER % 64) & 1 == 1)
}

/// Opens every button that is there and not open yet.
pub(super) fn scan(sys: &Path, dev: &Path, open: &mut Vec<Button>) {
    for entry in fs::read_dir(sys.join("class/input")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("event") || open.iter().any(|button| button.name == name) {
            continue;
        }
        let keys = fs::read_to_string(entry.path().join("device/capabilities/key")).unwrap_or_default();
        if !has_power_key(&keys) {
            continue;
        }
        let path = dev.join("input").join(&name);
        match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
            Ok(file) => open.push(Button { name, file }),
            Err(why) => crate::warning!("failed to open the power button {}: {why}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_acpi_button_has_the_key_and_a_mouse_has_not() {
        assert!(has_power_key("10000000000000 0\n"));
        assert!(has_power_key("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n"), "keyboard");
        assert!(!has_power_key("1f0000 0 0 0 0\n"));
        assert!(!has_power_key("0\n"));
    }

    #[test]
    fn only_pressing_counts() {
        let mut event = [0_u8; EVENT];
        event[16] = 1;
        event[18] = 116;
        assert!(!is_press(&event), "release");
        event[20] = 1;
        assert!(is_press(&event));
        event[18] = 115;
        assert!(!is_press(&event), "volume");
    }

    #[test]
    fn a_device_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        for (name, keys) in [("event0", "10000000000000 0"), ("event1", "0"), ("mouse0", "10000000000000 0")] {
            let class = dir.path().join("sys/class/input").join(name).join("device/capabilities");
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join("key"), keys).unwrap();
            let dev = dir.path().join("dev/input");
            fs::create_dir_all(&dev).unwrap();
            fs::write(dev.join(name), "").unwrap();
        }
        let mut open = Vec::new();
        for _ in 0..2 {
            scan(&dir.path().join("sys"), &dir.path().join("dev"), &mut open);
        }
        assert_eq!(open.iter().map(|button| button.name.as_str()).collect::<Vec<_>>(), ["event0"]);
        assert_eq!(open[0].read(), None, "end of file: gone");
    }

    proptest! {
        #[test]
        fn any_capabilities_parse(text: String) {
            let _ = has_power_key(&text);
        }
    }
}
