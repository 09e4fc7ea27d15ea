//! What the kernel's command line asks of the node.

use crate::cmdline::Cmdline;

/// What happens when user-data is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnRefuse {
    /// Nomad is not started; the node stays up and says why.
    #[default]
    Degraded,
    /// Nomad is started with what is left, unless the role's promise is broken.
    Continue,
}

/// What becomes of the Nomad data on a disk that was copied from another machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnClone {
    /// A client's is set aside; a server is not started before a person decides.
    #[default]
    Auto,
    /// It is set aside.
    Reset,
    /// It is used: the other machine is gone.
    Keep,
}

/// The keys `steppe.*` that the node reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `steppe.on_refuse=degraded|continue`.
    pub on_refuse: OnRefuse,
    /// `steppe.clone=auto|reset|keep`.
    pub on_clone: OnClone,
    /// `steppe.raft_multiplier=1..10`.
    pub raft_multiplier: Option<u32>,
}

impl Options {
    /// Reads the command line. Values that make no sense are as if absent; each is named in the second part.
    #[must_use]
    pub fn parse(line: &Cmdline) -> (Self, Vec<String>) {
        let mut options = Self::default();
        let mut complaints = Vec::new();
        match line.value("steppe.on_refuse") {
            None | Some("degraded") => {}
            Some("continue") => options.on_refuse = OnRefuse::Continue,
            Some(other) => complaints.push(format!("steppe.on_refuse={other}: must be degraded or continue")),
        }
        match line.value("steppe.clone") {
            None | Some("auto") => {}
            Some("reset") => options.on_clone = OnClone::Reset,
            Some("keep") => options.on_clone = OnClone::Keep,
            Some(other) => complaints.push(format!("steppe.clone={other}: must be auto, reset or keep")),
        }
        if let Some(text) = line.value("steppe.raft_multiplier") {
            options.raft_multiplier = text.parse().ok().filter(|n| (1..=10).contains(n));
            if options.raft_multiplier.is_none() {
                complaints.push(format!("steppe.raft_multiplier={text}: must be 1 to 10"));
            }
        }
        (options, complaints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sense_and_nonsense() {
        let of = |text| Options::parse(&Cmdline::parse(text));
        let (options, complaints) = of("steppe.on_refuse=continue steppe.raft_multiplier=5 steppe.clone=keep");
        assert_eq!(
            options,
            Options { on_refuse: OnRefuse::Continue, on_clone: OnClone::Keep, raft_multiplier: Some(5) }
        );
        assert!(complaints.is_empty());
        let (options, complaints) = of("steppe.on_refuse=maybe steppe.raft_multiplier=11 steppe.clone=wipe");
        assert_eq!((options, complaints.len()), (Options::default(), 3));
    }
}
