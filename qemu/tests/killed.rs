//! What is left when the harness itself is killed: nothing.

use qemu::{Deadline, Process, RunDir};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set for the process that is to be killed.
const VICTIM: &str = "STEPPE_TEST_VICTIM";

#[test]
fn neither_processes_nor_directories_outlive_a_killed_harness() {
    if std::env::var_os(VICTIM).is_some() {
        let run = RunDir::new().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let process = Process::spawn(command).unwrap();
        println!("victim {} {}", process.id(), run.path().display());
        loop {
            std::thread::park();
        }
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "neither_processes_nor_directories_outlive_a_killed_harness", "--nocapture"])
        .env(VICTIM, "1")
        .env_remove(qemu::KEEP_VARIABLE)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find_map(|line| Some(line.split_once("victim ")?.1.to_owned())).unwrap();
    let (process, directory) = line.split_once(' ').unwrap();
    let process = Path::new("/proc").join(process);
    assert!(process.exists() && Path::new(directory).is_dir());
    victim.kill().unwrap();
    victim.wait().unwrap();
    let gone = |path: &Path| Deadline::seconds(10).poll(Duration::from_millis(10), || (!path.exists()).then_some(()));
    assert_eq!(gone(&process), Some(()), "{process:?} still runs");
    assert_eq!(gone(Path::new(directory)), Some(()), "{directory} is still there");
}
