use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::children::STOP_WITHIN;
use super::progress::Progress;

const POLL: Duration = Duration::from_millis(20);

/// The most that is read of a log's end, in bytes.
const TAIL: u64 = 8 << 10;

/// What a node writes to its standard error.
///
/// The file is locked, and the node inherits the lock with the file: so nobody takes up a node's data while an earlier
/// process still writes it, even if its `homing dev` was killed and forgot all pids.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// How long it was when the node was started.
    start: u64,
}

impl Log {
    /// Opens the log, once no earlier process of the node has it.
    pub(super) async fn open(path: &Path, progress: &Progress) -> Result<Self> {
        let context = || format!("can't use the log {}", path.display());
        let file = open(path).with_context(context)?;
        // The nodes of a `homing dev` that was killed drain as any others.
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), file, start: 0 }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    progress.tell("waiting for the nodes of an earlier start to end".to_owned());
                    sleep(POLL).await;
                }
                Err(TryLockError::WouldBlock) => {
                    bail!(
                        "the node that writes {} still runs, from an earlier start: stop it",
                        path.display()
                    )
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
        }
    }

    /// The file to hand to a node that is started now.
    pub(super) fn begin(&mut self) -> io::Result<File> {
        self.start = self.file.metadata()?.len();
        self.file.try_clone()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last line of the node that was started last; empty if it wrote none.
    pub(super) fn last_line(&self) -> String {
        let tail = self.tail().unwrap_or_default();
        let text = String::from_utf8_lossy(&tail);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line.trim().to_owned()
    }

    fn tail(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.start.max(end.saturating_sub(TAIL))))?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail)?;
        Ok(tail)
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn the_last_line_is_of_the_node_that_was_started_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(&dir.path().join("n1/log.txt"), &Progress::start()).await.unwrap();
        writeln!(log.begin().unwrap(), "first\nlast\n\n").unwrap();
        assert_eq!(log.last_line(), "last");
        let mut file = log.begin().unwrap();
        assert_eq!(log.last_line(), "");
        write!(file, "{}\nunfinished", "x".repeat(20_000)).unwrap();
        assert_eq!(log.last_line(), "unfinished");
    }

    #[tokio::test]
    async fn a_log_is_free_when_the_last_that_inherited_it_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let progress = Progress::start();
        let mut log = Log::open(&path, &progress).await.unwrap();
        let inherited = log.begin().unwrap();
        drop(log);
        let mut next = pin!(Log::open(&path, &progress));
        tokio::select! {
            biased;
            _ = &mut next => panic!("opened, although the earlier node still has it"),
            () = std::future::ready(()) => {}
        }
        drop(inherited);
        assert!(next.await.is_ok());
    }
}
