//! Three nodes in one process, what lies between them, and a caller.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use homing_kv::proto::kv_client::KvClient;
use homing_kv::proto::{DeleteRequest, GetRequest, ListRequest, PutRequest, Version};
use homing_kv::{Kv, REPLICA_PATH, Request, RequestKind, Standing, decode_reply};
use homing_router::{Declined, DirectError, DirectService, Granted, Peers, Service};
use homing_transport::{Body, BoxFuture, Sent};
use homing_types::{
    Access, Epoch, Grant, IdempotencyKey, NodeId, Owners, Replica, ReplicaState, Role, Space, SpaceKey,
};
use prost::bytes::Bytes;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::support::{Coin, Disk, idempotency_key, open, space};

pub(crate) fn id(node: &str) -> NodeId {
    NodeId::new(node).unwrap()
}

pub(crate) fn owners(primary: &str, replicas: &[&str]) -> Owners {
    let replica = |node: &&str| Replica { node: id(node), state: ReplicaState::InSync };
    Owners::new(id(primary), replicas.iter().map(replica).collect()).unwrap()
}

/// What lies between the nodes, and what each of them believes.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) replicas: Mutex<HashMap<NodeId, Arc<dyn DirectService>>>,
    /// Nodes that answer so many more messages, and then none.
    pub(crate) down: Mutex<HashMap<NodeId, u32>>,
    pub(crate) tables: Mutex<HashMap<NodeId, (Epoch, Owners)>>,
    /// Happens when the next message was answered.
    pub(crate) then: Mutex<Option<Happens>>,
}

pub(crate) type Happens = Box<dyn FnOnce(&Net) + Send>;

impl Net {
    pub(crate) fn learn(&self, node: &str, epoch: u64, owners: Owners) {
        self.tables.lock().unwrap().insert(id(node), (Epoch::new(epoch), owners));
    }

    /// Whether a node answers one more message.
    fn answers(&self, node: &NodeId) -> bool {
        let mut down = self.down.lock().unwrap();
        match down.get_mut(node) {
            None => true,
            Some(0) => false,
            Some(more) => {
                *more -= 1;
                true
            }
        }
    }
}

pub(crate) struct View {
    pub(crate) net: Arc<Net>,
    pub(crate) me: NodeId,
}

impl Peers for View {
    fn owners(&self, _key: SpaceKey) -> Option<(Epoch, Owners)> {
        self.net.tables.lock().unwrap().get(&self.me).cloned()
    }

    fn direct<'a>(
        &'a self,
        to: &'a NodeId,
        path: &'static str,
        message: Bytes,
        _timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, DirectError>> {
        assert_eq!(path, REPLICA_PATH);
        let error = |message| Err(DirectError { sent: Sent::NotSent, message });
        Box::pin(async move {
            let replica = self.net.replicas.lock().unwrap().get(to).cloned();
            match replica.filter(|_| self.net.answers(to)) {
                Some(replica) => {
                    let reply = replica.call(self.me.clone(), message).await.or_else(error);
                    let then = self.net.then.lock().unwrap().take();
                    then.into_iter().for_each(|then| then(&self.net));
                    reply
                }
                None => error("the dial failed".to_owned()),
            }
        })
    }
}

pub(crate) struct Node {
    pub(crate) disk: Disk,
    pub(crate) kv: Arc<Kv>,
}

pub(crate) struct Cluster {
    pub(crate) net: Arc<Net>,
    pub(crate) nodes: BTreeMap<&'static str, Node>,
}

pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];

impl Cluster {
    /// n1 is the primary of everything, n2 and n3 are its replicas.
    pub(crate) fn new() -> Self {
        let mut cluster = Self { net: Arc::default(), nodes: BTreeMap::new() };
        for node in NODES {
            cluster.learn(node, 1, owners("n1", &["n2", "n3"]));
            cluster.start(node, Disk::new());
        }
        cluster
    }

    pub(crate) fn start(&mut self, node: &'static str, disk: Disk) {
        let peers = Arc::new(View { net: Arc::clone(&self.net), me: id(node) });
        let kv = Arc::new(Kv::new(open(&disk, node), id(node), peers).unwrap());
        self.net.replicas.lock().unwrap().insert(id(node), kv.replica());
        self.nodes.insert(node, Node { disk, kv });
    }

    /// The power of a node fails, and it starts again with what was synced.
    pub(crate) fn restart(&mut self, node: &'static str) {
        let disk = self.nodes[node].disk.cut(&mut Coin(1), 0);
        self.start(node, disk);
    }

    pub(crate) fn learn(&self, node: &str, epoch: u64, owners: Owners) {
        self.net.learn(node, epoch, owners);
    }

    pub(crate) fn down(&self, node: &str) {
        self.down_after(node, 0);
    }

    /// The node answers so many more messages, and then none.
    pub(crate) fn down_after(&self, node: &str, messages: u32) {
        self.net.down.lock().unwrap().insert(id(node), messages);
    }

    pub(crate) fn up(&self, node: &str) {
        self.net.down.lock().unwrap().remove(&id(node));
    }

    /// A caller at a node, in the role that the node believes to have.
    pub(crate) fn at(&self, node: &'static str, access: Access) -> Caller {
        let (epoch, owners) = self.net.tables.lock().unwrap()[&id(node)].clone();
        let role = if *owners.primary() == id(node) { Role::Primary } else { Role::Replica };
        let grant = Grant { space: Space::new("acme").unwrap(), role, epoch, valid_until: None };
        let kv = Arc::clone(&self.nodes[node].kv);
        Caller {
            kv,
            grant,
            access,
            key: None,
            max_age: None,
            patience: Duration::from_secs(20),
            declined: Arc::default(),
        }
    }

    pub(crate) fn primary(&self) -> Caller {
        self.at("n1", Access::Write)
    }
}

/// A call as the router makes it.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) kv: Arc<Kv>,
    pub(crate) grant: Grant,
    pub(crate) access: Access,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) patience: Duration,
    pub(crate) declined: Arc<Mutex<Option<Declined>>>,
}

#[derive(Debug)]
pub(crate) enum Failed {
    Status(Status),
    Declined(Declined),
}

impl Failed {
    pub(crate) fn status(self) -> (Code, String) {
        match self {
            Self::Status(status) => (status.code(), status.message().to_owned()),
            Self::Declined(declined) => panic!("{declined}"),
        }
    }

    pub(crate) fn declined(self) -> Declined {
        match self {
            Self::Declined(declined) => declined,
            Self::Status(status) => panic!("{status}"),
        }
    }
}

impl Caller {
    pub(crate) fn patience(self, millis: u64) -> Self {
        Self { patience: Duration::from_millis(millis), ..self }
    }

    pub(crate) fn key(self, n: u64) -> Self {
        Self { key: Some(idempotency_key(n)), ..self }
    }

    pub(crate) fn max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// How old the answer to a read of `key` says it may be.
    pub(crate) async fn age(&self, key: &str) -> Result<Option<Duration>, Failed> {
        let request = GetRequest { key: key.to_owned().into() };
        let response = self.client().get(request).await.map_err(|status| self.failed(status))?;
        let age = response.metadata().get("homing-age-ms").map(|age| age.to_str().unwrap().parse().unwrap());
        Ok(age.map(Duration::from_millis))
    }

    pub(crate) fn space(self, space: &str) -> Self {
        Self { grant: Grant { space: Space::new(space).unwrap(), ..self.grant }, ..self }
    }

    pub(crate) fn client(&self) -> KvClient<Self> {
        KvClient::new(self.clone())
    }

    pub(crate) fn failed(&self, status: Status) -> Failed {
        self.declined.lock().unwrap().take().map_or(Failed::Status(status), Failed::Declined)
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Result<Version, Failed> {
        let request = PutRequest { key: key.to_owned().into(), value: value.to_owned().into() };
        let response = self.client().put(request).await.map_err(|status| self.failed(status))?;
        Ok(response.into_inner().version.unwrap())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<(String, Version)>, Failed> {
        let request = GetRequest { key: key.to_owned().into() };
        let response = self.client().get(request).await.map_err(|status| self.failed(status))?.into_inner();
        let value = || String::from_utf8(response.value.to_vec()).unwrap();
        Ok(response.found.then(|| (value(), response.version.unwrap())))
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<bool, Failed> {
        let request = DeleteRequest { key: key.to_owned().into() };
        let response = self.client().delete(request).await.map_err(|status| self.failed(status))?;
        Ok(response.into_inner().found)
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys = Vec::<String>::new();
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            let request = ListRequest { prefix: Bytes::new(), after: after.into(), limit: 0 };
            let page = self.client().list(request).await.unwrap().into_inner();
            keys.extend(page.items.iter().map(|item| String::from_utf8(item.key.to_vec()).unwrap()));
            if !page.more {
                return keys;
            }
        }
    }
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for Caller {
    type Response = http::Response<Body>;
    type Error = Declined;
    type Future = BoxFuture<'static, Result<Self::Response, Declined>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Declined>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let caller = self.clone();
        Box::pin(async move {
            let deadline = Instant::now() + caller.patience;
            let granted = Granted {
                grant: caller.grant,
                access: caller.access,
                deadline,
                reply_by: deadline,
                idempotency_key: caller.key,
                max_age: caller.max_age,
                request: request.map(Body::new),
            };
            caller.kv.call(granted).await.inspect_err(|declined| {
                *caller.declined.lock().unwrap() = Some(declined.clone());
            })
        })
    }
}

/// What a node holds in its log, as a replica of n1 would say.
pub(crate) async fn logged(cluster: &Cluster, node: &str) -> Option<Standing> {
    let request = Request { space: space(), epoch: Epoch::new(1), kind: RequestKind::Ask };
    let replica = cluster.net.replicas.lock().unwrap()[&id(node)].clone();
    let reply = replica.call(id("n1"), request.encode()).await.unwrap();
    decode_reply(reply).unwrap().ok().filter(|standing| standing.last.seq > 0)
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"));
}
