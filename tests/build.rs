//! `STEPPE_SLOW=1` at build time takes the tests that wait for minutes out of the ignored ones.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(steppe_slow)");
    println!("cargo::rerun-if-env-changed=STEPPE_SLOW");
    if std::env::var_os("STEPPE_SLOW").is_some_and(|value| value == "1") {
        println!("cargo::rustc-cfg=steppe_slow");
    }
}
