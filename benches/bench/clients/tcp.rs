use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// How many calls wait to be written at most.
const QUEUE: usize = 1_024;

/// One connection: requests are written one after another, and answers come in the same order.
pub(crate) struct Client(mpsc::Sender<(Bytes, oneshot::Sender<bool>)>);

impl Client {
    pub(crate) async fn connect(at: SocketAddr, connections: usize) -> Result<Vec<Self>> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            clients.push(Self(drive(stream)));
        }
        Ok(clients)
    }

    pub(crate) async fn echo(&self, bytes: &Bytes) -> Result<()> {
        let (told, echoed) = oneshot::channel();
        self.0.send((bytes.clone(), told)).await.ok().context("the connection is lost")?;
        anyhow::ensure!(echoed.await?, "the echo is another than what was sent");
        Ok(())
    }
}

fn drive(stream: TcpStream) -> mpsc::Sender<(Bytes, oneshot::Sender<bool>)> {
    let (sender, mut asked) = mpsc::channel::<(Bytes, oneshot::Sender<bool>)>(QUEUE);
    let (waits, mut waiting) = mpsc::channel::<(Bytes, oneshot::Sender<bool>)>(QUEUE);
    let (read, mut write) = stream.into_split();
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        while let Some(first) = asked.recv().await {
            let mut next = Some(first);
            // What waits already goes out together.
            while let Some((bytes, told)) = next {
                buffer.put_u32(bytes.len() as u32);
                buffer.put_slice(&bytes);
                if waits.send((bytes, told)).await.is_err() {
                    return;
                }
                next = if buffer.len() < 64 << 10 { asked.try_recv().ok() } else { None };
            }
            if write.write_all_buf(&mut buffer).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut read = BufReader::with_capacity(64 << 10, read);
        let mut back = Vec::new();
        while let Some((bytes, told)) = waiting.recv().await {
            let Ok(length) = read.read_u32().await else { return };
            back.resize(length as usize, 0);
            if read.read_exact(&mut back).await.is_err() {
                return;
            }
            let _ = told.send(back == bytes);
        }
    });
    sender
}
