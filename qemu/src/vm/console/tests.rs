use super::*;

fn connected() -> (Console, UnixStream) {
    let console = Console::new("vm", None);
    let (ours, theirs) = UnixStream::pair().unwrap();
    console.attach(ours).unwrap();
    (console, theirs)
}

#[test]
fn waiting_finds_lines_of_the_past_and_wakes_for_new_ones() {
    let (console, mut guest) = connected();
    guest.write_all(b"first\nsecond\n").unwrap();
    let deadline = Deadline::seconds(10);
    let second = console.wait_for("second", &deadline).unwrap();
    assert_eq!((second.index, console.wait_for("first", &deadline).unwrap().index), (1, 0));
    let waiter = std::thread::spawn(move || console.wait_after(second.end(), ["sec", "nd"], &deadline).unwrap().index);
    guest.write_all(b"third\nsecond again\n").unwrap();
    assert_eq!(waiter.join().unwrap(), 3);
}

#[test]
fn a_prompt_without_a_line_end_is_found_and_can_be_answered() {
    let (console, mut guest) = connected();
    guest.write_all(b"steppe> ").unwrap();
    console.wait_prompt("steppe> ", &Deadline::seconds(10)).unwrap();
    let short = Deadline::after(Duration::from_millis(20));
    assert!(console.wait_for("steppe", &short).is_err(), "a line without an end is not a line yet");
    console.type_line("status").unwrap();
    let mut typed = [0; 7];
    guest.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"status\r");
}

#[test]
fn a_command_gives_what_it_wrote_between_two_prompts() {
    let (console, mut guest) = connected();
    std::thread::spawn(move || {
        // A message has pushed the first prompt away.
        guest.write_all(b"vm> [ 12.0] random: crng init done\n").unwrap();
        let (mut typed, mut byte) = (Vec::new(), [0]);
        while guest.read(&mut byte).unwrap_or(0) == 1 {
            if byte != *b"\r" {
                typed.push(byte[0]);
                guest.write_all(&byte).unwrap();
                continue;
            }
            let answer = if typed == b"status" { "\r\none\r\n[ 13.0] noise\r\ntwo\r\nvm> " } else { "\r\nvm> " };
            guest.write_all(answer.as_bytes()).unwrap();
            typed.clear();
        }
    });
    console.wait_for("random", &Deadline::seconds(10)).unwrap();
    for _ in 0..2 {
        let lines = console.command("vm> ", "status", &Deadline::seconds(10)).unwrap();
        assert_eq!(lines, ["one", "[ 13.0] noise", "two"]);
    }
}

#[test]
fn errors_say_what_happened() {
    let (console, mut guest) = connected();
    let short = Deadline::after(Duration::from_millis(20));
    let error = console.wait_for("never", &short).unwrap_err();
    assert!(matches!(&error, ConsoleError::Timeout { pattern, .. } if pattern == "\"never\""), "{error}");

    guest.write_all(b"[ 1.0] Kernel panic - not syncing: Attempted to kill init!\n").unwrap();
    let error = console.wait_for("READY", &Deadline::seconds(10)).unwrap_err();
    assert!(matches!(&error, ConsoleError::Fatal { line, .. } if line.contains("Attempted")), "{error}");

    console.allow("Kernel panic");
    guest.write_all(b"half a li").unwrap();
    drop(guest);
    let error = console.wait_for("READY", &Deadline::seconds(10)).unwrap_err();
    assert!(matches!(&error, ConsoleError::Closed { tail, .. } if tail.contains("half a li")), "{error}");
    assert!(console.type_line("x").is_err());
}

#[test]
fn a_new_power_on_continues_the_same_console() {
    let (console, mut guest) = connected();
    guest.write_all(b"boot one\nBUG: bad\n").unwrap();
    console.wait_for("boot one", &Deadline::seconds(10)).unwrap();
    drop(guest);
    let mark = console.mark();
    let (ours, mut guest) = UnixStream::pair().unwrap();
    console.attach(ours).unwrap();
    guest.write_all(b"boot two\n").unwrap();
    let error = console.wait_after(mark, "never", &Deadline::seconds(10)).unwrap_err();
    assert!(matches!(error, ConsoleError::Fatal { .. }), "what an earlier boot wrote still counts: {error}");
    console.allow("BUG: bad");
    let line = console.wait_after(mark, "boot", &Deadline::seconds(10)).unwrap();
    assert_eq!((line.text.as_str(), console.fatal()), ("boot two", None));
}
