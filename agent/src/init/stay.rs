//! When the boot cannot go on: say why, again and again, and keep the machine as it is.
//!
//! A machine that restarts by itself in this state would loop for ever and take its last words with it.

use std::{fmt::Display, thread, time::Duration};

use crate::{error, sys};

use super::timeline::seconds;

/// Time between two messages.
pub(super) const REPEAT: Duration = Duration::from_secs(10);

/// Never returns. There is nothing left to wait for: only a person can help.
pub(super) fn forever(why: &dyn Display) -> ! {
    loop {
        error!("the boot cannot go on ({}): {why}", seconds(sys::boottime()));
        thread::sleep(REPEAT);
    }
}
