//! What of a call can be counted, whatever else the machine does: what it asks of the allocator, and its instructions. On both sides together: one
//! thread makes the calls and serves them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;
use tokio::process::Command;

use crate::clients::Clients;
use crate::contestants::{Calls, Contestant, Ground};
use crate::credentials;
use crate::serve;

/// The system's allocator, and how often each thread has asked it for how much.
pub(crate) struct Counting;

/// Whether anything is counted: what is timed must not pay for it.
static COUNTING: AtomicBool = AtomicBool::new(false);

thread_local! {
    static ASKED: Asked = const { Asked { calls: Cell::new(0), bytes: Cell::new(0) } };
}

struct Asked {
    calls: Cell<u64>,
    bytes: Cell<u64>,
}

fn count(size: usize) {
    if !COUNTING.load(Ordering::Relaxed) {
        return;
    }
    // A thread that ends asks for memory, too.
    let _ = ASKED.try_with(|asked| {
        asked.calls.set(asked.calls.get() + 1);
        asked.bytes.set(asked.bytes.get() + size as u64);
    });
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Of one contestant, a call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counts {
    pub(crate) contestant: &'static str,
    /// Requests to the allocator, and the bytes that they ask for.
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// Instructions, in user space; `null` where nobody counts them.
    pub(crate) instructions: Option<f64>,
}

const WARM_UP: usize = 500;
const CALLS: usize = 2_000;
const PAYLOAD: usize = 128;

/// Counts the allocations of each of these, one after another.
pub(crate) fn of(contestants: &[Contestant], ground: &Ground) -> Result<Vec<Counts>> {
    let of = |contestant: &Contestant| {
        run(*contestant, ground, WARM_UP + CALLS, |turn| {
            if turn == WARM_UP {
                ASKED.with(|asked| (asked.calls.set(0), asked.bytes.set(0)));
            }
        })?;
        let each = |number: u64| number as f64 / CALLS as f64;
        let (allocations, bytes) = ASKED.with(|asked| (each(asked.calls.get()), each(asked.bytes.get())));
        Ok(Counts { contestant: contestant.name(), allocations, bytes, instructions: None })
    };
    COUNTING.store(true, Ordering::Relaxed);
    let all = contestants.iter().map(of).collect();
    COUNTING.store(false, Ordering::Relaxed);
    all
}

/// Makes so many calls, one after another, on both sides in this very thread. `before` hears of each.
pub(crate) fn run(
    contestant: Contestant,
    ground: &Ground,
    calls: usize,
    before: impl Fn(usize),
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let id = credentials::owner(0)?;
        let credentials = credentials::read(&ground.folder, &id)?;
        let at = serve::start(contestant.name(), &id, credentials, 1, None).await?;
        let one =
            Calls { spaces: 1, pinned: false, stale: false, far: None, connections: ground.connections };
        let clients = Clients::connect(contestant, ground, &[at.parse()?], one).await?;
        let bytes = Bytes::from(vec![b'v'; PAYLOAD]);
        for turn in 0..calls {
            before(turn);
            clients.echo(&bytes, turn).await?;
        }
        Ok(())
    })
}

/// Calls under callgrind, which makes all some fifty times slower: a few, and many.
const FEW: usize = 200;
const MANY: usize = 1_200;

/// How many instructions a call takes of each of these, by what many take more than a few; or why that is not known.
pub(crate) async fn instructions(counts: &mut [Counts], ground: &Ground) -> Result<(), String> {
    for counts in counts {
        let few = collected(counts.contestant, ground, FEW).await?;
        let many = collected(counts.contestant, ground, MANY).await?;
        counts.instructions = Some((many - few) / (MANY - FEW) as f64);
    }
    Ok(())
}

/// The instructions of so many calls, and of all before and after them.
async fn collected(contestant: &str, ground: &Ground, calls: usize) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(this);
    command.args(["calls", contestant]).arg(&ground.folder).arg(calls.to_string());
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let ended = ended.map_err(|error| format!("valgrind: {error}; Debian: apt-get install valgrind"))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.filter(|_| ended.status.success()).ok_or_else(|| format!("valgrind did not count: {said}"))
}
