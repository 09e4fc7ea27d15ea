//! A build, from recipe to files. Each step says what it takes; what it takes makes its key; and what has been made
//! with that key before is taken from the cache.

use std::{
    cell::{Cell, OnceCell},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent::facts::{ImageFacts, NomadFacts, NomadSource};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    cache::{Cache, CacheError},
    content::{Digest, Key},
    deb::Deb,
    disk::{self, Disk},
    embedded, esp, initramfs,
    lock::Lock,
    manifest::{Artefact, Kind, Manifest, Parts},
    modules::{Catalogue, Module, ModuleLists},
    netboot,
    nomad::{self, NomadError, Obtained},
    output::Output,
    packages::{self, Packages, Policy},
    programs::{self, Program},
    progress::{self, Progress},
    qcow2, raw,
    recipe::Recipe,
    root, squashfs,
    tree::{FileRecord, Tree},
    uki,
};

/// What to build, and from what.
#[derive(Debug)]
pub struct Request {
    /// The recipe.
    pub recipe: Recipe,
    /// The lock that belongs to it.
    pub lock: Option<Lock>,
    /// How much the lock counts.
    pub policy: Policy,
    /// Where the files go.
    pub output: PathBuf,
    /// Which formats.
    pub formats: Vec<Format>,
    /// A mirror instead of the host's.
    pub mirror: Option<String>,
    /// The cache.
    pub cache: PathBuf,
    /// An agent instead of the one near the builder.
    pub agent: Option<PathBuf>,
    /// Which Nomad.
    pub nomad: NomadSources,
}

/// Where a Nomad may come from.
#[derive(Debug, Clone, Default)]
pub struct NomadSources {
    /// A program or official zip archive to use.
    pub path: Option<PathBuf>,
    /// A stand-in instead of the one near the builder, for when the release cannot be had.
    pub standin: Option<PathBuf>,
    /// A mirror of the vendor's server.
    pub mirror: Option<String>,
    /// A file with a public key that counts instead of the one that the recipe pins.
    pub key: Option<PathBuf>,
}

/// What a disk or its like is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Format {
    /// A raw disk, and the files to start it without firmware.
    Raw,
    /// A compressed qcow2 disk.
    Qcow2,
    /// Kernel, initramfs with the root in it, and an iPXE script.
    Netboot,
}

/// What came of a build.
#[derive(Debug)]
pub struct Built {
    /// The manifest.
    pub manifest: PathBuf,
    /// The lock that was in force: other than the given one when the archive moved on.
    pub lock: Lock,
    /// Whether everything was there already.
    pub unchanged: bool,
}

/// Names of what a build leaves begin with this.
#[must_use]
pub fn base_name(recipe: &Recipe, source: NomadSource) -> String {
    let suffix = if source == NomadSource::StandIn { "-standin" } else { "" };
    format!("steppe-{}-{}-x86_64{suffix}", env!("CARGO_PKG_VERSION"), recipe.name)
}

/// Builds.
///
/// # Errors
/// With what was attempted, what failed, and what to do about it.
pub fn build(request: &Request, progress: &Progress) -> Result<Built> {
    let cache = Cache::open(&request.cache, || progress.say("another build has the cache: waiting for it to end"))?;
    let result = Build { request, progress, cache: &cache, builder: builder_id(&cache)? }.run();
    cache.save();
    result
}

/// The builder itself is an input: another program may make other bytes.
fn builder_id(cache: &Cache) -> Result<Digest> {
    let exe = std::env::current_exe().context("failed to find the builder's own program")?;
    Ok(cache.digest(&exe)?)
}

struct Build<'a> {
    request: &'a Request,
    progress: &'a Progress,
    cache: &'a Cache,
    builder: Digest,
}

/// What is known before anything is made.
struct Inputs {
    packages: Packages,
    agent: PathBuf,
    agent_sha256: Digest,
    nomad: Obtained,
    lists: ModuleLists,
}

/// The kernel package, unpacked once it is needed.
struct Kernel {
    release: String,
    epoch: u64,
    image: Vec<u8>,
    files: OnceCell<Tree>,
}

/// The root, and what the manifest says about it.
#[derive(Serialize, Deserialize)]
struct RootRecord {
    files: Vec<FileRecord>,
    nomad: u64,
    libraries: u64,
}

impl Build<'_> {
    fn run(&self) -> Result<Built> {
        let recipe = &self.request.recipe;
        let inputs = self.inputs()?;
        let base = base_name(recipe, inputs.nomad.source);
        let key = self.key(&inputs);
        let stamp = self.stamp(&base)?;
        let manifest = self.request.output.join(format!("{base}{}", Manifest::SUFFIX));
        if fs::read_to_string(&stamp).is_ok_and(|text| text == key.hex()) && self.intact(&manifest) {
            self.progress.say("nothing changed");
            return Ok(Built { manifest, lock: inputs.packages.lock, unchanged: true });
        }

        let kernel = self.kernel(&inputs)?;
        let first = self.modules(&inputs, &kernel, &inputs.lists.initramfs, &[])?;
        let second = self.modules(&inputs, &kernel, &inputs.lists.root, &first)?;
        let (initrd, initrd_files) = self.initramfs(&inputs, &kernel, &first)?;
        let facts = self.facts(&inputs, &kernel);
        let (root, record) = self.root(&inputs, &kernel, &facts, &second)?;

        let mut output = Output::open(&self.request.output)?;
        let made = Made { base: &base, facts: &facts, kernel: &kernel, initrd: &initrd, root: &root };
        let (artefacts, cmdline, root_partuuid) = self.write(&mut output, &inputs, &made)?;
        let text = Manifest {
            format: Manifest::FORMAT,
            name: recipe.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: recipe.role,
            architecture: "x86_64".to_owned(),
            standin: inputs.nomad.source == NomadSource::StandIn,
            nomad: facts.nomad.clone(),
            kernel: kernel.release.clone(),
            epoch: facts.epoch,
            cmdline,
            root_partuuid,
            parts: Parts {
                kernel: kernel.image.len() as u64,
                initramfs: initrd.len() as u64,
                root: root.len() as u64,
                nomad: record.nomad,
                libraries: record.libraries,
            },
            artefacts,
            packages: inputs.packages.lock.packages.clone(),
            files: record.files,
            initramfs: initrd_files,
            folder: PathBuf::new(),
        }
        .text();
        output.write_bytes(&format!("{base}{}", Manifest::SUFFIX), text.as_bytes())?;
        // Before the files change their names: a build that dies between leaves no stamp that lies.
        let _ = fs::remove_file(&stamp);
        output.publish()?;
        let written = Manifest::read(&manifest)?;
        for artefact in &written.artefacts {
            // So that the next build need not read the files to know that they are whole.
            self.cache.remember(&self.request.output.join(&artefact.file), artefact.sha256)?;
        }
        fs::write(&stamp, key.hex()).map_err(|error| CacheError::write(&stamp, error))?;
        Ok(Built { manifest, lock: inputs.packages.lock, unchanged: false })
    }

    fn inputs(&self) -> Result<Inputs> {
        let Request { recipe, lock, policy, mirror, .. } = self.request;
        let list = embedded::module_list(&recipe.kernel.modules);
        let list =
            list.with_context(|| format!("there is no module list {:?}: use \"cloud\"", recipe.kernel.modules))?;
        let lists = ModuleLists::parse(&format!("modules-{}.toml", recipe.kernel.modules), list)?;
        let agent = programs::find(Program::Agent, self.request.agent.as_deref())?;
        let agent_sha256 = self.cache.digest(&agent)?;
        let nomad = self.progress.step("nomad", || {
            let nomad = self.nomad()?;
            for note in &nomad.notes {
                self.progress.warn(note);
            }
            let from = match nomad.source {
                NomadSource::Path => "as named",
                NomadSource::Release => "official release",
                NomadSource::StandIn => "STAND-IN",
            };
            let summary = format!("{} ({from})", nomad.version);
            anyhow::Ok((nomad, summary))
        })?;
        let packages = self.progress.step("packages", || {
            let mirror = || mirror.clone().unwrap_or_else(|| crate::mirror::of_host(Path::new("/")));
            let packages = packages::get(recipe, lock.as_ref(), *policy, &mirror, self.cache, self.progress)?;
            let size = packages.packages.iter().map(|package| package.locked.size).sum();
            let summary =
                format!("{} of {}, {}", packages.packages.len(), recipe.packages.suite, progress::bytes(size));
            anyhow::Ok((packages, summary))
        })?;
        Ok(Inputs { packages, agent, agent_sha256, nomad, lists })
    }

    fn nomad(&self) -> Result<Obtained> {
        let sources = &self.request.nomad;
        // A stand-in that is named must be usable; one that merely could be there is missed only when it is needed.
        let standin = programs::find(Program::StandIn, sources.standin.as_deref());
        let standin = match (standin, &sources.standin) {
            (Err(error), Some(_)) => return Err(error.into()),
            (found, _) => found,
        };
        let of_mirror =
            sources.mirror.iter().map(|mirror| format!("{}{}", mirror.trim_end_matches('/'), nomad::KEY_OF_MIRROR));
        let key_urls = of_mirror.chain([nomad::KEY.to_owned()]).collect();
        let said = Cell::new(0);
        let request = nomad::Request {
            path: sources.path.clone(),
            version: self.request.recipe.nomad_version.clone(),
            architecture: nomad::Architecture::X86_64,
            cache_dir: self.cache.root().to_path_buf(),
            base_url: sources.mirror.clone().unwrap_or_else(|| nomad::RELEASES.to_owned()),
            signer: self.request.recipe.nomad_key.clone(),
            key_urls,
            key: sources.key.clone(),
            standin: standin.as_ref().ok().cloned(),
            locked_sha256: None,
            progress: &|have, all| {
                // A line for every tenth is enough.
                let tenth = all.filter(|all| *all > 0).map_or(have >> 24, |all| have * 10 / all);
                if said.replace(tenth) != tenth {
                    self.progress.say(&format!("downloading Nomad, {}", progress::bytes(have)));
                }
            },
        };
        match (nomad::obtain(&request), standin) {
            (Err(error @ NomadError::Unavailable { .. }), Err(standin)) => {
                Err(anyhow::Error::new(error).context(format!("no Nomad, and nothing to take its place: {standin}")))
            }
            (result, _) => Ok(result?),
        }
    }

    /// Everything that the files depend on.
    fn key(&self, inputs: &Inputs) -> Digest {
        let formats: Vec<_> = self.request.formats.iter().map(|format| format!("{format:?}")).collect();
        Key::new("build", 1)
            .with("builder", self.builder.bytes())
            .with("recipe", format!("{:?}", self.request.recipe))
            .with("lock", inputs.packages.lock.text())
            .with("agent", inputs.agent_sha256.bytes())
            .with("nomad", format!("{} {} {:?}", inputs.nomad.sha256, inputs.nomad.version, inputs.nomad.source))
            .with("formats", formats.join(","))
            .finish()
    }

    /// Where the key of the last build of these files is.
    fn stamp(&self, base: &str) -> Result<PathBuf> {
        let output = std::path::absolute(&self.request.output).context("failed to find the current folder")?;
        let place = Key::new("output", 1).with("folder", output.as_os_str().as_encoded_bytes()).with("name", base);
        Ok(self.cache.folder("outputs")?.join(place.finish().hex()))
    }

    /// Whether every file of the manifest is there as it was written.
    fn intact(&self, manifest: &Path) -> bool {
        Manifest::read(manifest).is_ok_and(|manifest| {
            manifest.artefacts.iter().all(|artefact| {
                let path = self.request.output.join(&artefact.file);
                self.cache.digest(&path).is_ok_and(|digest| digest == artefact.sha256)
            })
        })
    }

    /// The kernel image. Its package also tells the image's epoch: the newest time at which a package of it was made.
    fn kernel(&self, inputs: &Inputs) -> Result<Kernel> {
        let package = inputs.packages.kernel().context("the lock file names no kernel: build with --update")?;
        let key = Key::new("kernel", 1).with("builder", self.builder.bytes()).with("lock", inputs.packages.lock.text());
        let files = OnceCell::new();
        let folder = self.cache.step("kernel", key.finish(), |folder| -> Result<()> {
            let mut epoch = 0;
            for package in &inputs.packages.packages {
                let locked = &package.locked;
                epoch = epoch.max(Deb::read(&package.path, &locked.name, &locked.version, &|_| false)?.time);
            }
            let tree = self.unpack_kernel(inputs)?;
            let image = tree.iter().find_map(|(path, _)| path.strip_prefix("boot/vmlinuz-"));
            let release = image.with_context(|| format!("{} has no boot/vmlinuz-*", package.locked.name))?;
            let bytes = tree.bytes(&format!("boot/vmlinuz-{release}")).context("the kernel image is not a file")?;
            for (name, bytes) in
                [("vmlinuz", &bytes[..]), ("release", release.as_bytes()), ("epoch", epoch.to_string().as_bytes())]
            {
                let path = folder.join(name);
                fs::write(&path, bytes).map_err(|error| CacheError::write(&path, error))?;
            }
            let _ = files.set(tree);
            Ok(())
        })?;
        let text = |name: &str| -> Result<String> { Ok(String::from_utf8(read(&folder.join(name))?)?) };
        Ok(Kernel {
            release: text("release")?,
            epoch: text("epoch")?.parse()?,
            image: read(&folder.join("vmlinuz"))?,
            files,
        })
    }

    fn unpack_kernel(&self, inputs: &Inputs) -> Result<Tree> {
        let package = inputs.packages.kernel().context("the lock file names no kernel: build with --update")?;
        self.progress.say(&format!("unpacking {}", package.locked.name));
        let want = |path: &str| path.starts_with("boot/vmlinuz-") || path.starts_with("usr/lib/modules/");
        Ok(Deb::read(&package.path, &package.locked.name, &package.locked.version, &want)?.tree)
    }

    fn kernel_files<'k>(&self, inputs: &Inputs, kernel: &'k Kernel) -> Result<&'k Tree> {
        if kernel.files.get().is_none() {
            let _ = kernel.files.set(self.unpack_kernel(inputs)?);
        }
        kernel.files.get().context("the kernel package vanished")
    }

    fn modules(&self, inputs: &Inputs, kernel: &Kernel, wanted: &[String], already: &[Module]) -> Result<Vec<Module>> {
        let key = Key::new("modules", 1)
            .with("builder", self.builder.bytes())
            .with("lock", inputs.packages.lock.text())
            .with("wanted", wanted.join("\n"))
            .with("already", crate::modules::list_text(already));
        let folder = self.cache.step("modules", key.finish(), |folder| -> Result<()> {
            let tree = self.kernel_files(inputs, kernel)?;
            let modules = Catalogue::new(tree, &kernel.release).resolve(wanted, already)?;
            let path = folder.join("list");
            fs::write(&path, crate::modules::list_text(&modules)).map_err(|error| CacheError::write(&path, error))?;
            Ok(())
        })?;
        Ok(crate::modules::parse_list(&String::from_utf8(read(&folder.join("list"))?)?))
    }

    fn initramfs(&self, inputs: &Inputs, kernel: &Kernel, modules: &[Module]) -> Result<(Vec<u8>, Vec<FileRecord>)> {
        let level = self.request.recipe.initramfs_level;
        let key = Key::new("initramfs", 1)
            .with("builder", self.builder.bytes())
            .with("lock", inputs.packages.lock.text())
            .with("agent", inputs.agent_sha256.bytes())
            .with("modules", crate::modules::list_text(modules))
            .with("level", level.to_string());
        self.progress.step("initramfs", || {
            let folder = self.cache.step("initramfs", key.finish(), |folder| -> Result<()> {
                let agent = read(&inputs.agent)?;
                let files = self.kernel_files(inputs, kernel)?;
                let tree = initramfs::tree(&agent, files, &kernel.release, modules)?;
                let bytes = initramfs::pack(&tree, level, time(kernel.epoch))?;
                keep(folder, "initrd", &bytes)?;
                keep(folder, "files.json", &serde_json::to_vec(&tree.list())?)
            })?;
            let bytes = read(&folder.join("initrd"))?;
            let list: Vec<FileRecord> = serde_json::from_slice(&read(&folder.join("files.json"))?)?;
            let summary = format!("{}, {} modules", progress::bytes(bytes.len() as u64), modules.len());
            anyhow::Ok(((bytes, list), summary))
        })
    }

    fn facts(&self, inputs: &Inputs, kernel: &Kernel) -> ImageFacts {
        let recipe = &self.request.recipe;
        ImageFacts {
            format: ImageFacts::FORMAT,
            name: recipe.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: recipe.role,
            architecture: "x86_64".to_owned(),
            kernel: kernel.release.clone(),
            nomad: NomadFacts {
                version: inputs.nomad.version.clone(),
                source: inputs.nomad.source,
                sha256: inputs.nomad.sha256.clone(),
            },
            consoles: recipe.consoles.clone(),
            epoch: kernel.epoch,
        }
    }

    fn root(
        &self,
        inputs: &Inputs,
        kernel: &Kernel,
        facts: &ImageFacts,
        modules: &[Module],
    ) -> Result<(Vec<u8>, RootRecord)> {
        let recipe = &self.request.recipe;
        let key = Key::new("root", 1)
            .with("builder", self.builder.bytes())
            .with("lock", inputs.packages.lock.text())
            .with("agent", inputs.agent_sha256.bytes())
            .with("facts", serde_json::to_vec(facts)?)
            .with("modules", crate::modules::list_text(modules))
            .with("root", format!("{:?}", recipe.root));
        self.progress.step("root", || {
            let folder = self.cache.step("root", key.finish(), |folder| -> Result<()> {
                let (bytes, record) = self.make_root(inputs, kernel, facts, modules)?;
                keep(folder, "root.squashfs", &bytes)?;
                keep(folder, "record.json", &serde_json::to_vec(&record)?)
            })?;
            let bytes = read(&folder.join("root.squashfs"))?;
            let record: RootRecord = serde_json::from_slice(&read(&folder.join("record.json"))?)?;
            let summary = format!("{}, {} files", progress::bytes(bytes.len() as u64), record.files.len());
            anyhow::Ok(((bytes, record), summary))
        })
    }

    fn make_root(
        &self,
        inputs: &Inputs,
        kernel: &Kernel,
        facts: &ImageFacts,
        modules: &[Module],
    ) -> Result<(Vec<u8>, RootRecord)> {
        let recipe = &self.request.recipe;
        let mut stock = Tree::new();
        for package in inputs.packages.packages.iter().filter(|p| p.locked.name != inputs.packages.lock.kernel) {
            let locked = &package.locked;
            let deb =
                Deb::read(&package.path, &locked.name, &locked.version, &|path| !path.starts_with("usr/share/doc"))?;
            for (path, entry) in deb.tree.iter() {
                stock.insert(path, entry.clone());
            }
        }
        let (agent, nomad) = (read(&inputs.agent)?, read(&inputs.nomad.path)?);
        let tree = root::tree(&root::Inputs {
            recipe,
            facts,
            stock: &stock,
            kernel: self.kernel_files(inputs, kernel)?,
            modules,
            agent: &agent,
            nomad: &nomad,
        })?;
        let block = usize::try_from(recipe.root.block.0)?;
        let options = squashfs::Options { level: recipe.root.level, block, time: time(kernel.epoch) };
        let mut prepared: Vec<(Arc<[u8]>, squashfs::Blocks)> = Vec::new();
        let (mut nomad_size, mut libraries) = (0, 0);
        for (path, entry) in tree.iter() {
            let crate::tree::Node::File(bytes) = &entry.node else { continue };
            if bytes.len() < squashfs::LARGE {
                continue;
            }
            let blocks = self.blocks(path, bytes, &options)?;
            let size: u64 = blocks.iter().map(|block| block.len() as u64).sum();
            if entry.origin == crate::tree::Origin::Nomad {
                nomad_size += size;
            } else if path.starts_with("usr/lib/x86_64-linux-gnu/") || path.starts_with("usr/lib64/") {
                libraries += size;
            }
            prepared.push((bytes.clone(), blocks));
        }
        let bytes = squashfs::write(&tree, &options, prepared.iter().map(|(bytes, blocks)| (&bytes[..], blocks)))?;
        Ok((bytes, RootRecord { files: tree.list(), nomad: nomad_size, libraries }))
    }

    /// The compressed blocks of a large file, which are the same in every image that has it.
    fn blocks(&self, path: &str, bytes: &[u8], options: &squashfs::Options) -> Result<squashfs::Blocks> {
        let key = Key::new("blocks", 1)
            .with("sha256", Digest::of(bytes).bytes())
            .with("level", options.level.to_string())
            .with("block", options.block.to_string())
            .with("zstd", zstd::zstd_safe::version_number().to_string());
        let folder = self.cache.step("blocks", key.finish(), |folder| -> Result<()> {
            self.progress.say(&format!("compressing /{path}, {}", progress::bytes(bytes.len() as u64)));
            // The number of threads changes how long it takes, not what comes out; a test sets it to show that.
            let set = std::env::var("STEPPE_THREADS").ok().and_then(|text| text.parse().ok());
            let threads = set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
            let blocks = squashfs::compress_blocks(bytes, options.level, options.block, threads)?;
            keep(folder, "blocks", &squashfs::store(&blocks))
        })?;
        let file = folder.join("blocks");
        squashfs::load(&read(&file)?).with_context(|| format!("{} is damaged: remove it", file.display()))
    }

    fn write(&self, output: &mut Output, inputs: &Inputs, made: &Made<'_>) -> Result<(Vec<Artefact>, String, String)> {
        let recipe = &self.request.recipe;
        let Made { base, kernel, .. } = made;
        let root_id = Digest::of(made.root);
        let partuuid = disk::identifier(root_id, "root").to_string();
        let words = recipe.kernel.cmdline.join(" ");
        let cmdline = format!("root=PARTUUID={partuuid} {words}");
        let mut artefacts = Vec::new();
        let mut add = |output: &mut Output, kind: Kind, suffix: &str, bytes: &[u8]| -> Result<String> {
            let file = format!("{base}.{suffix}");
            output.write_bytes(&file, bytes)?;
            artefacts.push(Artefact { kind, file: file.clone(), size: bytes.len() as u64, sha256: Digest::of(bytes) });
            Ok(file)
        };
        let wants = |format| self.request.formats.contains(&format);
        let vmlinuz = add(output, Kind::Kernel, "vmlinuz", &kernel.image)?;
        add(output, Kind::Lock, "lock", inputs.packages.lock.text().as_bytes())?;
        if wants(Format::Netboot) {
            self.progress.step("netboot", || {
                let mut initrd = made.initrd.to_vec();
                initrd.extend(initramfs::embed_root(made.root, time(kernel.epoch))?);
                let name = add(output, Kind::NetbootInitrd, "netboot.initrd", &initrd)?;
                add(output, Kind::NetbootCmdline, "netboot.cmdline", format!("{words}\n").as_bytes())?;
                let script = netboot::script(base, &vmlinuz, &name, &words);
                add(output, Kind::Ipxe, "ipxe", script.as_bytes())?;
                anyhow::Ok(((), progress::bytes(initrd.len() as u64)))
            })?;
        }
        if wants(Format::Raw) || wants(Format::Qcow2) {
            add(output, Kind::Initrd, "initrd", made.initrd)?;
            add(output, Kind::Cmdline, "cmdline", format!("{cmdline}\n").as_bytes())?;
            let image = self.uki(inputs, made, &cmdline)?;
            add(output, Kind::Uki, "efi", &image)?;
            let disk = self.disk(&image, made.root, root_id)?;
            for (format, kind, suffix) in [(Format::Raw, Kind::Raw, "raw"), (Format::Qcow2, Kind::Qcow2, "qcow2")] {
                if !wants(format) {
                    continue;
                }
                let artefact = self.progress.step(suffix, || {
                    let file = format!("{base}.{suffix}");
                    let path = output.write(&file, |file| match format {
                        Format::Qcow2 => {
                            let options =
                                qcow2::Options { compression: qcow2::Compression::Zlib, ..Default::default() };
                            qcow2::write_from(&mut &disk, file, Path::new(suffix), options).map_err(io_error)
                        }
                        Format::Raw | Format::Netboot => raw::write(&disk, file),
                    })?;
                    let size = fs::metadata(path)?.len();
                    let sha256 = match format {
                        Format::Raw => disk.digest()?,
                        Format::Qcow2 | Format::Netboot => self.cache.digest(path)?,
                    };
                    anyhow::Ok((Artefact { kind, file, size, sha256 }, progress::bytes(size)))
                })?;
                artefacts.push(artefact);
            }
        }
        artefacts.sort_by_key(|artefact| artefact.kind);
        Ok((artefacts, cmdline, partuuid))
    }

    fn uki(&self, inputs: &Inputs, made: &Made<'_>, cmdline: &str) -> Result<Vec<u8>> {
        const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
        let package = inputs.packages.packages.iter().find(|package| package.locked.name == "systemd-boot-efi");
        let package = package.context("packages.names of the recipe lacks systemd-boot-efi, which has the EFI stub")?;
        let deb = Deb::read(&package.path, &package.locked.name, &package.locked.version, &|path| path == STUB)?;
        let Some(stub) = deb.tree.bytes(STUB) else {
            bail!("systemd-boot-efi {} has no {STUB}", package.locked.version)
        };
        Ok(uki::assemble(
            stub,
            &uki::Parts {
                os_release: &root::os_release(made.facts),
                cmdline,
                uname: &made.kernel.release,
                initrd: made.initrd,
                linux: &made.kernel.image,
                time: time(made.kernel.epoch),
            },
        )?)
    }

    fn disk(&self, image: &[u8], root: &[u8], root_id: Digest) -> Result<Disk> {
        let recipe = &self.request.recipe;
        let volume = disk::identifier(root_id, "fat").as_fields().0;
        let esp = esp::build(recipe.esp_size.0, volume, image)?;
        Ok(Disk::build(recipe.disk_size.0, esp, root.to_vec(), root_id)?)
    }
}

/// What is made and has only to be written.
struct Made<'a> {
    base: &'a str,
    facts: &'a ImageFacts,
    kernel: &'a Kernel,
    initrd: &'a [u8],
    root: &'a [u8],
}

/// Times in file systems have 32 bits.
fn time(epoch: u64) -> u32 {
    u32::try_from(epoch).unwrap_or(u32::MAX)
}

/// The I/O error in an error of the qcow2 writer, so that it is reported with the file's true name.
fn io_error(error: qcow2::Qcow2Error) -> io::Error {
    match error {
        qcow2::Qcow2Error::Read { source, .. } | qcow2::Qcow2Error::Write { source, .. } => source,
        other => io::Error::other(other),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(|error| CacheError::write(&path, error))?;
    Ok(())
}
