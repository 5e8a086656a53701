use std::fs;
use std::time::Instant;

use crate::now;

/// Linux counts these for processes in hundredths of a second, whatever its clock.
const TICKS_A_SECOND: f64 = 100.0;

/// What other processes did while this one measured. They spoil figures, and nobody sees it by the figures.
pub struct Others {
    start: Instant,
    ticks: Option<u64>,
}

impl Others {
    /// Counts from now on.
    #[must_use]
    pub fn watch() -> Self {
        Self { start: now(), ticks: ticks() }
    }

    /// How many cores others have kept busy since, on average; `None` where the kernel doesn't tell.
    #[must_use]
    pub fn cores(&self) -> Option<f64> {
        let ticks = ticks()?.saturating_sub(self.ticks?);
        Some(ticks as f64 / TICKS_A_SECOND / self.start.elapsed().as_secs_f64())
    }
}

/// The time that all cores were not idle, without that of this process (proc(5): `/proc/stat`, `/proc/pid/stat`).
fn ticks() -> Option<u64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let mut kinds =
        machine.lines().next()?.split_whitespace().skip(1).map_while(|ticks| ticks.parse::<u64>().ok());
    // user, nice, system; idle and waiting for a disk; interrupts, soft interrupts, and what the host took.
    let busy = kinds.by_ref().take(3).sum::<u64>() + kinds.skip(2).take(3).sum::<u64>();
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets, which may hold spaces: fields are counted after it.
    let mut fields = own.rsplit_once(')')?.1.split_whitespace().skip(11);
    let own: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(busy.saturating_sub(own))
}
