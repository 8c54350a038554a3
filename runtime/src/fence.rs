//! A fence before the apiserver: past its deadline no byte leaves this process through it.
//!
//! ```text
//!  leader task ──open_until(moment)──▶ Fence (one atomic number)
//!                                        │ asked before each write to the socket
//!  request ─▶ HTTP ─▶ TLS ─▶ FencedStream ─▶ TCP        refused: "this process may not write any more"
//! ```
//! Asking "do I lead?" before a request is not enough: a process can be stopped between the question and the request. Here
//! the question is asked at the socket, right before the kernel gets the bytes.

use std::io::{Error, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::clock::Moment;

/// What a refused write fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sent: this process does not lead any more")]
pub struct Fenced;

/// Until when writes may leave. Clones share it; a new one is closed.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    until: Arc<AtomicU64>,
}

impl Fence {
    /// A closed fence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets writes pass until this moment.
    pub fn open_until(&self, moment: Moment) {
        self.until.store(moment.nanos(), Ordering::SeqCst);
    }

    /// Lets nothing pass any more.
    pub fn close(&self) {
        self.open_until(Moment::default());
    }

    /// Until when writes may leave.
    pub fn deadline(&self) -> Moment {
        Moment::from_nanos(self.until.load(Ordering::SeqCst))
    }

    /// Fails when nothing may leave at this moment.
    ///
    /// # Errors
    /// [`Fenced`]
    pub fn check(&self) -> Result<(), Fenced> {
        if Moment::now() < self.deadline() { Ok(()) } else { Err(Fenced) }
    }
}

/// Whether an error comes from a fence, anywhere in its chain of causes.
pub fn is_fenced(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An io::Error does not show what it wraps as its cause.
        let wrapped = error.downcast_ref::<Error>().and_then(Error::get_ref).is_some_and(|inner| inner.is::<Fenced>());
        if wrapped || error.is::<Fenced>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Makes TCP connections that ask a fence, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct FencedConnector {
    pub(crate) tcp: HttpConnector,
    pub(crate) fence: Option<Fence>,
}

impl Service<Uri> for FencedConnector {
    type Response = TokioIo<FencedStream<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let fence = self.fence.clone();
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            if fence.is_some() {
                // What the kernel still holds when this process ends is dropped, not delivered later.
                tcp.set_zero_linger()?;
            }
            Ok(TokioIo::new(FencedStream { inner: tcp, fence }))
        })
    }
}

/// A stream whose writes ask the fence.
#[derive(Debug)]
pub(crate) struct FencedStream<S> {
    inner: S,
    fence: Option<Fence>,
}

impl<S> FencedStream<S> {
    fn check(&self) -> Result<(), Error> {
        match &self.fence {
            Some(fence) => fence.check().map_err(|fenced| Error::new(ErrorKind::PermissionDenied, fenced)),
            None => Ok(()),
        }
    }
}

impl<S: Connection> Connection for FencedStream<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FencedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FencedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // TCP has nothing to flush; whatever sits above writes through poll_write.
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_new_fence_is_closed_and_clones_share_it() {
        let fence = Fence::new();
        assert_eq!(fence.check(), Err(Fenced));
        let other = fence.clone();
        other.open_until(Moment::now() + Duration::from_secs(60));
        assert_eq!(fence.check(), Ok(()));
        other.close();
        assert_eq!(fence.check(), Err(Fenced));
    }

    #[tokio::test]
    async fn past_the_deadline_not_a_byte_leaves() {
        let (near, mut far) = tokio::io::duplex(64);
        let fence = Fence::new();
        let mut stream = FencedStream { inner: near, fence: Some(fence.clone()) };
        fence.open_until(Moment::FAR_FUTURE);
        stream.write_all(b"before").await.unwrap();
        fence.open_until(Moment::now());
        let error = stream.write_all(b"after").await.unwrap_err();
        assert!(is_fenced(&error), "{error}");
        drop(stream);
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived, b"before");
    }

    #[test]
    fn other_errors_are_not_the_fences() {
        assert!(!is_fenced(&Error::other("refused")));
    }
}
