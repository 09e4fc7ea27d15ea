//! What a program needs to start: its interpreter and shared libraries, and what those need in turn.

use std::collections::BTreeMap;

use object::{
    Endianness,
    elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, ET_EXEC, FileHeader64},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};

use crate::architecture::Architecture;

/// What an ELF file says that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The dynamic linker, as an absolute path; none for static programs and libraries.
    pub interpreter: Option<String>,
    /// File names of shared libraries.
    pub libraries: Vec<String>,
}

/// Whether the bytes begin like an ELF file.
#[must_use]
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Reads what an ELF file for `wanted` needs.
///
/// # Errors
/// When it is not a well-formed 64-bit little-endian ELF file for that.
pub fn needs(name: &str, bytes: &[u8], wanted: Architecture) -> Result<Needs, ElfError> {
    let malformed = |why: String| ElfError::Malformed { name: name.to_owned(), wanted, why };
    let other = |machine| ElfError::Machine { name: name.to_owned(), wanted, machine };
    let say = |error: object::read::Error| malformed(error.to_string());
    if !is_elf(bytes) {
        return Err(malformed("it is not an ELF file".to_owned()));
    }
    if bytes.get(4) != Some(&2) {
        return Err(other("a 32-bit machine".to_owned()));
    }
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(say)?;
    let endian = header.endian().map_err(say)?;
    let machine = header.e_machine(endian).0;
    if machine != wanted.elf_machine() {
        return Err(other(match (Architecture::of_elf_machine(machine), machine) {
            (Some(architecture), _) => architecture.to_string(),
            (None, 243) => "riscv64".to_owned(),
            (None, machine) => format!("ELF machine {machine}"),
        }));
    }
    let mut needs = Needs { interpreter: None, libraries: Vec::new() };
    for segment in header.program_headers(endian, bytes).map_err(say)? {
        if let Some(path) = segment.interpreter(endian, bytes).map_err(say)? {
            needs.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, bytes).map_err(say)?;
    if let Some((entries, strings)) = sections.dynamic(endian, bytes).map_err(say)? {
        let strings = sections.strings(endian, bytes, strings).map_err(say)?;
        for entry in entries {
            let tag = entry.tag(endian);
            let value = || entry.string(endian, strings).map(|s| String::from_utf8_lossy(s).into_owned()).map_err(say);
            if tag == DT_NEEDED {
                needs.libraries.push(value()?);
            } else if tag == DT_RUNPATH || tag == DT_RPATH {
                // Nothing in an image is outside the linker's own directories; a program that looks elsewhere would fail there.
                return Err(malformed(format!("it looks for libraries in {:?}, which images do not have", value()?)));
            }
        }
    } else if needs.interpreter.is_some() && header.e_type(endian) == ET_EXEC {
        return Err(malformed("it has an interpreter but no dynamic section".to_owned()));
    }
    Ok(needs)
}

/// Every library and interpreter that the programs for `wanted` need, by what `find` gives for a file name (`libc.so.6`) or an
/// absolute path (the interpreter). Keys are those names, values what `find` gave.
///
/// # Errors
/// When a file is malformed, or `find` knows nothing of one that is needed.
pub fn closure<'a, T: AsRef<[u8]>>(
    programs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    wanted: Architecture,
    mut find: impl FnMut(&str) -> Option<T>,
) -> Result<BTreeMap<String, T>, ElfError> {
    let mut found: BTreeMap<String, T> = BTreeMap::new();
    let mut waiting: Vec<(String, String)> = Vec::new();
    let ask = |name: &str, bytes: &[u8], waiting: &mut Vec<(String, String)>| -> Result<(), ElfError> {
        let needs = needs(name, bytes, wanted)?;
        waiting.extend(needs.interpreter.into_iter().chain(needs.libraries).map(|need| (name.to_owned(), need)));
        Ok(())
    };
    for (name, bytes) in programs {
        ask(name, bytes, &mut waiting)?;
    }
    while let Some((by, need)) = waiting.pop() {
        if found.contains_key(&need) {
            continue;
        }
        let Some(library) = find(&need) else { return Err(ElfError::Missing { name: by, library: need }) };
        ask(&need, library.as_ref(), &mut waiting)?;
        found.insert(need, library);
    }
    // The linker itself is also named as a library by libc; the interpreter's path already provides it.
    let interpreters = found.keys().filter(|name| name.starts_with('/'));
    let interpreters: Vec<String> =
        interpreters.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect();
    found.retain(|name, _| !interpreters.contains(name));
    Ok(found)
}

/// Why a program cannot go into an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// The file is not what it should be.
    #[error("failed to read {name} as a program for {wanted}: {why}")]
    Malformed {
        /// The file.
        name: String,
        /// What the image is for.
        wanted: Architecture,
        /// Why.
        why: String,
    },
    /// A program for another machine.
    #[error("{name} is made for {machine}, the image for {wanted}: name the linux_{} build", wanted.nomad())]
    Machine {
        /// The file.
        name: String,
        /// What the image is for.
        wanted: Architecture,
        /// What it is made for.
        machine: String,
    },
    /// A library that no package has.
    #[error("{name} needs {library}, which no package of the recipe has: add the package to packages.names")]
    Missing {
        /// Who needs it.
        name: String,
        /// What.
        library: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;

    const WANTED: Architecture = Architecture::X86_64;

    #[test]
    fn needs_of_static_and_dynamic_programs() {
        assert_eq!(
            needs("s", &fixture::elf(None, &[]), WANTED).unwrap(),
            Needs { interpreter: None, libraries: vec![] }
        );
        let bytes = fixture::elf(Some("/lib64/ld.so.2"), &["libc.so.6", "libm.so.6"]);
        let needs = needs("d", &bytes, WANTED).unwrap();
        assert_eq!(needs.interpreter.as_deref(), Some("/lib64/ld.so.2"));
        assert_eq!(needs.libraries, ["libc.so.6", "libm.so.6"]);
    }

    #[test]
    fn closure_takes_what_is_needed_and_nothing_else() {
        let libraries = BTreeMap::from([
            ("libc.so.6".to_owned(), fixture::elf(None, &["ld.so.2"])),
            ("libx.so".to_owned(), fixture::elf(None, &["libc.so.6"])),
            ("libunused.so".to_owned(), fixture::elf(None, &[])),
            ("/lib64/ld.so.2".to_owned(), fixture::elf(None, &[])),
            ("ld.so.2".to_owned(), fixture::elf(None, &[])),
        ]);
        let program = fixture::elf(Some("/lib64/ld.so.2"), &["libx.so"]);
        let found = closure([("p", program.as_slice())], WANTED, |name| libraries.get(name)).unwrap();
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["/lib64/ld.so.2", "libc.so.6", "libx.so"]);
        let missing =
            closure([("p", program.as_slice())], WANTED, |name| libraries.get(name).filter(|_| name != "libc.so.6"));
        assert_eq!(missing.unwrap_err(), ElfError::Missing { name: "libx.so".into(), library: "libc.so.6".into() });
    }

    #[test]
    fn another_machine_is_named() {
        let mut bytes = fixture::elf(None, &[]);
        bytes[18] = 183;
        let said = needs("nomad", &bytes, WANTED).unwrap_err().to_string();
        assert_eq!(said, "nomad is made for aarch64, the image for x86_64: name the linux_amd64 build");
        assert!(needs("nomad", &bytes, Architecture::Aarch64).unwrap().libraries.is_empty());
        bytes[18] = 62;
        let said = needs("nomad", &bytes, Architecture::Aarch64).unwrap_err().to_string();
        assert_eq!(said, "nomad is made for x86_64, the image for aarch64: name the linux_arm64 build");
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors_not_panics(at in 0usize..600, value: u8) {
            let mut bytes = fixture::elf(Some("/lib64/ld.so.2"), &["libc.so.6"]);
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            let _ = needs("x", &bytes, WANTED);
        }

        #[test]
        fn anything_is_an_error_or_a_list(bytes: Vec<u8>) {
            let _ = needs("x", &bytes, WANTED);
        }
    }
}
