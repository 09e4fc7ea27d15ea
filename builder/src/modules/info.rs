//! What a kernel module says of itself: its section `.modinfo` of `key=value` strings, each ended by a zero byte.

use object::{Object as _, ObjectSection as _};

use super::{ModuleError, normal};

/// What matters of a module's `.modinfo`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// What it cannot do without.
    pub(super) depends: Vec<String>,
    /// What it likes to have before it (`softdep=pre:`). No module that an image has says `post:`.
    pub(super) before: Vec<String>,
    /// Patterns of modaliases, and other names that programs know it by.
    pub(super) aliases: Vec<String>,
    /// Files that it may ask for, below the folder of firmware.
    pub(super) firmware: Vec<String>,
}

impl Info {
    pub(super) fn of(path: &str, module: &[u8]) -> Result<Self, ModuleError> {
        let wrong = |why: String| ModuleError::Read { path: path.to_owned(), why };
        let file = object::File::parse(module).map_err(|e| wrong(e.to_string()))?;
        let section = file.section_by_name(".modinfo").ok_or_else(|| wrong("it has no .modinfo".into()))?;
        Ok(Self::parse(section.data().map_err(|e| wrong(e.to_string()))?))
    }

    fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for text in section.split(|byte| *byte == 0).filter_map(|s| std::str::from_utf8(s).ok()) {
            if let Some(list) = text.strip_prefix("depends=") {
                info.depends.extend(list.split(',').filter(|name| !name.is_empty()).map(normal));
            } else if let Some(list) = text.strip_prefix("softdep=pre:") {
                let names = list.split_whitespace().take_while(|word| *word != "post:");
                info.before.extend(names.map(normal));
            } else if let Some(alias) = text.strip_prefix("alias=") {
                info.aliases.push(alias.to_owned());
            } else if let Some(file) = text.strip_prefix("firmware=") {
                info.firmware.push(file.to_owned());
            }
        }
        info.aliases.sort();
        info.aliases.dedup();
        info
    }
}
