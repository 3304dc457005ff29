//! One message in, one message out: what callers ask most often, read and written
//! without what tonic needs for streams and compression besides.
//!
//! Whatever is not plain (a message that is compressed, in pieces, missing, or cannot be
//! read) goes to tonic as it came, which knows all that can be wrong with it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use prost::Message;
use tonic::{
    Response, Status,
    body::Body,
    codegen::{
        Body as HttpBody, Bytes,
        http::{self, HeaderMap, HeaderValue, header::CONTENT_TYPE},
    },
};

use super::{backwards::Backwards, convert::quota::write_decided, operation::Answered};

/// Whether a message is compressed, and its length in four bytes.
const PREFIX: usize = 5;

/// What most answers fit into.
const ANSWER_BYTES: usize = 512;

/// A request's message, if it is plain and has at most `most` bytes; else what was read
/// of it. With headers that say of an encoding it may be compressed. The request stays
/// where it is: it is large, and this waits for its message.
pub async fn read<M, B>(
    request: &mut http::Request<B>,
    is_encoded: bool,
    most: usize,
) -> Result<M, Read<B>>
where
    M: Message + Default,
    B: HttpBody<Data = Bytes> + Unpin,
{
    if is_encoded {
        return Err([None, None]);
    }
    let body = request.body_mut();
    let first = body.frame().await;
    let data = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    let Some(message) = data.and_then(|data| message(data, most)) else {
        return Err([first, None]);
    };
    if body.is_end_stream() {
        return Ok(message);
    }
    // Trailers would be read by nobody, and a second message is one too many.
    let message = Box::new(message);
    match body.frame().await {
        None => Ok(*message),
        second => Err([first, second]),
    }
}

/// The request as it came, of which some was read.
pub fn unread<B: HttpBody>(request: http::Request<B>, read: Read<B>) -> http::Request<Unread<B>> {
    request.map(|rest| Unread { read, rest })
}

/// The message, if this is one, whole and alone.
fn message<M: Message + Default>(data: &Bytes, most: usize) -> Option<M> {
    let (prefix, message) = data.split_at_checked(PREFIX)?;
    let (compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let is_plain = *compressed == 0 && message.len() <= most;
    (is_plain && u32::try_from(message.len()) == Ok(length)).then(|| M::decode(message).ok())?
}

/// A frame of a body; `None`: nothing more.
type Came<B> = Option<Result<Frame<<B as HttpBody>::Data>, <B as HttpBody>::Error>>;

/// The first frames of a body.
pub type Read<B> = [Came<B>; 2];

/// The body of a request of which some was read: that comes again.
pub struct Unread<B: HttpBody> {
    read: Read<B>,
    rest: B,
}

impl<B> HttpBody for Unread<B>
where
    B: HttpBody<Data: Unpin, Error: Unpin> + Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.read.iter_mut().find_map(Option::take) {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.iter().all(Option::is_none) && self.rest.is_end_stream()
    }
}

/// An answer as it is sent. An error is one without a message.
pub fn write<A: Answer>(answer: Result<Response<A>, Status>) -> http::Response<Sent> {
    let (metadata, message, _) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(status) => return status.into_http(),
    };
    let message = match framed(message) {
        Ok(message) => message,
        Err(status) => return status.into_http(),
    };
    let mut response = http::Response::new(Sent::Message(message));
    *response.headers_mut() = metadata.into_headers();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A message behind its prefix.
fn framed(answer: impl Answer) -> Result<Bytes, Status> {
    let mut out = Backwards::with_room(ANSWER_BYTES);
    answer.write(&mut out);
    let length = u32::try_from(out.len())
        .map_err(|_| Status::internal("the answer is longer than an answer may be"))?;
    out.raw(&length.to_be_bytes());
    out.raw(&[0]);
    Ok(out.into_bytes())
}

/// What an answer says.
pub trait Answer {
    /// Writes its message.
    fn write(self, out: &mut Backwards);
}

impl<M: Message> Answer for M {
    fn write(self, out: &mut Backwards) {
        out.raw(&self.encode_to_vec());
    }
}

impl Answer for Answered {
    fn write(self, out: &mut Backwards) {
        match self {
            Self::Here(decided) => write_decided(out, decided),
            Self::There(message) => message.write(out),
        }
    }
}

/// The body of an answer: its message, and that all went well; or what a service of
/// tonic's has made.
#[derive(Debug, Default)]
pub enum Sent {
    /// A message comes, and the status after it.
    Message(Bytes),
    /// The message is gone; the status comes.
    Trailers,
    /// No more comes.
    #[default]
    Ended,
    /// Whatever it is.
    Any(Body),
}

impl From<Body> for Sent {
    fn from(body: Body) -> Self {
        Self::Any(body)
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Self::Any(body) = &mut *self {
            return Pin::new(body).poll_frame(context);
        }
        let frame = match std::mem::take(&mut *self) {
            Self::Message(bytes) => {
                *self = Self::Trailers;
                Some(Frame::data(bytes))
            }
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Some(Frame::trailers(trailers))
            }
            Self::Ended | Self::Any(_) => None,
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(_) | Self::Trailers => false,
            Self::Ended => true,
            Self::Any(body) => body.is_end_stream(),
        }
    }

    /// Of a message as of a stream: no length stands before it.
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Any(body) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::proto::v1::ReleaseRequest;

    /// A body of frames that are there.
    #[derive(Debug)]
    struct Frames(VecDeque<Result<Frame<Bytes>, String>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = String;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn data(bytes: &[u8]) -> Result<Frame<Bytes>, String> {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    /// What was sent, for a comparison.
    async fn shown(mut body: impl HttpBody<Data = Bytes, Error = String> + Unpin) -> Vec<String> {
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(format!("{frame:?}"));
        }
        frames
    }

    /// Reads a body that comes in these frames; if it is not plain, it comes again.
    async fn check(
        is_encoded: bool,
        frames: impl Fn() -> Vec<Result<Frame<Bytes>, String>>,
        is_plain: bool,
    ) {
        let body = || Frames(frames().into());
        let mut request = http::Request::new(body());
        match read::<ReleaseRequest, _>(&mut request, is_encoded, 10).await {
            Ok(message) => {
                assert!(is_plain, "{:?}", frames());
                assert_eq!(message.permit_id, "abc");
            }
            Err(read) => {
                assert!(!is_plain, "{:?}", frames());
                let unread = unread(request, read).into_body();
                assert_eq!(shown(unread).await, shown(body()).await);
            }
        }
    }

    #[tokio::test]
    async fn a_plain_message_is_read_and_anything_else_comes_again() {
        let plain = b"\0\0\0\0\x05\x0a\x03abc";
        check(false, || vec![data(plain)], true).await;
        check(true, || vec![data(plain)], false).await;
        check(false, Vec::new, false).await;
        check(false, || vec![data(b"")], false).await;
        check(false, || vec![data(&plain[..3])], false).await;
        check(false, || vec![data(&plain[..7]), data(&plain[7..])], false).await;
        check(false, || vec![data(plain), data(plain)], false).await;
        check(false, || vec![data(plain), Ok(Frame::trailers(HeaderMap::new()))], false).await;
        check(false, || vec![data(plain), Err("reset".to_owned())], false).await;
        check(false, || vec![Err("reset".to_owned())], false).await;
        check(false, || vec![data(b"\x01\0\0\0\x05\x0a\x03abc")], false).await;
        check(false, || vec![data(b"\0\0\0\0\x04\x0a\x03abc")], false).await;
        check(false, || vec![data(b"\0\0\0\0\x05\x0a\x04abc")], false).await;
        check(false, || vec![data(b"\0\0\0\0\x0c\x0a\x0aabcdefghij")], false).await;
    }

    #[tokio::test]
    async fn an_answer_is_a_message_and_the_status_after_it() {
        let mut answer =
            Response::new(ReleaseRequest { permit_id: "abc".into(), ..Default::default() });
        answer.metadata_mut().insert("who", "me".parse().expect("a value"));
        let response = write(Ok(answer));
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(response.headers()["who"], "me");
        let body = response.into_body().collect().await.expect("it is there");
        assert_eq!(body.trailers().expect("they are there")["grpc-status"], "0");
        assert_eq!(&*body.to_bytes(), b"\0\0\0\0\x05\x0a\x03abc");
        let refused = write::<ReleaseRequest>(Err(Status::not_found("no")));
        assert_eq!(refused.headers()["grpc-status"], "5");
    }
}
