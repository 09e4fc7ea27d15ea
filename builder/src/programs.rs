//! Finding Steppe's own programs for the image: the agent, and the stand-in for Nomad.
//!
//! Both must be static: the agent runs before there is a library.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{architecture::Architecture, elf};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// PID 1 of every image.
    Agent,
    /// What takes Nomad's place in tests.
    StandIn,
}

impl Program {
    /// Its file name.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::StandIn => "nomad-standin",
        }
    }

    const fn profile(self) -> &'static str {
        match self {
            Self::Agent => "release",
            Self::StandIn => "tool",
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::Agent => "--agent (or STEPPE_AGENT)",
            Self::StandIn => "--standin (or STEPPE_STANDIN)",
        }
    }

    fn make(self, architecture: Architecture) -> String {
        let (profile, package) = match self {
            Self::Agent => ("--release", "agent"),
            Self::StandIn => ("--profile tool", "standin"),
        };
        format!("cargo build {profile} --target {} -p {package}", architecture.static_target())
    }
}

/// Finds a program for `architecture`: the `named` file, else one near the builder's own executable that is static.
///
/// # Errors
/// When the named file is not a static program, or there is none.
pub fn find(program: Program, architecture: Architecture, named: Option<&Path>) -> Result<PathBuf, ProgramError> {
    if let Some(path) = named {
        return check(path, architecture).map(|()| path.to_path_buf()).map_err(|why| ProgramError::Unfit {
            path: path.display().to_string(),
            why,
            program,
            architecture,
        });
    }
    let near = std::env::current_exe().map(|exe| candidates(program, architecture, &exe)).unwrap_or_default();
    near.iter().find(|path| check(path, architecture).is_ok()).cloned().ok_or_else(|| ProgramError::Absent {
        program,
        architecture,
        places: near.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// Beside the builder, and where cargo puts it: `target/<target>/<profile>/`, for a builder in
/// `target/<profile>/` and for tests in `target/<profile>/deps/`.
fn candidates(program: Program, architecture: Architecture, exe: &Path) -> Vec<PathBuf> {
    let name = program.file_name();
    let mut places: Vec<PathBuf> = exe.parent().map(|folder| folder.join(name)).into_iter().collect();
    for target in exe.ancestors().skip(2).take(3) {
        places.push(target.join(architecture.static_target()).join(program.profile()).join(name));
    }
    places
}

fn check(path: &Path, architecture: Architecture) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let needs = elf::needs(&path.display().to_string(), &bytes, architecture).map_err(|error| error.to_string())?;
    // A static program that may be placed anywhere has a dynamic section too, but needs nothing.
    match needs.interpreter.or_else(|| needs.libraries.into_iter().next()) {
        Some(need) => Err(format!("it is not static, it needs {need}")),
        None => Ok(()),
    }
}

/// Why a program cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The named file cannot be used.
    #[error("failed to use {path} as the {}: {why}; make one with `{}`", program.file_name(), program.make(*architecture))]
    Unfit {
        /// The file.
        path: String,
        /// Why.
        why: String,
        /// What it should be.
        program: Program,
        /// What for.
        architecture: Architecture,
    },
    /// There is none.
    #[error("there is no static {} in {places}: make one with `{}`, or name one with {}", program.file_name(), program.make(*architecture), program.option())]
    Absent {
        /// What was looked for.
        program: Program,
        /// What for.
        architecture: Architecture,
        /// Where.
        places: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn only_static_programs_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let exe = folder.path().join("target/debug/builder");
        let musl = folder.path().join("target/x86_64-unknown-linux-musl/release/agent");
        let places = candidates(Program::Agent, Architecture::X86_64, &exe);
        assert!(places.contains(&musl), "{places:?}");
        assert_eq!(places[0], folder.path().join("target/debug/agent"));

        fs::create_dir_all(musl.parent().unwrap()).unwrap();
        fs::write(&musl, fixture::elf(Some("/lib64/ld.so"), &["libc.so.6"])).unwrap();
        let error = find(Program::Agent, Architecture::X86_64, Some(&musl)).unwrap_err().to_string();
        assert!(error.contains("not static") && error.contains("cargo build"), "{error}");
        fs::write(&musl, fixture::elf(None, &[])).unwrap();
        assert_eq!(find(Program::Agent, Architecture::X86_64, Some(&musl)).unwrap(), musl);
        let error =
            find(Program::Agent, Architecture::X86_64, Some(Path::new("/nowhere/agent"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/agent"), "{error}");
    }
}
