//! `homing kv`: the reference service, called as any client would.

use std::error::Error as _;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use homing::{Access, Client, ClientError, IdempotencyKey, Space, headers};
use homing_kv::proto::kv_client::KvClient;
use homing_kv::proto::{DeleteRequest, GetRequest, ListRequest, PutRequest, Version};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use crate::cli::{Asked, KvArgs, KvCommand, Output, ReadArgs};
use crate::entry::Entry;
use crate::{ask, clock, output};

/// Runs one call. Exits with 1 if a key that was asked for isn't there.
pub(crate) async fn run(args: KvArgs, asked: &Asked) -> Result<ExitCode> {
    let kv = Kv::new(ask::entry(asked).await?, Duration::from_millis(args.timeout_ms))?;
    let answer = match args.command {
        KvCommand::Put { space, key, value, idempotency_key } => {
            kv.put(space.as_str(), &key, value, idempotency_key).await?
        }
        KvCommand::Get { space, key, read } => kv.get(space.as_str(), &key, &read).await?,
        KvCommand::Del { space, key, idempotency_key } => {
            kv.delete(space.as_str(), &key, idempotency_key).await?
        }
        KvCommand::List { space, prefix, read } => {
            return kv.list(space.as_str(), &prefix, &read, asked.output).await;
        }
    };
    match asked.output {
        Output::Json => output::say_json(&answer.document)?,
        Output::Table => answer.print(),
    }
    Ok(if answer.found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One real read through a client listener, of a space that nobody needs.
pub(crate) async fn probe(entry: &Entry) -> Result<()> {
    let kv = Kv::new(entry.clone(), Duration::from_secs(2))?;
    kv.get("homing", "probe", &ReadArgs { primary: false, max_age_ms: None }).await.map(drop)
}

/// How much later than its timeout a call is given up here: who hangs can't even say that the time is over.
const GRACE: Duration = Duration::from_secs(1);

struct Kv {
    entry: Entry,
    client: KvClient<Client>,
    timeout: Duration,
}

struct Answer {
    document: Map<String, Value>,
    value: Option<Bytes>,
    found: bool,
}

impl Kv {
    fn new(entry: Entry, timeout: Duration) -> Result<Self> {
        let limit = 2 * homing_kv::MAX_VALUE;
        let client = KvClient::new(entry.client()?).max_decoding_message_size(limit);
        Ok(Self { entry, client, timeout })
    }

    async fn put(
        &self,
        space: &str,
        key: &str,
        value: String,
        name: Option<IdempotencyKey>,
    ) -> Result<Answer> {
        let value = if value == "-" { stdin()? } else { value.into_bytes() };
        let value = Bytes::from(value);
        let message = PutRequest { key: bytes(key), value: value.clone() };
        let request = self.write(space, message, name.map(|name| name.to_string()))?;
        let response = self.bounded(self.client.clone().put(request)).await?;
        let version = response.get_ref().version;
        let mut document = document(space, key, version, response.metadata());
        document.insert("value".to_owned(), text(&value));
        Ok(Answer { document, value: None, found: true })
    }

    async fn get(&self, space: &str, key: &str, read: &ReadArgs) -> Result<Answer> {
        let request = self.read(space, read, GetRequest { key: bytes(key) })?;
        let response = self.bounded(self.client.clone().get(request)).await?;
        let message = response.get_ref();
        let mut document = document(space, key, message.version, response.metadata());
        let value = message.found.then(|| message.value.clone());
        document.insert("value".to_owned(), value.as_deref().map_or(Value::Null, text));
        Ok(Answer { document, found: value.is_some(), value })
    }

    async fn delete(&self, space: &str, key: &str, name: Option<IdempotencyKey>) -> Result<Answer> {
        let request =
            self.write(space, DeleteRequest { key: bytes(key) }, name.map(|name| name.to_string()))?;
        let response = self.bounded(self.client.clone().delete(request)).await?;
        let message = response.get_ref();
        let mut document = document(space, key, message.version, response.metadata());
        document.insert("found".to_owned(), message.found.into());
        Ok(Answer { document, value: None, found: true })
    }

    /// Prints page after page, so that a large space needs no large memory; as JSON in one document.
    async fn list(&self, space: &str, prefix: &str, read: &ReadArgs, output: Output) -> Result<ExitCode> {
        let mut items = Vec::new();
        let mut after = Bytes::new();
        loop {
            let message = ListRequest { prefix: bytes(prefix), after, limit: 0 };
            let request = self.read(space, read, message)?;
            let page = self.bounded(self.client.clone().list(request)).await?.into_inner();
            for item in &page.items {
                match output {
                    Output::Table => output::say(&String::from_utf8_lossy(&item.key)),
                    Output::Json => items.push(json!({
                        "key": text(&item.key),
                        "version": version_text(item.version),
                        "size": item.size,
                    })),
                }
            }
            match page.items.last() {
                Some(last) if page.more => after = last.key.clone(),
                _ => break,
            }
        }
        if output == Output::Json {
            output::say_json(&json!({ "space": space, "prefix": prefix, "items": items }))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The answer to a call, within bounds whatever the node does.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Response<T>> {
        let bound = self.timeout + GRACE;
        match tokio::time::timeout(bound, call).await {
            Ok(answer) => answer.map_err(|status| self.entry.explain(explain(status))),
            Err(_) => bail!(
                "{} did not answer within {bound:?}: it hangs, or is cut off; a write may have been executed; \
                 ask another node with --node",
                self.entry
            ),
        }
    }

    /// A write bears a name, so that it may be tried again until it is answered.
    fn write<T>(&self, space: &str, message: T, name: Option<String>) -> Result<Request<T>> {
        let mut request = self.request(space, Access::Write, message)?;
        let name = match name {
            Some(name) => name.parse().context("--idempotency-key")?,
            None => new_key(),
        };
        request.metadata_mut().as_mut().insert(headers::IDEMPOTENCY_KEY, name.to_string().parse()?);
        Ok(request)
    }

    fn read<T>(&self, space: &str, read: &ReadArgs, message: T) -> Result<Request<T>> {
        let access = if read.primary { Access::ReadPrimary } else { Access::Read };
        let mut request = self.request(space, access, message)?;
        if let Some(max_age) = read.max_age_ms {
            request.metadata_mut().as_mut().insert(headers::MAX_AGE_MS, max_age.into());
        }
        Ok(request)
    }

    fn request<T>(&self, space: &str, access: Access, message: T) -> Result<Request<T>> {
        let space = Space::new(space)?;
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let said: &mut HeaderMap = request.metadata_mut().as_mut();
        said.insert(headers::ACCESS, HeaderValue::from_static(access.as_str()));
        headers::write_space(&space, said);
        Ok(request)
    }
}

impl Answer {
    /// For people: the value as it is if one was asked for, else how the call went.
    fn print(&self) {
        if let Some(value) = &self.value {
            output::say_bytes(value);
            if !value.ends_with(b"\n") {
                output::say("");
            }
            return;
        }
        if !self.found {
            output::complain("there is no such key");
            return;
        }
        let field = |name| self.document.get(name).map(plain).unwrap_or_default();
        output::say(&format!(
            "version {}, served by {} ({}), {}, epoch {}, {}",
            field("version"),
            field("served_by"),
            field("role"),
            counted(&field("hops"), "hop"),
            field("epoch"),
            counted(&field("attempts"), "attempt")
        ));
    }
}

fn counted(number: &str, what: &str) -> String {
    format!("{number} {what}{}", if number == "1" { "" } else { "s" })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn document(space: &str, key: &str, version: Option<Version>, metadata: &MetadataMap) -> Map<String, Value> {
    let answered: &HeaderMap = metadata.as_ref();
    let said = |name: HeaderName| answered.get(name).and_then(|value| value.to_str().ok());
    let number = |name: HeaderName| {
        said(name).and_then(|text| text.parse::<u64>().ok()).map_or(Value::Null, Value::from)
    };
    let word = |name: HeaderName| said(name).map_or(Value::Null, Value::from);
    let pairs = [
        ("space", space.into()),
        ("key", key.into()),
        ("version", version_text(version)),
        ("served_by", word(headers::SERVED_BY)),
        ("role", word(headers::ROLE)),
        ("age_ms", number(headers::AGE_MS)),
        ("hops", number(headers::HOPS)),
        ("epoch", number(headers::EPOCH)),
        ("attempts", number(headers::ATTEMPTS)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `epoch.seq`, which sorts as versions do within an epoch; null where there is none.
fn version_text(version: Option<Version>) -> Value {
    version.map_or(Value::Null, |version| format!("{}.{}", version.epoch, version.seq).into())
}

/// Bytes as JSON: text if they are UTF-8, else an object with their base64.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64(bytes) }),
    }
}

fn base64(bytes: &[u8]) -> String {
    let encoded = MetadataValue::from_bytes(bytes);
    String::from_utf8_lossy(encoded.as_encoded_bytes()).into_owned()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn stdin() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    let limit = homing_kv::MAX_VALUE as u64 + 1;
    std::io::stdin().take(limit).read_to_end(&mut value).context("can't read the value")?;
    if value.len() > homing_kv::MAX_VALUE {
        bail!("the value has more than {} bytes, the most a value may have", homing_kv::MAX_VALUE);
    }
    Ok(value)
}

/// A new name for a write.
fn new_key() -> IdempotencyKey {
    let millis = u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX);
    IdempotencyKey::new(millis, homing::random())
}

/// A status as one line. What Homing itself says needs no code beside it.
fn explain(status: Status) -> anyhow::Error {
    if let Some(error) = status.source().and_then(|source| source.downcast_ref::<ClientError>()) {
        return error.clone().into();
    }
    if status.message().is_empty() { anyhow!("{:?}", status.code()) } else { anyhow!("{}", status.message()) }
}
