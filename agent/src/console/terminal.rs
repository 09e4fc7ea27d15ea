//! The terminal: opened, made ours, read line by line.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::Signal,
        termios::{
            InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices as Char, Termios, tcgetattr, tcsetattr,
        },
    },
    unistd::{getpgrp, setsid, tcsetpgrp},
};

use crate::sys;

/// Longest line that is read; the kernel's own line editor has the same limit.
const MAX_LINE: usize = 4096;

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line without its end.
    Line(String),
    /// Ctrl-C: the line is thrown away.
    Interrupt,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// An open terminal that is this process's own.
#[derive(Debug)]
pub(super) struct Terminal(File);

impl Terminal {
    /// Opens the terminal and makes it the controlling one, in a sane mode, so that the keys for interrupt and end of
    /// input work.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A session leader already, when init started it.
        let _ = setsid();
        let file = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?;
        let mut mode = tcgetattr(&file)?;
        make_sane(&mut mode);
        tcsetattr(&file, SetArg::TCSANOW, &mode)?;
        sys::control_terminal(&file)?;
        // Taking the terminal back from a command happens from the background.
        sys::ignore(Signal::SIGTTOU)?;
        sys::interrupt_reads()?;
        tcsetpgrp(&file, getpgrp())?;
        Ok(Self(file))
    }

    /// Shows a prompt and reads a line.
    pub(super) fn ask(&mut self, prompt: &str) -> io::Result<Input> {
        self.show(prompt)?;
        let mut buffer = [0_u8; MAX_LINE];
        match nix::unistd::read(self.0.as_fd(), &mut buffer) {
            Ok(0) => Ok(Input::End),
            Ok(size) => Ok(Input::Line(String::from_utf8_lossy(&buffer[..size]).trim_end().to_owned())),
            Err(Errno::EINTR) => Ok(Input::Interrupt),
            Err(why) => Err(why.into()),
        }
    }

    /// Prints text.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes())
    }

    /// Another handle, for a command.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Takes the terminal back after a command ended, whatever mode it left.
    pub(super) fn take_back(&self) -> io::Result<()> {
        tcsetpgrp(&self.0, getpgrp())?;
        let mut mode = tcgetattr(&self.0)?;
        make_sane(&mut mode);
        Ok(tcsetattr(&self.0, SetArg::TCSADRAIN, &mode)?)
    }
}

/// Lines, echo, signals from keys, and the usual keys.
fn make_sane(mode: &mut Termios) {
    mode.input_flags = InputFlags::ICRNL | InputFlags::IXON | InputFlags::IUTF8 | InputFlags::BRKINT;
    mode.output_flags |= OutputFlags::OPOST | OutputFlags::ONLCR;
    mode.local_flags = LocalFlags::ISIG
        | LocalFlags::ICANON
        | LocalFlags::IEXTEN
        | LocalFlags::ECHO
        | LocalFlags::ECHOE
        | LocalFlags::ECHOK
        | LocalFlags::ECHOCTL
        | LocalFlags::ECHOKE;
    let keys = [
        (Char::VINTR, 3),
        (Char::VQUIT, 28),
        (Char::VERASE, 127),
        (Char::VKILL, 21),
        (Char::VEOF, 4),
        (Char::VWERASE, 23),
        (Char::VMIN, 1),
        (Char::VTIME, 0),
    ];
    for (which, key) in keys {
        mode.control_chars[which as usize] = key;
    }
}
