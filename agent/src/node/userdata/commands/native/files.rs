//! Programs that make, change and take away files.

use super::{
    super::{
        state::State,
        step::{Mode, Places, Step},
    },
    Outcome,
    arguments::arguments,
    steps_done,
};

pub(super) fn make_directories(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "m")?;
    let mode = args.value('m').map(|mode| u32::from_str_radix(mode, 8)).transpose().ok()?;
    if !args.only("pv") || args.operands.is_empty() {
        return None;
    }
    let make =
        |path: &&str| Ok(Step::MakeDirectory { path: state.writable(path)?, parents: args.flags.contains('p'), mode });
    Some(args.operands.iter().map(make).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "makes")))
}

pub(super) fn touch(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    if !args.only("acm") || args.operands.is_empty() {
        return None;
    }
    let touch = |path: &&str| Ok(Step::Touch { path: state.writable(path)? });
    Some(args.operands.iter().map(touch).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "makes")))
}

/// `PATH` or `PATH/*`.
fn places(path: &str, recursive: bool, state: &State) -> Result<Places, String> {
    let (path, children) = path.strip_suffix("/*").map_or((path, false), |path| (path, true));
    Ok(Places { path: state.writable(path)?, children, recursive })
}

pub(super) fn own(program: &str, args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    let (owner, paths) = args.operands.split_first()?;
    if !args.only("Rvhf") || paths.is_empty() {
        return None;
    }
    let (user, group) = match (program, owner.split_once([':', '.'])) {
        ("chgrp", _) => ("", *owner),
        (_, None) => (*owner, ""),
        // `user:` means the user's own group, which here has the user's name.
        (_, Some((user, ""))) => (user, user),
        (_, Some((user, group))) => (user, group),
    };
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let own = |path: &&str| {
        let path = places(path, args.flags.contains('R'), state)?;
        Ok(Step::Own { path, user: some(user), group: some(group) })
    };
    Some(paths.iter().map(own).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "gives an owner to")))
}

pub(super) fn mode(args: &[&str], state: &State) -> Option<Outcome> {
    // `-x` is a mode, not an option.
    let at = args.iter().position(|arg| !matches!(*arg, "-R" | "-v" | "-f" | "--recursive" | "--verbose"))?;
    let (flags, rest) = args.split_at(at);
    let (change, paths) = rest.split_first()?;
    let change = Mode::parse(change)?;
    if paths.is_empty() || paths.iter().any(|path| path.starts_with('-')) {
        return None;
    }
    let recursive = flags.iter().any(|flag| matches!(*flag, "-R" | "--recursive"));
    let mode = |path: &&str| Ok(Step::Mode { path: places(path, recursive, state)?, change: change.clone() });
    Some(paths.iter().map(mode).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "sets the mode of")))
}

pub(super) fn link(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    let [target, path] = args.operands.as_slice() else { return None };
    if !args.flags.contains('s') || !args.only("sfnvT") {
        return None;
    }
    Some(state.writable(path).map(|path| steps_done(vec![Step::Link { target: (*target).to_owned(), path }], "makes")))
}

pub(super) fn copy(program: &str, args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    let (to, from) = args.operands.split_last()?;
    if !args.only("afpRrvnuT") || from.is_empty() {
        return None;
    }
    let recursive = args.flags.contains(['a', 'r', 'R']);
    let one = |from: &&str| {
        let to = state.writable(to)?;
        // Copying reads any place; moving takes away.
        Ok(if program == "cp" {
            let from = state.path(from);
            if from.split('/').any(|part| part == "..") {
                return Err(format!("{from:?} is not the plain path of a file"));
            }
            Step::Copy { from, to, recursive }
        } else {
            Step::Move { from: state.writable(from)?, to }
        })
    };
    let verb = if program == "cp" { "copies to" } else { "moves to" };
    Some(from.iter().map(one).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, verb)))
}

pub(super) fn remove(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "")?;
    if !args.only("rRfvd") || args.operands.is_empty() {
        return None;
    }
    let recursive = args.flags.contains(['r', 'R']);
    let remove = |path: &&str| {
        let path = places(path, recursive, state)?;
        if path.path != "/tmp" && crate::node::files::roots::WRITABLE.contains(&path.path.as_str()) {
            return Err(format!("{} as a whole is not removed", path.path));
        }
        Ok(Step::Remove { path })
    };
    Some(args.operands.iter().map(remove).collect::<Result<Vec<_>, String>>().map(|steps| steps_done(steps, "removes")))
}

/// `install -d` makes directories, `install` copies one file; both with owner and mode.
pub(super) fn install(args: &[&str], state: &State) -> Option<Outcome> {
    let args = arguments(args, "mog")?;
    let mode = args.value('m').map(|mode| u32::from_str_radix(mode, 8)).transpose().ok()?;
    let make_directories = args.flags.contains('d');
    let paths = match args.operands.as_slice() {
        [] => return None,
        paths if make_directories => paths,
        [_, to] if args.only("vDp") => std::slice::from_ref(to),
        _ => return None,
    };
    let owner = |short| args.value(short).map(str::to_owned);
    let steps = || {
        let mut steps = Vec::new();
        for path in paths {
            let path = state.writable(path)?;
            if make_directories {
                steps.push(Step::MakeDirectory { path: path.clone(), parents: true, mode: None });
            } else {
                steps.push(Step::Copy { from: state.path(args.operands[0]), to: path.clone(), recursive: false });
            }
            let place = Places { path, children: false, recursive: false };
            if owner('o').is_some() || owner('g').is_some() {
                steps.push(Step::Own { path: place.clone(), user: owner('o'), group: owner('g') });
            }
            steps.push(Step::Mode { path: place, change: Mode::Set(mode.unwrap_or(0o755)) });
        }
        Ok(steps)
    };
    Some(steps().map(|steps| steps_done(steps, "makes")))
}
