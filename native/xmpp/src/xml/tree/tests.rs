use super::*;

/// Writes what it is told, a line each.
#[derive(Default)]
struct Told(String);

impl Builder for Told {
    fn start(&mut self, name: &str) {
        self.0.push_str(&format!("<{name}\n"));
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.0.push_str(&format!("{name}={value:?}\n"));
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(&format!("{text:?}\n"));
    }

    fn end(&mut self) {
        self.0.push_str(">\n");
    }
}

#[track_caller]
fn told(document: &str, expected: &[&str]) {
    let mut told = Told::default();
    build(document.as_bytes(), &Limits::default(), 64, &mut told).unwrap();
    assert_eq!(told.0.lines().collect::<Vec<_>>(), expected, "{document}");
}

#[test]
fn elements_attributes_and_text() {
    told("<a/>", &["<a", ">"]);
    told("<?xml version='1.0'?> <a></a> ", &["<a", ">"]);
    told(
        "<a b='1' xmlns='u' c = \"2\" xmlns:p='v'>x<d xml:e='3' xmlns='u' /> y </a  >",
        &[
            "<a",
            "xmlns=\"u\"",
            "xmlns:p=\"v\"",
            "b=\"1\"",
            "c=\"2\"",
            "\"x\"",
            "<d",
            "xmlns=\"u\"",
            "xml:e=\"3\"",
            ">",
            "\" y \"",
            ">",
        ],
    );
}

#[test]
fn what_is_written_is_told_as_it_is_meant() {
    told(
        "<a b='&lt;&#9;\t&apos;>/'>&amp;x&#x41;\r\ny\rz&gt;</a>",
        &["<a", "b=\"<\\t '>/\"", "\"&xA\\ny\\nz>\"", ">"],
    );
    told(
        "<a>1<![CDATA[<b>&lt;\r\n]]]]>2&lt;<![CDATA[]]></a>",
        &["<a", "\"1<b>&lt;\\n]]2<\"", ">"],
    );
    told("<a><![CDATA[]]></a>", &["<a", ">"]);
}

/// What a document is told as, in the notation of XML.
#[track_caller]
fn respelt(document: &str, expected: &str) {
    let mut told = Written::default();
    let result = build(document.as_bytes(), &Limits::default(), 64, &mut told);
    assert_eq!(result, Ok(()), "{document}");
    assert_eq!(told.text, expected, "{document}");
}

#[derive(Default)]
struct Written {
    text: String,
    open: Vec<String>,
    within_tag: bool,
}

impl Written {
    fn tag_ends(&mut self) {
        if std::mem::take(&mut self.within_tag) {
            self.text.push('>');
        }
    }
}

impl Builder for Written {
    fn start(&mut self, name: &str) {
        self.tag_ends();
        self.text.push_str(&format!("<{name}"));
        self.open.push(name.to_owned());
        self.within_tag = true;
    }

    fn attribute(&mut self, name: &str, value: &str) {
        assert!(self.within_tag);
        self.text.push_str(&format!(" {name}='{value}'"));
    }

    fn text(&mut self, text: &str) {
        self.tag_ends();
        self.text.push_str(text);
    }

    fn end(&mut self) {
        self.tag_ends();
        let name = self.open.pop().unwrap();
        self.text.push_str(&format!("</{name}>"));
    }
}

#[test]
fn elements_are_told_of_without_prefix() {
    for (document, expected) in [
        ("<p:a xmlns:p='u'/>", "<a xmlns='u' xmlns:p='u'></a>"),
        (
            "<c:message xmlns:c='jabber:client' id='m'><c:body>x</c:body></c:message>",
            "<message xmlns='jabber:client' xmlns:c='jabber:client' id='m'><body>x</body></message>",
        ),
        // What is not prefixed stays in its own namespace.
        (
            "<iq xmlns='jabber:client'><q:query xmlns:q='u'><item/><q:item/></q:query><x/></iq>",
            "<iq xmlns='jabber:client'><query xmlns='u' xmlns:q='u'><item xmlns='jabber:client'></item>\
             <item></item></query><x></x></iq>",
        ),
        (
            "<p:a xmlns:p='u'><b/><p:c><b/></p:c></p:a>",
            "<a xmlns='u' xmlns:p='u'><b xmlns=''></b><c><b xmlns=''></b></c></a>",
        ),
        (
            "<a xmlns='u'><b xmlns=''><c/><d xmlns='u'/></b><e/></a>",
            "<a xmlns='u'><b xmlns=''><c></c><d xmlns='u'></d></b><e></e></a>",
        ),
        ("<a xmlns=''/>", "<a></a>"),
        // The default namespace that its own tag declares is that of what is in it.
        (
            "<p:a xmlns:p='u' xmlns='v'><b/></p:a>",
            "<a xmlns='u' xmlns:p='u'><b xmlns='v'></b></a>",
        ),
        // A prefix that is declared again, up to the end of its element.
        (
            "<p:a xmlns:p='u'><p:b xmlns:p='v'><p:c/></p:b><p:d/></p:a>",
            "<a xmlns='u' xmlns:p='u'><b xmlns='v' xmlns:p='v'><c></c></b><d></d></a>",
        ),
        // It can't be the default namespace.
        (
            "<xml:a xmlns='u'><b/></xml:a>",
            "<xml:a><b xmlns='u'></b></xml:a>",
        ),
    ] {
        respelt(document, expected);
    }
}

#[test]
fn attributes_keep_their_prefixes_and_declarations() {
    for (document, expected) in [
        (
            "<a xmlns:p='u' p:b='1' c='2' xml:lang='en'/>",
            "<a xmlns:p='u' p:b='1' c='2' xml:lang='en'></a>",
        ),
        (
            "<a xmlns:p='u' xmlns:q='v'><b p:c='1' q:c='2' p:d='3'/><b/></a>",
            "<a xmlns:p='u' xmlns:q='v'><b xmlns:p='u' xmlns:q='v' p:c='1' q:c='2' p:d='3'></b><b></b></a>",
        ),
        (
            "<p:a xmlns:p='u' to='x' p:to='y'/>",
            "<a xmlns='u' xmlns:p='u' to='x' p:to='y'></a>",
        ),
        (
            "<a xmlns:p='u'><b xmlns:p='v' p:c=''/><b p:c=''/></a>",
            "<a xmlns:p='u'><b xmlns:p='v' p:c=''></b><b xmlns:p='u' p:c=''></b></a>",
        ),
    ] {
        respelt(document, expected);
    }
}

#[test]
fn elements_of_streams_have_the_prefix_by_which_they_are_known() {
    const S: &str = "http://etherx.jabber.org/streams";
    for (document, expected) in [
        (
            format!("<stream:error xmlns:stream='{S}'><a xmlns='u'/></stream:error>"),
            format!("<stream:error xmlns:stream='{S}'><a xmlns='u'></a></stream:error>"),
        ),
        (
            format!("<s:error xmlns:s='{S}' s:b=''/>"),
            format!("<stream:error xmlns:s='{S}' xmlns:stream='{S}' s:b=''></stream:error>"),
        ),
        (
            format!("<error xmlns='{S}'><a xmlns='u'/><b/></error>"),
            format!(
                "<stream:error xmlns:stream='{S}'><a xmlns='u'></a>\
                 <stream:b xmlns:stream='{S}'></stream:b></stream:error>"
            ),
        ),
        (
            format!("<s:error xmlns:s='{S}' xmlns:stream='other' stream:a=''/>"),
            format!("<error xmlns='{S}' xmlns:s='{S}' xmlns:stream='other' stream:a=''></error>"),
        ),
        (
            "<stream:a xmlns:stream='other'/>".into(),
            "<a xmlns='other' xmlns:stream='other'></a>".into(),
        ),
    ] {
        respelt(&document, &expected);
    }
}

/// A name that is declared once may be needed by each of many elements.
#[test]
fn what_is_told_is_not_much_more_than_what_is_written() {
    let namespace = "u".repeat(4000);
    let document = |tag: &str, times: usize| {
        format!(
            "<a xmlns='v' xmlns:p='{namespace}'>{}</a>",
            tag.repeat(times)
        )
    };
    let limits = Limits {
        max_document: 1 << 20,
        ..Limits::default()
    };
    for tag in ["<p:b/>", "<b p:c=''/>", "<p:b><d/></p:b>"] {
        let mut told = Written::default();
        let text = document(tag, 10);
        assert_eq!(
            build(text.as_bytes(), &limits, text.len(), &mut told),
            Ok(()),
            "{tag}"
        );
        let mut told = Written::default();
        let text = document(tag, 20_000);
        let error = build(text.as_bytes(), &limits, text.len(), &mut told).unwrap_err();
        assert!(
            matches!(error, XmlError::TooManyNamespaces { .. }),
            "{tag}: {error}"
        );
        assert!(
            told.text.len() < 5 * text.len(),
            "{tag}: {}",
            told.text.len()
        );
    }
}

#[test]
fn of_what_is_refused_nothing_is_told() {
    for document in [
        "",
        "x",
        "<a>",
        "<a/><b/>",
        "<a><!-- c --></a>",
        "<a>&nope;</a>",
        "<!DOCTYPE a><a/>",
        "<a><b/><c/></a>",
    ] {
        let mut told = Told::default();
        assert!(
            build(document.as_bytes(), &Limits::default(), 2, &mut told).is_err(),
            "{document}"
        );
        assert_eq!(told.0, "", "{document}");
    }
}
