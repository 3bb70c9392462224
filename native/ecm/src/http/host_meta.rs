//! Where a host's BOSH and WebSocket are (XEP-0156, RFC 6415). Sans-IO.

use bytes::Bytes;
use megaphone_http::RequestHead;
use megaphone_trunk::proxy::Tls;

use super::answer::Persistence;
use crate::config::{Config, HostMetaConfig};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `/.well-known/host-meta`
    Xml,
    /// `/.well-known/host-meta.json`
    Json,
}

/// How the client reaches this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Plain,
    /// With TLS, which may end at a proxy.
    Tls,
}

impl Scheme {
    /// Its TLS, where nothing more is known of it.
    pub fn tls(self) -> Option<Tls> {
        (self == Self::Tls).then(Tls::default)
    }
}

/// What is said of this program's URLs.
#[derive(Debug, Default)]
pub struct HostMeta {
    links: Vec<(Relation, Target)>,
}

/// What a link is for: a name registered by XEP-0156.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Bosh,
    WebSocket,
}

#[derive(Debug)]
enum Target {
    Url(String),
    /// On the host that the client asked.
    Path(String),
}

impl HostMeta {
    /// As configured.
    pub fn of(config: &Config) -> Self {
        let HostMetaConfig {
            bosh_url,
            websocket_url,
            ..
        } = &config.host_meta;
        let websocket_path = config.websocket.paths.first();
        let websocket = match websocket_url {
            Some(url) => Some(Target::Url(url.clone())),
            None if config.websocket.enabled => websocket_path.cloned().map(Target::Path),
            None => None,
        };
        let bosh = match bosh_url {
            Some(url) => Some(Target::Url(url.clone())),
            None if config.bosh.enabled => config.bosh.paths.first().cloned().map(Target::Path),
            None => None,
        };
        let links = [(Relation::Bosh, bosh), (Relation::WebSocket, websocket)];
        let links = links
            .into_iter()
            .filter_map(|(relation, target)| Some((relation, target?)));
        Self {
            links: links.collect(),
        }
    }

    /// The answer to a request. Pages of all origins may read it.
    pub fn answer(
        &self,
        head: &RequestHead,
        format: Format,
        scheme: Scheme,
        persistence: Persistence,
    ) -> Bytes {
        let (status, body) = match head.method() {
            "GET" | "HEAD" => {
                let host = head.header("Host").and_then(host);
                let links = self.links(host, scheme);
                match format {
                    Format::Xml => ("200 OK", to_xml(&links)),
                    Format::Json => ("200 OK", to_json(&links)),
                }
            }
            "OPTIONS" => ("204 No Content", String::new()),
            _ => ("405 Method Not Allowed", "ask with GET\n".to_owned()),
        };
        let content_type = match (status, format) {
            ("200 OK", Format::Xml) => "Content-Type: application/xrd+xml; charset=utf-8\r\n",
            ("200 OK", Format::Json) => "Content-Type: application/json\r\n",
            ("204 No Content", _) => "",
            _ => "Allow: GET, HEAD, OPTIONS\r\nContent-Type: text/plain; charset=utf-8\r\n",
        };
        let length = match status {
            "204 No Content" => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let connection = persistence.field();
        let body = match head.method() {
            "HEAD" => "",
            _ => &body,
        };
        Bytes::from(format!(
            "HTTP/1.1 {status}\r\n{content_type}{length}Access-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
             Access-Control-Allow-Headers: Content-Type\r\n{connection}\r\n{body}"
        ))
    }

    /// The relations and URLs. What is not configured needs the host that was asked for.
    fn links(&self, host: Option<&str>, scheme: Scheme) -> Vec<(&'static str, String)> {
        let links = self.links.iter().filter_map(|(relation, target)| {
            let url = match target {
                Target::Url(url) => url.clone(),
                Target::Path(path) => format!("{}://{}{path}", relation.scheme(scheme), host?),
            };
            Some((relation.name(), url))
        });
        links.collect()
    }
}

impl Relation {
    const fn name(self) -> &'static str {
        match self {
            Self::Bosh => "urn:xmpp:alt-connections:xbosh",
            Self::WebSocket => "urn:xmpp:alt-connections:websocket",
        }
    }

    const fn scheme(self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Bosh, Scheme::Plain) => "http",
            (Self::Bosh, Scheme::Tls) => "https",
            (Self::WebSocket, Scheme::Plain) => "ws",
            (Self::WebSocket, Scheme::Tls) => "wss",
        }
    }
}

/// A Host field's value, if it is one that can stand in a URL.
fn host(value: &[u8]) -> Option<&str> {
    let of_host = |c: &u8| c.is_ascii_alphanumeric() || b".-_:[]".contains(c);
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty() && value.iter().all(of_host)).then_some(text)
}

fn to_xml(links: &[(&str, String)]) -> String {
    let mut xml = String::from(
        "<?xml version='1.0' encoding='utf-8'?>\n\
         <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n",
    );
    for (relation, url) in links {
        let url = megaphone_xmpp::escape(url);
        xml.push_str(&format!("  <Link rel='{relation}' href='{url}'/>\n"));
    }
    xml.push_str("</XRD>\n");
    xml
}

/// A URL has neither quotes nor backslashes nor control characters: the configuration is held to that.
fn to_json(links: &[(&str, String)]) -> String {
    let links: Vec<_> = links
        .iter()
        .map(|(relation, url)| format!("{{\"rel\":\"{relation}\",\"href\":\"{url}\"}}"))
        .collect();
    format!("{{\"links\":[{}]}}\n", links.join(","))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use megaphone_http::{Event, Limits, RequestDecoder};

    use super::*;

    fn head(method: &str, host: &str) -> RequestHead {
        let request = format!("{method} /.well-known/host-meta HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut input = BytesMut::from(request.as_str());
        match RequestDecoder::new(Limits::default()).decode(&mut input) {
            Ok(Some(Event::Head(head))) => head,
            other => panic!("expected a head, got {other:?}"),
        }
    }

    fn answer(config: &Config, method: &str, host: &str, format: Format, scheme: Scheme) -> String {
        let head = head(method, host);
        let answer = HostMeta::of(config).answer(&head, format, scheme, Persistence::GoesOn);
        String::from_utf8(answer.to_vec()).unwrap()
    }

    #[test]
    fn urls_are_those_of_the_host_that_was_asked() {
        let config = Config::default();
        let xml = answer(&config, "GET", "a.example:5280", Format::Xml, Scheme::Plain);
        assert_eq!(
            xml,
            "HTTP/1.1 200 OK\r\nContent-Type: application/xrd+xml; charset=utf-8\r\n\
             Content-Length: 264\r\nAccess-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
             Access-Control-Allow-Headers: Content-Type\r\n\r\n\
             <?xml version='1.0' encoding='utf-8'?>\n\
             <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n  \
             <Link rel='urn:xmpp:alt-connections:xbosh' href='http://a.example:5280/bosh'/>\n  \
             <Link rel='urn:xmpp:alt-connections:websocket' href='ws://a.example:5280/ws'/>\n\
             </XRD>\n"
        );
        let json = answer(&config, "GET", "a.example", Format::Json, Scheme::Tls);
        assert!(
            json.ends_with(
                "\r\n\r\n{\"links\":[{\"rel\":\"urn:xmpp:alt-connections:xbosh\",\
                 \"href\":\"https://a.example/bosh\"},\
                 {\"rel\":\"urn:xmpp:alt-connections:websocket\",\
                 \"href\":\"wss://a.example/ws\"}]}\n"
            ),
            "{json}"
        );
    }

    #[test]
    fn urls_that_are_configured_are_said_as_they_are() {
        let mut config = Config::default();
        config.host_meta.bosh_url = Some("https://b/bosh?a&b".to_owned());
        config.host_meta.websocket_url = Some("wss://w/ws".to_owned());
        let xml = answer(&config, "GET", "a", Format::Xml, Scheme::Plain);
        for link in [
            "<Link rel='urn:xmpp:alt-connections:xbosh' href='https://b/bosh?a&amp;b'/>",
            "<Link rel='urn:xmpp:alt-connections:websocket' href='wss://w/ws'/>",
        ] {
            assert!(xml.contains(link), "{xml}");
        }
        let json = answer(&config, "GET", "a", Format::Json, Scheme::Plain);
        assert!(json.contains("\"href\":\"https://b/bosh?a&b\""), "{json}");
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        for (value, expected) in [
            (&b"a.example:5280"[..], Some("a.example:5280")),
            (b"[::1]:80", Some("[::1]:80")),
            (b"", None),
            (b"a'/><x y='", None),
            (b"a\"b", None),
            (b"a/b", None),
            (b"a\xe9", None),
        ] {
            assert_eq!(host(value), expected, "{value:?}");
        }
        let json = answer(
            &Config::default(),
            "GET",
            "a'b",
            Format::Json,
            Scheme::Plain,
        );
        assert!(json.ends_with("\r\n\r\n{\"links\":[]}\n"), "{json}");
    }

    #[test]
    fn other_methods() {
        let config = Config::default();
        let answer = |method| answer(&config, method, "a", Format::Xml, Scheme::Plain);
        assert!(answer("HEAD").ends_with("\r\n\r\n"));
        assert!(answer("HEAD").starts_with("HTTP/1.1 200 "));
        assert!(answer("OPTIONS").starts_with("HTTP/1.1 204 "));
        assert!(answer("POST").starts_with("HTTP/1.1 405 "));
    }
}
