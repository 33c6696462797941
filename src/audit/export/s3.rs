//! A bucket of S3, or of a server that speaks its API. Credentials, region and endpoint come from the usual variables
//! (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`). The connection is
//! ours: TLS as towards upstreams, and nothing without it.

use std::path::Path as FilePath;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt};
use rustls::ClientConfig;
use tokio::runtime::Runtime;

use super::place::{Place, Trouble};
use crate::upstream::client_config;
use crate::upstream::once::Server;

/// Time for one request: the largest is some tens of MiB.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest answer, bytes: a part that is read back.
const LONGEST: usize = 512 << 20;

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoBucket {
    /// Not of the form `s3://BUCKET/PREFIX`.
    #[error("`{0}` names no bucket: `s3://BUCKET/PREFIX`")]
    Name(String),
    /// The roots to trust, or the runtime.
    #[error("cannot set the connection up")]
    Setup(#[source] Trouble),
    /// What the variables say makes no sense.
    #[error("cannot use the bucket")]
    Settings(#[source] object_store::Error),
}

/// A prefix in a bucket.
pub struct S3 {
    runtime: Runtime,
    store: AmazonS3,
    prefix: String,
}

impl S3 {
    /// `url` is `s3://BUCKET/PREFIX`; `roots` a PEM file of the roots to trust instead of Mozilla's.
    pub fn open(url: &str, roots: Option<&FilePath>) -> Result<Self, NoBucket> {
        let named = url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let (bucket, prefix) =
            named.filter(|(bucket, _)| !bucket.is_empty()).ok_or_else(|| NoBucket::Name(url.to_owned()))?;
        let setup = |error: Trouble| NoBucket::Setup(error);
        let mut tls = (*client_config(roots).map_err(|error| setup(error.into()))?).clone();
        tls.alpn_protocols.clear();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| setup(error.into()))?;
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_http_connector(Connector(Arc::new(tls)))
            .build()
            .map_err(NoBucket::Settings)?;
        Ok(Self { runtime, store, prefix: prefix.trim_matches('/').to_owned() })
    }

    fn path(&self, name: &str) -> Result<Path, Trouble> {
        Ok(Path::parse(format!("{}/{name}", self.prefix).trim_start_matches('/'))?)
    }
}

impl Place for S3 {
    fn put(&mut self, name: &str, contents: Vec<u8>) -> Result<(), Trouble> {
        let path = self.path(name)?;
        // A bucket shows an object whole or not at all.
        self.runtime.block_on(self.store.put(&path, contents.into()))?;
        Ok(())
    }

    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, Trouble> {
        let path = self.path(name)?;
        let got = self.runtime.block_on(async { self.store.get(&path).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&mut self, name: &str) -> Result<(), Trouble> {
        let path = self.path(name)?;
        match self.runtime.block_on(self.store.delete(&path)) {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes our connections for the library.
#[derive(Debug)]
struct Connector(Arc<ClientConfig>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Arc<ClientConfig>);

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.ask(request))
    }
}

impl Service {
    async fn ask(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let refused = |what: &str| HttpError::new_boxed(HttpErrorKind::Unknown, what.into());
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("https") {
            return Err(refused("there is no plain HTTP: the endpoint must begin with `https://`"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let server = Server::new(host, uri.port_u16().unwrap_or(443), self.0.clone());
        let server = server.ok_or_else(|| refused("the endpoint's host is no name that a certificate can hold"))?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *request.uri_mut() = path.parse().map_err(|_| refused("the endpoint's path cannot be sent"))?;
        let answer = server.ask(request, LONGEST, LIMIT).await;
        let answer = answer.map_err(|error| HttpError::new_boxed(kind_of(&error), error))?;
        Ok(answer.map(HttpResponseBody::from))
    }
}

/// What the library may try again. A certificate that is not trusted will not be trusted the next time.
fn kind_of(error: &Trouble) -> HttpErrorKind {
    let found = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if found == Some(std::io::ErrorKind::InvalidData) { HttpErrorKind::Unknown } else { HttpErrorKind::Request }
}
