//! Doing what `runcmd` and `bootcmd` ask for, below a root directory. Every step may be repeated: `/etc` is new at each
//! boot and the commands run at each.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::{
    atomic::{FileError, write_then},
    owner::{Accounts, Owner},
    write::{Note, chown, directories, inside, prepare},
};
use crate::node::userdata::commands::{Edit, Mode, Places, Step, Value};

/// The kernel's limit for names of modules is 55; a request for more is no name.
const LONGEST_MODULE_NAME: usize = 64;

/// What the steps need of the machine.
pub struct Machine<'a> {
    /// Where the file system begins.
    pub root: &'a Path,
    /// The names that the image knows.
    pub accounts: &'a Accounts,
    /// Values that commands asked for.
    pub look_up: &'a dyn Fn(&Value) -> Option<String>,
    /// Has a kernel module loaded; why it cannot be.
    pub load_module: &'a dyn Fn(&str) -> Result<(), String>,
}

impl std::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Does the steps in order. One that fails is a note, and the next is done: `runcmd` goes on after an error as well.
#[must_use]
pub fn run(machine: &Machine<'_>, steps: &[Step]) -> Vec<Note> {
    let mut notes = Vec::new();
    for step in steps {
        if let Err((path, message)) = machine.step(step) {
            notes.push(Note { path, message });
        }
    }
    notes
}

type Failure = (String, String);

impl Machine<'_> {
    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn step(&self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::MakeDirectory { path, parents, mode } => self.make_directory(path, *parents, *mode).map_err(at(path)),
            Step::Touch { path } => self.touch(path).map_err(at(path)),
            Step::Own { path, user, group } => self.own(path, user.as_deref(), group.as_deref()),
            Step::Mode { path, change } => {
                self.each(path, &mut |place| set_mode(place, change)).map_err(at(&path.path))
            }
            Step::Link { target, path } => self.link(target, path).map_err(at(path)),
            Step::Copy { from, to, recursive } => self.copy(from, to, *recursive).map_err(at(from)),
            Step::Move { from, to } => self.rename(from, to).map_err(at(from)),
            Step::Remove { path } => self.remove(path).map_err(at(&path.path)),
            Step::Write { path, content, append } => {
                let text =
                    content.resolve(self.look_up).map_err(|value| (path.clone(), format!("{value} is not known")))?;
                self.write(path, text.as_bytes(), *append).map_err(at(path))
            }
            Step::Edit { path, edits } => self.edit(path, edits),
            Step::Sysctl { key, value } => self.sysctl(key, value).map_err(|why| (key.clone(), why)),
            Step::SysctlFiles { path } => self.sysctl_files(path.as_deref()),
            Step::Module { name } if name.len() > LONGEST_MODULE_NAME => Err((name.clone(), "is no module".into())),
            Step::Module { name } => (self.load_module)(name).map_err(|why| (name.clone(), why)),
        }
    }

    fn make_directory(&self, path: &str, parents: bool, mode: Option<u32>) -> Result<(), FileError> {
        let root_owner = Owner { uid: 0, gid: 0 };
        let place = self.place(path);
        let existed = place.exists();
        if parents {
            directories(self.root, path, root_owner)?;
        } else {
            prepare(self.root, path, root_owner)?;
            if !existed {
                fs::create_dir(&place).map_err(FileError::io("create the directory", &place))?;
            }
        }
        match mode.filter(|_| !existed) {
            Some(mode) => set_mode(&place, &Mode::Set(mode)),
            None => Ok(()),
        }
    }

    fn touch(&self, path: &str) -> Result<(), FileError> {
        let place = prepare(self.root, path, Owner { uid: 0, gid: 0 })?;
        let create = fs::OpenOptions::new().create(true).append(true).open(&place);
        create.map(drop).map_err(FileError::io("create", &place))
    }

    fn own(&self, places: &Places, user: Option<&str>, group: Option<&str>) -> Result<(), Failure> {
        let Some(named) = self.accounts.owner(user.unwrap_or("root"), group.unwrap_or("root")) else {
            let (user, group) = (user.unwrap_or(""), group.unwrap_or(""));
            return Err((places.path.clone(), format!("owner {user}:{group} is unknown here")));
        };
        let give = &mut |place: &Path| {
            use std::os::unix::fs::MetadataExt as _;
            let meta = fs::symlink_metadata(place).map_err(FileError::io("look at", place))?;
            let uid = if user.is_some() { named.uid } else { meta.uid() };
            let gid = if group.is_some() { named.gid } else { meta.gid() };
            chown(place, Owner { uid, gid })
        };
        self.each(places, give).map_err(at(&places.path))
    }

    /// Does something to all that is meant; symbolic links are not followed.
    fn each(&self, places: &Places, act: &mut dyn FnMut(&Path) -> Result<(), FileError>) -> Result<(), FileError> {
        let place = inside(self.root, &places.path)?;
        if places.children {
            for child in children(&place)? {
                walk(&child, places.recursive, act)?;
            }
            return Ok(());
        }
        walk(&place, places.recursive, act)
    }

    fn link(&self, target: &str, path: &str) -> Result<(), FileError> {
        let mut place = prepare(self.root, path, Owner { uid: 0, gid: 0 })?;
        if fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_dir()) {
            place.push(Path::new(target).file_name().unwrap_or_default());
        }
        match fs::remove_file(&place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::io("remove", &place)(error));
            }
            _ => {}
        }
        symlink(target, &place).map_err(FileError::io("link", &place))
    }

    /// Where a file or directory goes: into a directory, or to the path itself.
    fn target(&self, from: &str, to: &str) -> Result<PathBuf, FileError> {
        let place = prepare(self.root, to, Owner { uid: 0, gid: 0 })?;
        Ok(if fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_dir()) {
            place.join(Path::new(from).file_name().unwrap_or_default())
        } else {
            place
        })
    }

    fn copy(&self, from: &str, to: &str, recursive: bool) -> Result<(), FileError> {
        let target = self.target(from, to)?;
        copy(&self.place(from), &target, recursive)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let target = self.target(from, to)?;
        let source = inside(self.root, from)?;
        if !source.exists() && target.exists() {
            // An earlier boot did it.
            return Ok(());
        }
        match fs::rename(&source, &target) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                copy(&source, &target, true)?;
                discard(&source)
            }
            other => other.map_err(FileError::io("move", &source)),
        }
    }

    fn remove(&self, places: &Places) -> Result<(), FileError> {
        let place = inside(self.root, &places.path)?;
        if places.children {
            return children(&place)?.iter().try_for_each(|child| discard(child));
        }
        discard(&place)
    }

    fn write(&self, path: &str, content: &[u8], append: bool) -> Result<(), FileError> {
        let place = prepare(self.root, path, Owner { uid: 0, gid: 0 })?;
        let old = match fs::read(&place) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::io("read", &place)(error)),
        };
        let mut new = old.clone().filter(|_| append).unwrap_or_default();
        // A file outside `/etc` outlives the boot, and every boot comes by here.
        if append && !content.is_empty() && new.ends_with(content) {
            return Ok(());
        }
        new.extend_from_slice(content);
        self.replace(&place, &new)
    }

    /// Puts other content in the place of a file's, which keeps its owner and mode.
    fn replace(&self, place: &Path, content: &[u8]) -> Result<(), FileError> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = fs::metadata(place).ok();
        let mode = meta.as_ref().map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
        write_then(place, content, mode, |new| match &meta {
            Some(meta) => {
                chown(new, Owner { uid: meta.uid(), gid: meta.gid() })?;
                set_mode(new, &Mode::Set(mode))
            }
            None => Ok(()),
        })
    }

    fn edit(&self, path: &str, edits: &[Edit]) -> Result<(), Failure> {
        let place = inside(self.root, path).map_err(at(path))?;
        let mut text = fs::read_to_string(&place).map_err(FileError::io("read", &place)).map_err(at(path))?;
        for edit in edits {
            text =
                edit.apply(&text, self.look_up).map_err(|value| (path.to_owned(), format!("{value} is not known")))?;
        }
        self.replace(&place, text.as_bytes()).map_err(at(path))
    }

    fn sysctl(&self, key: &str, value: &str) -> Result<(), String> {
        let file = crate::init::sysctl::file(&self.root.join("proc/sys"), key).ok_or("is not the name of a setting")?;
        fs::write(file, value).map_err(|why| format!("failed to set it: {why}"))
    }

    fn sysctl_files(&self, path: Option<&str>) -> Result<(), Failure> {
        let files = match path {
            Some(path) => vec![self.place(path)],
            None => {
                let mut files: Vec<PathBuf> = children(&self.place("/etc/sysctl.d")).unwrap_or_default();
                files.retain(|file| file.extension().is_some_and(|ending| ending == "conf"));
                files.push(self.place("/etc/sysctl.conf"));
                files
            }
        };
        let mut result = Ok(());
        for file in files {
            let text = match fs::read_to_string(&file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => continue,
                Err(error) => return Err((file.display().to_string(), error.to_string())),
            };
            for setting in crate::init::sysctl::parse(&text) {
                let set = self.sysctl(setting.key, setting.value);
                if let Err(why) = set.map_err(|why| (setting.key.to_owned(), why))
                    && !setting.optional
                {
                    result = Err(why);
                }
            }
        }
        result
    }
}

fn at(path: &str) -> impl FnOnce(FileError) -> Failure {
    let path = path.to_owned();
    move |error| (path, error.to_string())
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(directory).map_err(FileError::io("read the directory", directory))?;
    // As a shell's `*`: hidden ones are not meant.
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b".")))
        .collect();
    paths.sort();
    Ok(paths)
}

fn walk(place: &Path, recursive: bool, act: &mut dyn FnMut(&Path) -> Result<(), FileError>) -> Result<(), FileError> {
    let meta = fs::symlink_metadata(place).map_err(FileError::io("look at", place))?;
    if !meta.is_symlink() {
        act(place)?;
    }
    if recursive && meta.is_dir() {
        let entries = fs::read_dir(place).map_err(FileError::io("read the directory", place))?;
        for entry in entries.flatten() {
            walk(&entry.path(), true, act)?;
        }
    }
    Ok(())
}

fn set_mode(place: &Path, change: &Mode) -> Result<(), FileError> {
    let meta = fs::metadata(place).map_err(FileError::io("look at", place))?;
    let mode = change.apply(meta.permissions().mode() & 0o7777, meta.is_dir());
    fs::set_permissions(place, fs::Permissions::from_mode(mode)).map_err(FileError::io("set the mode of", place))
}

fn copy(from: &Path, to: &Path, recursive: bool) -> Result<(), FileError> {
    let meta = fs::metadata(from).map_err(FileError::io("look at", from))?;
    if !meta.is_dir() {
        let content = fs::read(from).map_err(FileError::io("read", from))?;
        return write_then(to, &content, meta.permissions().mode() & 0o7777, |new| {
            use std::os::unix::fs::MetadataExt as _;
            chown(new, Owner { uid: meta.uid(), gid: meta.gid() })
        });
    }
    if !recursive {
        return Err(FileError::io("copy without -r", from)(io::ErrorKind::IsADirectory.into()));
    }
    fs::create_dir_all(to).map_err(FileError::io("create the directory", to))?;
    let entries = fs::read_dir(from).map_err(FileError::io("read the directory", from))?;
    for entry in entries.flatten() {
        copy(&entry.path(), &to.join(entry.file_name()), true)?;
    }
    Ok(())
}

fn discard(place: &Path) -> Result<(), FileError> {
    let result = match fs::symlink_metadata(place) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    result.map_err(FileError::io("remove", place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::userdata::commands::{Done, Recogniser};

    fn run_script(root: &Path, script: &str) -> Vec<String> {
        let mut steps = Vec::new();
        for (_, outcome) in Recogniser::default().script(script) {
            if let Done::Steps(more, _) = outcome.unwrap() {
                steps.extend(more);
            }
        }
        let accounts = Accounts::parse("nomad:x:990:990:::", "nomad:x:990:");
        let machine = Machine {
            root,
            accounts: &accounts,
            look_up: &|value| (*value == Value::Address).then(|| "10.0.0.7".into()),
            load_module: &|name| if name == "known" { Ok(()) } else { Err("is not in the image".into()) },
        };
        run(&machine, &steps).into_iter().map(|note| format!("{}: {}", note.path, note.message)).collect()
    }

    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for dir in ["etc/nomad.d", "opt", "tmp", "proc/sys/vm"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("etc/nomad.d/a.hcl"), "bind_addr = \"IP\"\n").unwrap();
        root
    }

    #[test]
    fn a_script_does_to_files_what_a_shell_would_and_may_be_repeated() {
        let root = machine();
        let script = "set -e\nIP=$(hostname -I | awk '{print $1}')\nmkdir -p /opt/nomad/data\nchown -R nomad:nomad \
                      /opt/nomad\nchmod 700 /opt/nomad\nsed -i \"s/IP/$IP/\" /etc/nomad.d/a.hcl\necho a >> \
                      /opt/list\ncp /opt/list /opt/copy; mv /opt/copy /opt/nomad/\ntouch /tmp/x /tmp/.y\nrm -f /tmp/*\n\
                      ln -sfn /opt/nomad /opt/link\ncat > /etc/c <<EOF\nfrom $IP\nEOF\n";
        for _ in 0..2 {
            assert_eq!(run_script(root.path(), script), [""; 0]);
        }
        let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(read("etc/nomad.d/a.hcl"), "bind_addr = \"10.0.0.7\"\n");
        assert_eq!(
            (read("opt/list").as_str(), read("opt/nomad/copy").as_str(), read("etc/c").as_str()),
            ("a\n", "a\n", "from 10.0.0.7\n")
        );
        assert!(!root.path().join("tmp/x").exists() && root.path().join("tmp/.y").exists());
        assert_eq!(fs::read_link(root.path().join("opt/link")).unwrap(), Path::new("/opt/nomad"));
        assert_eq!(fs::metadata(root.path().join("opt/nomad")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn an_edit_keeps_owner_and_mode() {
        let root = machine();
        let path = root.path().join("etc/nomad.d/a.hcl");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            run_script(root.path(), "chown nomad:nomad /etc/nomad.d/a.hcl\nsed -i s/IP/x/ /etc/nomad.d/a.hcl"),
            [""; 0]
        );
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o640);
        if nix::unistd::geteuid().is_root() {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(meta.uid(), 990);
        }
    }

    #[test]
    fn what_fails_is_said_and_the_rest_is_done() {
        let root = machine();
        let script = "sed -i s/a/b/ /etc/none\nchown consul /opt\nsysctl -w vm.x=1\nmodprobe unknown\necho $(curl -s \
                      http://169.254.169.254/latest/meta-data/public-ipv4) > /etc/p\nmodprobe known\necho y > /etc/last\n";
        let notes = run_script(root.path(), script);
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(notes[0].contains("/etc/none") && notes[1].contains("consul: is unknown here"));
        assert!(notes[2].contains("unknown: is not in the image") && notes[3].contains("public address is not known"));
        assert_eq!(fs::read(root.path().join("proc/sys/vm/x")).unwrap(), b"1");
        assert!(root.path().join("etc/last").exists());
    }

    #[test]
    fn links_do_not_lead_out() {
        let root = machine();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("victim"), "x").unwrap();
        symlink(outside.path(), root.path().join("opt/out")).unwrap();
        let notes = run_script(
            root.path(),
            "rm -rf /opt/out/victim\nchmod -R 777 /opt/out/x\necho a > /opt/out/b\nmkdir -p /opt/out/c/d\n",
        );
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(outside.path().join("victim").exists() && !outside.path().join("b").exists());
    }
}
