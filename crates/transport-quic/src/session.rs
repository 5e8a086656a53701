//! One accepted connection: who it is, and its requests.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use homing_transport::tls::CredentialsError;
use homing_transport::wire::binary;
use homing_transport::{BodyError, Handed, Reply, serve};
use homing_types::{NodeId, Outcome};
use quinn::{ConnectionError, WriteError};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use crate::body::{Incoming, pump, write_in_hand};
use crate::config::max_block;
use crate::dial::node_of;
use crate::frame::{Batch, Frame};
use crate::listen::{Host, Phase};
use crate::requests::Requests;
use crate::runtime::counted;
use crate::stream::{Code, ReceiveError, Receiver, Sender};

/// Runs one connection from its handshake to its end. What it started ends with it.
pub(crate) async fn run(
    host: Arc<Host>,
    incoming: quinn::Incoming,
    handshake: OwnedSemaphorePermit,
    phases: watch::Receiver<Phase>,
) {
    let address = incoming.remote_address();
    let welcomed = timeout(host.limits.handshake_timeout, Session::welcome(host, incoming)).await;
    drop(handshake);
    match welcomed {
        Ok(Ok(session)) => session.serve(phases).await,
        Ok(Err(error)) => tracing::warn!(%address, %error, "a connection was not accepted"),
        Err(_) => tracing::warn!(%address, "a handshake was not over within its time (handshake_timeout)"),
    }
}

struct Session {
    asker: Arc<Asker>,
    connection: quinn::Connection,
    control: Sender,
}

/// Who asks, and what its requests have in common.
struct Asker {
    host: Arc<Host>,
    node: NodeId,
    handed: Handed,
}

/// Why a connection was not accepted.
#[derive(Debug, Error)]
enum Unwelcome {
    #[error(transparent)]
    Lost(#[from] ConnectionError),
    #[error(transparent)]
    Cut(#[from] WriteError),
    #[error(transparent)]
    Stranger(#[from] CredentialsError),
}

impl Session {
    async fn welcome(host: Arc<Host>, incoming: quinn::Incoming) -> Result<Self, Unwelcome> {
        let (connecting, handed) = counted(|| incoming.accept());
        let connection = connecting?.await?;
        let node = node_of(&host.credentials, &connection)
            .inspect_err(|error| connection.close(Code::Stranger.into(), error.to_string().as_bytes()))?;
        let mut control = Sender::new(connection.open_uni().await?);
        let mut batch = Batch::default();
        batch.hello();
        control.write(&mut batch).await?;
        let asker = Arc::new(Asker { host, node, handed });
        Ok(Self { asker, connection, control })
    }

    /// Serves requests until the one who dialled closes the connection or the listener cuts it.
    ///
    /// While the listener drains, that is left to the other side: it alone knows when it has read all replies.
    async fn serve(mut self, mut phases: watch::Receiver<Phase>) {
        let mut requests = Requests::new(self.asker.node.clone());
        let mut next = 0;
        let mut draining = false;
        loop {
            let phase = *phases.borrow_and_update();
            if phase == Phase::Draining && !draining {
                draining = true;
                // A peer that reads nothing leaves no window for it.
                tokio::select! {
                    () = self.go_away(next) => (),
                    _ = phases.wait_for(|phase| *phase == Phase::Cut) => continue,
                }
            }
            if phase == Phase::Cut {
                break;
            }
            tokio::select! {
                // What is looked at after a request that is there would keep it waiting; the phase is looked at before each.
                biased;
                accepted = self.connection.accept_bi() => {
                    let Ok((send, receive)) = accepted else { break };
                    let sender = Sender::new(send);
                    let receiver = Receiver::new(receive, max_block(&self.asker.host.limits));
                    if draining {
                        refuse(sender, receiver);
                    } else {
                        next = sender.index() + 1;
                        // A task moves its future about until it stands, and once more at its end.
                        requests.begin(Box::pin(request(Arc::clone(&self.asker), sender, receiver))).await;
                    }
                }
                changed = phases.changed() => if changed.is_err() { break },
                () = requests.let_go() => {}
            }
        }
        // First, so that the peer sees a lost connection and not requests that were given up.
        self.connection.close(Code::Shutdown.into(), b"");
        requests.shutdown().await;
    }

    /// Says that no stream from index `next` on is shown to the handler.
    async fn go_away(&mut self, next: u64) {
        let mut batch = Batch::default();
        batch.go_away(next);
        // If it can't be said, the connection is lost, and that is found out at once.
        let _ = self.control.write(&mut batch).await;
    }
}

fn refuse(mut sender: Sender, mut receiver: Receiver) {
    sender.reset(Code::Refused);
    receiver.stop(Code::Refused);
}

/// Answers one request. The sender gives it up by stopping the reply.
async fn request(asker: Arc<Asker>, mut sender: Sender, mut receiver: Receiver) {
    // Most heads come with the stream.
    let head = match poll_fn(|cx| Poll::Ready(receiver.poll_frame(cx))).await {
        Poll::Ready(head) => head,
        Poll::Pending => {
            let head = timeout(asker.host.limits.handshake_timeout, receiver.frame());
            let head = sender.unless_stopped(Box::pin(head).as_mut()).await;
            match head {
                Some(Ok(head)) => head,
                // A head that doesn't come must not hold its place.
                Some(Err(_)) => return refuse(sender, receiver),
                None => return,
            }
        }
    };
    let reply = match head {
        Ok(Frame::Head(block)) => match answer(&asker, block, receiver) {
            Ok(answering) => match sender.unless_stopped(pin!(answering)).await {
                Some(reply) => reply,
                None => return,
            },
            Err(reply) => *reply,
        },
        Ok(_) => Reply::of(Outcome::Refused, "the request doesn't begin with its head"),
        Err(ReceiveError::Frame(error)) => Reply::of(Outcome::Refused, error.to_string()),
        // The sender has given up.
        Err(_) => return,
    };
    asker.handed.add();
    let mut batch = Batch::with_room(reply.response.body().bytes());
    batch.head(|out| binary::encode_reply(&reply.head, &reply.response, out));
    let body = reply.response.into_body();
    if write_in_hand(&mut sender, &mut batch, &body) {
        return;
    }
    match Box::pin(pump(&mut sender, &mut batch, body)).await {
        Ok(()) => (),
        Err(BodyError::Deadline) => sender.reset(Code::Late),
        // A reset would take back what was written before; a stream that ends without END is cut short too.
        Err(_) => {
            if sender.write(&mut batch).await.is_ok() {
                sender.finish();
            }
        }
    }
}

/// What answers a request, or why nobody does.
fn answer(
    asker: &Asker,
    block: bytes::Bytes,
    receiver: Receiver,
) -> Result<impl Future<Output = Reply>, Box<Reply>> {
    let Asker { host, node, .. } = asker;
    let limit = host.limits.max_header_block;
    let (head, request) = binary::decode_request(block, limit)
        .map_err(|error| Box::new(Reply::of(Outcome::Refused, error.to_string())))?;
    let request = request.map(|()| Incoming::of_request(receiver, limit));
    Ok(serve(&*host.handler, node.clone(), head, request, &host.limits))
}
