use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// After so long a datagram is lost: nothing sends it again.
const LOST: Duration = Duration::from_secs(1);

/// One socket. The first eight bytes of a datagram number it, so that the answers may come in any order.
pub(crate) struct Client {
    socket: Arc<UdpSocket>,
    next: AtomicU64,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<usize>>>>,
}

impl Client {
    pub(crate) async fn connect(at: SocketAddr, connections: usize) -> Result<Vec<Self>> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            let socket = Arc::new(UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?);
            socket.connect(at).await?;
            let waiting = Arc::<Mutex<HashMap<u64, oneshot::Sender<usize>>>>::default();
            tokio::spawn(receive(Arc::clone(&socket), Arc::clone(&waiting)));
            clients.push(Self { socket, next: AtomicU64::new(0), waiting });
        }
        Ok(clients)
    }

    pub(crate) async fn echo(&self, bytes: &Bytes) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (told, echoed) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, told);
        let mut datagram = BytesMut::with_capacity(bytes.len().max(8));
        datagram.put_u64(number);
        datagram.put_slice(bytes.get(8..).unwrap_or_default());
        self.socket.send(&datagram).await?;
        let length = timeout(LOST, echoed).await.context("a datagram was lost")??;
        ensure!(length == datagram.len(), "the echo is another than what was sent");
        Ok(())
    }
}

async fn receive(socket: Arc<UdpSocket>, waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<usize>>>>) {
    let mut datagram = vec![0; 64 << 10];
    while let Ok(length) = socket.recv(&mut datagram).await {
        let number = datagram.first_chunk().map(|number| u64::from_be_bytes(*number));
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = number.and_then(|number| waiting.remove(&number)) {
            let _ = told.send(length);
        }
    }
}
