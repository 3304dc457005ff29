//! The spans of requests that come by HTTP.

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

use crate::{
    rpc::{Seen, log_span},
    trace::{self, Traces},
};

/// Records a request to the API, if it is to be recorded.
pub async fn traced(State(traces): State<Traces>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("/api", MatchedPath::as_str);
    let name = format!("{} {route}", request.method());
    let span = traces.serve_http(&name, request.method().as_str(), route, request.headers());
    let log = log_span(&name, request.headers(), Seen::among(request.headers()), &span);
    if !span.is_recorded() {
        return next.run(request).instrument(log).await;
    }
    let answer = async {
        let response = next.run(request).await;
        let (span, status) = (trace::Span::current(), response.status());
        span.count("http.response.status_code", status.as_u16().into());
        if status.is_server_error() {
            span.fail(status.as_str());
        }
        response
    };
    span.within(answer).instrument(log).await
}
