//! What `$(...)` asks for: the ways in which user-data finds out an address or a name of its machine.

use super::{
    program_name,
    shell::{Script, Simple},
    state::State,
    text::{Text, Value},
};

/// Programs that cut an answer out of the output of another.
const FILTERS: [&str; 9] = ["awk", "gawk", "cut", "grep", "egrep", "head", "sed", "tail", "tr"];

/// Paths of metadata services, by their ends, and what stands there.
const PATHS: &[(&str, Value)] = &[
    ("/meta-data/local-ipv4", Value::Address),
    ("/meta-data/public-ipv4", Value::PublicAddress),
    ("/meta-data/instance-id", Value::InstanceId),
    ("/meta-data/local-hostname", Value::Hostname),
    ("/meta-data/hostname", Value::Hostname),
    ("/meta-data/placement/availability-zone", Value::AvailabilityZone),
    ("/meta-data/placement/region", Value::Region),
    ("/metadata/v1/interfaces/private/0/ipv4/address", Value::Address),
    ("/metadata/v1/interfaces/public/0/ipv4/address", Value::PublicAddress),
    ("/metadata/v1/id", Value::InstanceId),
    ("/metadata/v1/hostname", Value::Hostname),
    ("/metadata/v1/region", Value::Region),
    ("/hetzner/v1/metadata/public-ipv4", Value::PublicAddress),
    ("/hetzner/v1/metadata/instance-id", Value::InstanceId),
    ("/hetzner/v1/metadata/hostname", Value::Hostname),
    ("/hetzner/v1/metadata/availability-zone", Value::AvailabilityZone),
    ("/hetzner/v1/metadata/region", Value::Region),
    ("/instance/network-interfaces/0/ip", Value::Address),
    ("/instance/network-interfaces/0/access-configs/0/external-ip", Value::PublicAddress),
    ("/instance/id", Value::InstanceId),
    ("/instance/name", Value::Hostname),
    ("/instance/hostname", Value::Fqdn),
    ("/instance/zone", Value::AvailabilityZone),
    ("/network/interface/0/ipv4/ipAddress/0/privateIpAddress", Value::Address),
    ("/network/interface/0/ipv4/ipAddress/0/publicIpAddress", Value::PublicAddress),
    ("/instance/compute/vmId", Value::InstanceId),
    ("/instance/compute/name", Value::Hostname),
    ("/instance/compute/location", Value::Region),
];

/// Addresses of metadata services.
const HOSTS: [&str; 3] = ["http://169.254.169.254/", "http://metadata.google.internal/", "http://169.254.42.42/"];

/// The text that a command would print, when it is one of those that are known.
pub(super) fn of(command: &str, state: &State, depth: usize) -> Option<Text> {
    let mut script = Script::new(command);
    let statement = script.next()?.ok()?;
    if script.next().is_some() {
        return None;
    }
    let (first, filters) = statement.commands.split_first()?;
    let cut = !filters.is_empty();
    if !filters.iter().all(|filter| FILTERS.contains(&name(filter, state, depth).as_deref().unwrap_or(""))) {
        return None;
    }
    let words = words(first, state, depth)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = super::without_sudo(&words);
    let (program, args) = words.split_first()?;
    match (program_name(program), args) {
        ("hostname", [] | ["-s" | "--short"]) if !cut => Some(Value::Hostname.into()),
        ("cat", ["/etc/hostname"]) | ("uname", ["-n"]) | ("hostnamectl", ["hostname"]) if !cut => {
            Some(Value::Hostname.into())
        }
        ("hostname", ["-f" | "--fqdn" | "--long"]) if !cut => Some(Value::Fqdn.into()),
        ("hostname", ["-I" | "-i" | "--all-ip-addresses" | "--ip-address"]) => Some(Value::Address.into()),
        ("ip", args) if cut => ip(args).map(Text::from),
        ("ifconfig", [interface]) if cut => Some(Value::InterfaceAddress((*interface).to_owned()).into()),
        ("curl" | "wget", args) if !cut => metadata(args),
        ("echo", args) if !cut => Some(Text::from(args.join(" ").as_str())),
        _ => None,
    }
}

/// The words of a command, when all of them are plain.
fn words(simple: &Simple, state: &State, depth: usize) -> Option<Vec<String>> {
    let plain = simple.assignments.is_empty() && simple.output.is_none() && simple.input.is_none();
    let text = |word| state.expand_within(word, depth).ok()?.literal().map(str::to_owned);
    // What a header holds may be a value; it does not change the question.
    plain.then(|| simple.words.iter().map(|word| text(word).or_else(|| header(word))).collect())?
}

fn header(word: &super::shell::Word) -> Option<String> {
    match word.parts.first()? {
        super::shell::Part::Text(text) if text.contains(": ") => Some(text.clone()),
        _ => None,
    }
}

fn name(simple: &Simple, state: &State, depth: usize) -> Option<String> {
    let text = state.expand_within(simple.words.first()?, depth).ok()?;
    Some(program_name(text.literal()?).to_owned())
}

/// `ip [-4] [-o] addr show [dev] eth0`, `ip route get 1.1.1.1`: IPv4 only.
fn ip(args: &[&str]) -> Option<Value> {
    if args.contains(&"-6") || args.iter().any(|arg| arg.starts_with("-f")) {
        return None;
    }
    let mut words = args.iter().copied().filter(|arg| !arg.starts_with('-'));
    match words.next()? {
        "a" | "addr" | "address" => {
            let rest: Vec<&str> = words
                .filter(|word| !matches!(*word, "show" | "list" | "ls" | "s" | "dev" | "scope" | "global" | "up"))
                .collect();
            match rest.as_slice() {
                [] => Some(Value::Address),
                [interface] => Some(Value::InterfaceAddress((*interface).to_owned())),
                _ => None,
            }
        }
        "r" | "route" => (words.next()? == "get").then_some(Value::Address),
        _ => None,
    }
}

/// A question to a metadata service. The session token of EC2's (`PUT .../api/token`) is not needed: it is empty.
fn metadata(args: &[&str]) -> Option<Text> {
    let url = args.iter().find(|arg| HOSTS.iter().any(|host| arg.starts_with(host)))?;
    let path = url.split(['?', '#']).next()?.trim_end_matches('/');
    if path.ends_with("/api/token") {
        return Some(Text::default());
    }
    PATHS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, value)| Text::from(value.clone()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(command: &str) -> Option<Value> {
        let text = of(command, &State::default(), 0)?;
        text.resolve(&|_| None).err()
    }

    #[test]
    fn the_ways_to_an_address() {
        for command in [
            "hostname -I | awk '{print $1}'",
            "hostname -I",
            "/usr/bin/hostname --all-ip-addresses | cut -d ' ' -f 1",
            "ip route get 1.1.1.1 | grep -oP 'src \\K\\S+'",
            "ip -4 -o addr show scope global | awk '{print $4}' | cut -d/ -f1",
            "curl -s http://169.254.169.254/latest/meta-data/local-ipv4",
            "curl -s -H \"X-aws-ec2-metadata-token: $TOKEN\" http://169.254.169.254/latest/meta-data/local-ipv4",
            "curl -H 'Metadata-Flavor: Google' http://metadata.google.internal/computeMetadata/v1/instance/network-interfaces/0/ip",
            "wget -qO- http://169.254.169.254/metadata/v1/interfaces/private/0/ipv4/address",
            "sudo curl -sH Metadata:true 'http://169.254.169.254/metadata/instance/network/interface/0/ipv4/ipAddress/0/privateIpAddress?api-version=2021-02-01&format=text'",
        ] {
            assert_eq!(value(command), Some(Value::Address), "{command}");
        }
        for command in [
            "ip addr show eth1 | grep inet | awk '{print $2}'",
            "ifconfig eth1 | grep inet",
            "ip -4 a s dev eth1 | sed -n 1p",
        ] {
            assert_eq!(value(command), Some(Value::InterfaceAddress("eth1".into())), "{command}");
        }
        assert_eq!(value("hostname"), Some(Value::Hostname));
        assert_eq!(value("curl http://169.254.169.254/latest/meta-data/instance-id"), Some(Value::InstanceId));
        let token = "curl -X PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'";
        assert_eq!(of(token, &State::default(), 0).unwrap().literal(), Some(""));
    }

    #[test]
    fn the_rest_is_not_guessed() {
        for command in [
            "",
            "id",
            "hostname; id",
            "hostname | sh",
            "ip -6 addr show eth0 | awk 1",
            "ip addr show eth0",
            "curl http://example.com/meta-data/local-ipv4",
            "curl http://169.254.169.254/latest/user-data",
            "cat /etc/shadow",
            "hostname -I > /tmp/x",
        ] {
            assert!(of(command, &State::default(), 0).is_none(), "{command}");
        }
    }

    proptest! {
        #[test]
        fn any_command_is_judged(command in "(hostname|ip|addr|show|curl|http://169.254.169.254/| |-I|\\||awk|'|\\$|\\(|\\)|`){0,12}") {
            let _ = of(&command, &State::default(), 0);
        }
    }
}
