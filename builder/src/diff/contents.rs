//! What is compared of a file, whatever kind of file it is.

use std::{collections::BTreeMap, fs::File, path::Path};

use crate::{
    inspect::{Image, InspectError, Subject, boot::BootFile, files::Found},
    manifest::Manifest,
    tree::FileRecord,
};

/// What is in a file, as far as it can be taken apart.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) manifest: Option<Manifest>,
    pub(super) files: Vec<Found>,
    pub(super) initramfs: Vec<Found>,
    boot: Vec<BootFile>,
    image: Option<Image>,
}

impl Contents {
    pub(super) fn read(path: &Path) -> Result<Self, InspectError> {
        let fail = |source| InspectError::Read { path: path.to_path_buf(), source };
        if path.to_string_lossy().ends_with(Manifest::SUFFIX) {
            return Ok(Self::of_subject(Subject::read(path)?));
        }
        File::open(path).map_err(fail)?;
        // An image, or something that is compared byte by byte.
        Ok(Subject::read(path).map(Self::of_subject).unwrap_or_default())
    }

    fn of_subject(Subject { image, manifest }: Subject) -> Self {
        let listed = |list: fn(&Manifest) -> &Vec<FileRecord>| -> Vec<Found> {
            manifest.as_ref().map(|manifest| list(manifest).iter().map(Found::from).collect()).unwrap_or_default()
        };
        match image {
            Some(image) => Self {
                files: image.files.clone(),
                initramfs: image.initramfs.clone(),
                boot: image.boot.clone(),
                image: Some(image),
                manifest,
            },
            // What the manifest says is all there is.
            None => Self {
                files: listed(|manifest| &manifest.files),
                initramfs: listed(|manifest| &manifest.initramfs),
                manifest,
                ..Self::default()
            },
        }
    }

    /// The version that the image goes by in updates.
    pub(super) fn version(&self) -> Option<String> {
        let facts = self.image.as_ref()?.facts.as_ref()?;
        Some(facts.image_version().to_owned())
    }

    /// The section `name` of each unified kernel image: its text if it is one, else size and digest.
    pub(super) fn sections(&self, name: &str) -> BTreeMap<String, String> {
        let ukis = self.boot.iter().filter_map(|file| Some((&file.path, file.uki.as_ref()?)));
        ukis.filter_map(|(path, uki)| {
            let section = uki.sections.iter().find(|section| section.name == name)?;
            let value = match name {
                ".cmdline" => format!("{:?}", uki.cmdline),
                ".uname" => uki.uname.clone(),
                _ => format!("{} bytes, {}", section.size, section.sha256),
            };
            Some((format!("{name} of {path}"), value))
        })
        .collect()
    }

    pub(super) fn boot_files(&self) -> BTreeMap<String, String> {
        self.boot.iter().map(|file| (file.path.clone(), format!("{} bytes, {}", file.size, file.sha256))).collect()
    }

    pub(super) fn verity(&self) -> BTreeMap<String, String> {
        let verity = self.image.as_ref().and_then(|image| image.verity.as_ref());
        let mut all = BTreeMap::new();
        if let Some(verity) = verity {
            all.insert("root hash".to_owned(), verity.root_hash.hex());
            all.insert("salt".to_owned(), verity.salt.clone());
        }
        all
    }

    pub(super) fn table(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let Some(image) = &self.image else { return all };
        if let Some(id) = image.id {
            all.insert("disk".to_owned(), format!("{} bytes, {id}", image.size));
        }
        for one in &image.partitions {
            let id = one.id.map(|id| id.to_string()).unwrap_or_default();
            let value = format!("{} {} bytes at {}, {}, {id}", one.kind, one.size, one.start, one.content);
            all.insert(format!("partition {} {}", one.number, one.name), value);
        }
        all
    }
}
