//! Having a lost packet sent again soon, on a connection with little on it.
//!
//! TCP learns that a packet was lost from those that arrive after it (RACK, RFC 8985). After a lone request or a lone reply
//! nothing does, so that its retransmission timer has to expire: 200 ms on Linux, and twice as long each time after that. So
//! where a reply is awaited and the peer is silent, a ping goes out: it follows what this side sent, its answer follows what the
//! peer sent, and whichever of them was lost is sent again within a round trip.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// After so much silence a ping goes out, then after twice as much, and so on. A peer in the same data centre has answered a
/// lone request by then; for one that takes longer, a ping is 17 bytes.
const FIRST: Duration = Duration::from_millis(5);

/// The longest time between two.
const LAST: Duration = Duration::from_secs(1);

/// When to ping.
pub(crate) struct Nudge {
    timer: Pin<Box<Sleep>>,
    silence: Option<Silence>,
}

/// A time without a sign of life, in which a reply is awaited.
struct Silence {
    since: Instant,
    step: Duration,
    /// Whether the next sign of life may be no more than the answer to a ping: whoever works on a request for long is not pinged without end.
    pinged: bool,
}

impl Nudge {
    pub(crate) fn new() -> Self {
        Self { timer: Box::pin(tokio::time::sleep(FIRST)), silence: None }
    }

    /// Ready when a ping should go out. `waiting` says whether a reply is awaited, `heard` when the peer was heard last.
    pub(crate) fn poll_due(&mut self, waiting: bool, heard: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if !waiting {
            self.silence = None;
            return Poll::Pending;
        }
        let begins = match &self.silence {
            None => Some(Silence { since: Instant::now(), step: FIRST, pinged: false }),
            Some(Silence { since, step, pinged }) if heard > *since => {
                let step = if *pinged { *step } else { FIRST };
                Some(Silence { since: heard, step, pinged: false })
            }
            Some(_) => None,
        };
        if let Some(silence) = begins {
            self.timer.as_mut().reset(silence.since + silence.step);
            self.silence = Some(silence);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if let Some(silence) = &mut self.silence {
            (silence.step, silence.pinged) = ((silence.step * 2).min(LAST), true);
            self.timer.as_mut().reset(Instant::now() + silence.step);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// After how many milliseconds pings go out, up to `until`, while the peer was heard at these times.
    async fn pings(heard: &[u64], until: u64) -> Vec<u128> {
        let start = Instant::now();
        let mut nudge = Nudge::new();
        let mut pings = Vec::new();
        let end = start + Duration::from_millis(until);
        loop {
            let now = start.elapsed();
            let last = heard.iter().map(|at| Duration::from_millis(*at)).filter(|at| *at <= now).max();
            let last = start + last.unwrap_or_default();
            // What is heard wakes the connection, and so this.
            let next =
                heard.iter().map(|at| start + Duration::from_millis(*at)).find(|at| *at > Instant::now());
            tokio::select! {
                () = poll_fn(|cx| nudge.poll_due(true, last, cx)) => pings.push(start.elapsed().as_millis()),
                () = tokio::time::sleep_until(next.unwrap_or(end).min(end)) => {}
            }
            if Instant::now() >= end {
                return pings;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_answered_by_pings_farther_and_farther_apart() {
        assert_eq!(pings(&[], 160).await, [5, 15, 35, 75, 155]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_begins_anew_and_a_busy_connection_is_left_alone() {
        assert_eq!(pings(&[20, 22], 50).await, [5, 15, 27, 37]);
        let busy: Vec<u64> = (0..50).map(|i| i * 4).collect();
        assert_eq!(pings(&busy, 200).await, [] as [u128; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_answers_to_pings_keep_nobody_pinging() {
        let answers = [6, 17, 38, 79, 160, 321];
        assert_eq!(pings(&answers, 700).await, [5, 16, 37, 78, 159, 320, 641]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_out_where_no_reply_is_awaited() {
        let mut nudge = Nudge::new();
        let due = poll_fn(|cx| nudge.poll_due(false, Instant::now(), cx));
        assert!(tokio::time::timeout(Duration::from_secs(60), due).await.is_err());
    }
}
