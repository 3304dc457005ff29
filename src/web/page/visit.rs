//! A visit to a page: who looks, and what the URL asks for.

use std::{collections::HashMap, convert::Infallible};

use axum::{
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{Uri, request::Parts},
    response::Response,
};
use tonic::Code;

use super::{
    accepts,
    frame::{Frame, Section},
    live::Key,
    refusal,
};
use crate::{
    auth::Caller,
    web::{
        admit::BySession,
        call::{Call, Context},
        status::refuse,
    },
};

/// What a stream of events is called.
pub const EVENTS: &str = "text/event-stream";

/// Who looks at what.
#[derive(Clone, Debug)]
pub struct Visit {
    context: Context,
    caller: Caller,
    by_session: bool,
    uri: Uri,
    query: HashMap<String, String>,
    wants_stream: bool,
}

impl Visit {
    /// A message for a service, in the visitor's name.
    pub fn request<M>(&self, message: M) -> tonic::Request<M> {
        self.context.clone().request(message)
    }

    /// Who looks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What the URL's query says under a name; empty where it says nothing.
    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The path of the URL, without its query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The head and foot of a page of this title.
    pub fn frame(&self, title: impl Into<String>, section: Section) -> Frame {
        Frame::new(title, section, &self.caller, self.by_session)
    }

    /// True if the page is to be followed.
    pub fn wants_stream(&self) -> bool {
        self.wants_stream
    }

    /// What is the same for all who are shown the same.
    pub fn key(&self) -> Key {
        let view = self.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        Key { view, rights: self.caller.rights() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let Ok(context) = Context::from_request_parts(parts, state).await;
        let query =
            Query::try_from_uri(&parts.uri).map_or_else(|_| HashMap::new(), |Query(all)| all);
        let Parts { headers, extensions, uri, .. } = parts;
        Ok(Self {
            context,
            // Whoever was not let in is nobody, and nobody may do anything.
            caller: extensions.get().cloned().unwrap_or_else(Caller::nobody),
            by_session: extensions.get::<BySession>().is_some(),
            uri: uri.clone(),
            query,
            wants_stream: accepts(headers, EVENTS),
        })
    }
}

/// A link among several, of which one leads to where one is.
pub struct Tab {
    /// What it is called.
    pub name: &'static str,
    /// Where it leads.
    pub url: String,
    /// It is this page.
    pub is_here: bool,
}

/// A form that somebody has sent.
pub struct Form {
    /// Who.
    pub visit: Visit,
    fields: HashMap<String, String>,
}

impl Form {
    /// What stands in a field, without blanks around it; empty where nothing does.
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.trim())
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(visit) = Visit::from_request_parts(&mut parts, state).await;
        let Call { body, .. } = Call::from_request(Request::from_parts(parts, body), state).await?;
        // A form is written like a query.
        let uri = std::str::from_utf8(&body).ok().and_then(|form| {
            let uri: Result<Uri, _> = format!("/?{form}").parse();
            uri.ok()
        });
        let fields = uri.and_then(|uri| Query::<HashMap<_, _>>::try_from_uri(&uri).ok());
        let Some(Query(fields)) = fields else {
            let refused = refuse(Code::InvalidArgument, "BAD_FORM", "This is not a form.");
            let frame = visit.frame(refusal::title(&refused), Section::None);
            return Err(refusal::answer(&refused, frame));
        };
        Ok(Self { visit, fields })
    }
}
