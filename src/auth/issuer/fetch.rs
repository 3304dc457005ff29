//! Asks an issuer for its keys.

use std::{fs::File, io::Read as _, path::PathBuf};

use http_body_util::Full;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    auth::keys::{self, KeySet},
    config::{KeySource, OidcConfig},
    https::{Bytes, HttpsClient, Request, StatusCode, Uri, header, keeps_secrets},
};

/// Where an issuer says what it is (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The longest file that is read, in bytes: certificates, keys, a token.
const MOST_FILE: usize = keys::MOST_BYTES;

/// The keys, now. Files are read each time: Kubernetes replaces them.
///
/// # Errors
/// Why there are none; the sentence holds no secret.
pub async fn fetch(config: &OidcConfig) -> Result<KeySet, String> {
    if let KeySource::File(path) = &config.keys {
        return KeySet::parse(&read(path.clone()).await?);
    }
    let session = Session::open(config).await?;
    let address = match &config.keys {
        KeySource::Uri(uri) => uri.clone(),
        KeySource::File(_) | KeySource::Discovery => discover(&session, config).await?,
    };
    KeySet::parse(&session.get(&address).await?)
}

/// Where the issuer says that its keys are. An answer of anybody else's is none: it
/// must say that it is this issuer's (section 4.3).
async fn discover(session: &Session, config: &OidcConfig) -> Result<String, String> {
    let address = format!("{}{DISCOVERY}", config.issuer.trim_end_matches('/'));
    let answer = session.get(&address).await?;
    let document: Value = serde_json::from_slice(&answer)
        .map_err(|_| format!("what {address} answers is not JSON"))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(&config.issuer) {
        return Err(format!("{address} is about another issuer: write it as it stands there"));
    }
    let uri = text("jwks_uri").ok_or_else(|| format!("{address} names no `jwks_uri`"))?;
    Ok(uri.to_owned())
}

/// The way to an issuer.
struct Session {
    client: HttpsClient,
    /// What proves who asks.
    authorization: Option<header::HeaderValue>,
}

impl Session {
    async fn open(config: &OidcConfig) -> Result<Self, String> {
        let roots = match &config.ca_file {
            Some(path) => Some(read(path.clone()).await?),
            None => None,
        };
        // The system's roots are files, too.
        let client = spawn_blocking(move || match roots {
            Some(pem) => HttpsClient::trusting(super::PATIENCE, &pem),
            None => HttpsClient::new(super::PATIENCE),
        });
        let client = client.await.map_err(|error| error.to_string())?;
        let client = client.map_err(|error| format!("no certificates to trust: {error}"))?;
        let authorization = match &config.token_file {
            Some(path) => Some(bearer(&read(path.clone()).await?, path.display())?),
            None => None,
        };
        Ok(Self { client, authorization })
    }

    /// Gets a document. The token goes to the issuer, which is whom it is for, and
    /// to where the issuer says that its keys are, but nowhere in the clear.
    async fn get(&self, address: &str) -> Result<Bytes, String> {
        let uri: Uri = address.parse().map_err(|_| format!("{address} is no address"))?;
        if !keeps_secrets(&uri) {
            return Err(format!("{address} must begin with https://"));
        }
        let mut request = Request::get(uri).header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::default()).map_err(|error| error.to_string())?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| format!("{address}: {error}"))?;
        if answer.status != StatusCode::OK {
            return Err(format!("{address} answers {}", answer.status));
        }
        Ok(answer.body)
    }
}

fn bearer(token: &[u8], place: impl std::fmt::Display) -> Result<header::HeaderValue, String> {
    let text = [b"Bearer ", token.trim_ascii()].concat();
    let mut value = header::HeaderValue::from_bytes(&text)
        .map_err(|_| format!("{place} does not hold a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a file, bounded, off the threads that serve.
async fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    let place = path.display().to_string();
    let bound = u64::try_from(MOST_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let read = spawn_blocking(move || {
        let mut bytes = Vec::new();
        File::open(path)?.take(bound).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = read.await.map_err(|error| error.to_string())?;
    let bytes = bytes.map_err(|error| format!("{place}: {error}"))?;
    if bytes.len() > MOST_FILE {
        return Err(format!("{place} is longer than {MOST_FILE} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
