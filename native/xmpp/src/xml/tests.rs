use super::*;

const LIMITS: Limits = Limits {
    max_document: 10_000,
    max_depth: 10,
    max_attributes: 10,
};

fn checked(text: &[u8]) -> Result<Vec<u8>, XmlError> {
    check(text, &LIMITS).map(|document| document.to_vec())
}

/// The scanner fed byte by byte, cut in two at each place, and at once: all the same.
fn scanned(text: &[u8]) -> Result<Progress, XmlError> {
    let scan =
        |scanner: &mut Scanner, text: &[u8]| scanner.scan(text, &Scope::NONE, &LIMITS, Until::End);
    let whole = scan(&mut Scanner::new(), text);
    let mut bytes = Scanner::new();
    let mut result = Ok(Progress::Unfinished);
    for end in 0..=text.len() {
        result = scan(&mut bytes, &text[..end]);
        if result != Ok(Progress::Unfinished) {
            break;
        }
        let mut halves = Scanner::new();
        let first = scan(&mut halves, &text[..end]);
        assert_eq!(first, Ok(Progress::Unfinished), "{end}");
        assert_eq!(scan(&mut halves, text), whole, "{end}");
    }
    assert_eq!(result, whole, "{:?}", String::from_utf8_lossy(text));
    whole
}

#[test]
fn accepted() {
    for text in [
        "<a/>",
        "<a />",
        "<a></a>",
        "<a\t></a\r\n>",
        "<_a-1.b/>",
        "<ä漢/>",
        "<a b='1' c=\"2\"/>",
        "<a b = '1'\n\tc\n=\n\"2\" />",
        "<a b='\"' c=\"'\" d='>' e='/>' f=']]>' g='\t\n'/>",
        "<a b=''/>",
        "<a>text</a>",
        "<a> \t\r\n</a>",
        "<a>> ]] ]> \u{7f}\u{85}\u{fffd}\u{10ffff}ä€😀</a>",
        "<a>&lt;&gt;&amp;&apos;&quot;&#1234;&#x1f600;</a>",
        "<a b='&lt;&gt;&amp;&apos;&quot;&#10;'/>",
        "<a><![CDATA[]]></a>",
        "<a><![CDATA[<b>&c;]]>]]&gt;<![CDATA[]]]]><![CDATA[>]]></a>",
        "<a><b/><c><d/></c>x<e>y</e></a>",
        "<p:a xmlns:p='u' p:b='1' b='2'><p:c/></p:a>",
        "<a xmlns:p='u' xmlns:q='v' p:b='1' q:b='2'/>",
        "<a p:b='' xmlns:p='u'/>",
        "<a xmlns='u'><b xmlns=''/></a>",
        "<a xml:lang='en' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:p='u'><b xmlns:p='v'><p:c/></b><p:c/></a>",
        "<a xmlns='u\nv\t&#9;&#13;&#32;w'/>",
    ] {
        assert_eq!(
            scanned(text.as_bytes()),
            Ok(Progress::End(text.len())),
            "{text}"
        );
        assert_eq!(
            checked(text.as_bytes()),
            Ok(text.as_bytes().to_vec()),
            "{text}"
        );
    }
}

#[test]
fn refused() {
    use XmlError::*;
    let xml = "http://www.w3.org/XML/1998/namespace";
    for (text, error) in [
        ("a", NoElement { at: 0 }),
        ("</a>", NoElement { at: 0 }),
        ("<![CDATA[a]]>", NoElement { at: 0 }),
        ("<>", InvalidName { at: 1 }),
        ("< a/>", InvalidName { at: 1 }),
        ("<1a/>", InvalidName { at: 1 }),
        ("<-a/>", InvalidName { at: 1 }),
        ("<·a/>", InvalidName { at: 1 }),
        ("<a×/>", InvalidName { at: 2 }),
        ("<:a/>", InvalidName { at: 1 }),
        ("<a:/>", InvalidName { at: 3 }),
        ("<a:1/>", InvalidName { at: 3 }),
        ("<a:b:c/>", InvalidName { at: 4 }),
        ("<a ='1'/>", InvalidName { at: 3 }),
        ("<a 1='1'/>", InvalidName { at: 3 }),
        ("<a<b/>", MalformedTag { at: 2 }),
        ("<a\"/>", MalformedTag { at: 2 }),
        ("<a/ >", MalformedTag { at: 3 }),
        ("<a b/>", MalformedTag { at: 4 }),
        ("<a b=1/>", MalformedTag { at: 5 }),
        ("<a b='1'c='2'/>", MalformedTag { at: 8 }),
        ("<a b=c\">", MalformedTag { at: 5 }),
        ("<a b='<'/>", LessThanInValue { at: 6 }),
        ("<a b='&'/>", MalformedReference { at: 6 }),
        ("<a>& </a>", MalformedReference { at: 3 }),
        ("<a>&#0;</a>", MalformedReference { at: 3 }),
        ("<a>&#xFFFF;</a>", MalformedReference { at: 3 }),
        ("<a>&nbsp;</a>", EntityReference { at: 3 }),
        ("<a b='&c;'/>", EntityReference { at: 6 }),
        ("<a>]]></a>", CdataEndInText { at: 5 }),
        ("<a>x]]]></a>", CdataEndInText { at: 7 }),
        ("<a>\u{0}</a>", InvalidCharacter { at: 3 }),
        ("<a>\u{1b}</a>", InvalidCharacter { at: 3 }),
        ("<a>ä\u{ffff}</a>", InvalidCharacter { at: 5 }),
        ("<a b='\u{fffe}'/>", InvalidCharacter { at: 6 }),
        ("<a><![CDATA[\u{b}]]></a>", InvalidCharacter { at: 12 }),
        ("<a><![CDATA[\u{ffff}]]></a>", InvalidCharacter { at: 12 }),
        ("<a></b>", MismatchedEndTag { at: 3 }),
        ("<a></ab>", MismatchedEndTag { at: 3 }),
        ("<ab></a>", MismatchedEndTag { at: 4 }),
        ("<a></ a>", MismatchedEndTag { at: 3 }),
        ("<a></a b>", MismatchedEndTag { at: 3 }),
        ("<a><b></a></b>", MismatchedEndTag { at: 6 }),
        ("<a b='1' b='2'/>", DuplicateAttribute { at: 16 }),
        ("<a xmlns='1' xmlns='1'/>", DuplicateAttribute { at: 24 }),
        (
            "<a xmlns:p='u' xmlns:q='&#117;' p:b='1' q:b='2'/>",
            DuplicateAttribute { at: 49 },
        ),
        ("<p:a/>", UnboundPrefix { at: 6 }),
        ("<a p:b=''/>", UnboundPrefix { at: 11 }),
        ("<xmlns:a/>", UnboundPrefix { at: 10 }),
        ("<a><b xmlns:p='u'/><p:c/></a>", UnboundPrefix { at: 25 }),
        ("<a xmlns:p=''/>", InvalidDeclaration { at: 15 }),
        ("<a xmlns:xml='u'/>", InvalidDeclaration { at: 18 }),
        ("<a xmlns:xmlns='u'/>", InvalidDeclaration { at: 20 }),
        (
            &format!("<a xmlns='{xml}'/>"),
            InvalidDeclaration { at: 49 },
        ),
        (
            &format!("<a xmlns:b='&#104;{}'/>", &xml[1..]),
            InvalidDeclaration { at: 56 },
        ),
        (
            "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
            InvalidDeclaration { at: 42 },
        ),
        ("<a xmlns='u&#10;v'/>", InvalidDeclaration { at: 20 }),
        ("<a xmlns='&#xA;'/>", InvalidDeclaration { at: 18 }),
        ("<a xmlns:b='u&#x000a;'/>", InvalidDeclaration { at: 24 }),
        ("<!-- a --><a/>", Comment { at: 0 }),
        ("<a><!-- b --></a>", Comment { at: 3 }),
        ("<a><?b c?></a>", ProcessingInstruction { at: 3 }),
        (
            "<a><?xml version='1.0'?></a>",
            ProcessingInstruction { at: 3 },
        ),
        ("<!DOCTYPE a><a/>", DocumentType { at: 0 }),
        ("<a><!ENTITY b 'c'></a>", DocumentType { at: 3 }),
        ("<a><![cdata[]]></a>", DocumentType { at: 3 }),
    ] {
        assert_eq!(scanned(text.as_bytes()), Err(error), "{text}");
        assert!(checked(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf_8() {
    for invalid in [
        &b"\x80"[..],
        b"\xc3",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xff",
    ] {
        for (before, after) in [
            (&b"<a>"[..], &b"</a>"[..]),
            (b"<a>\xc3\xa4", b"</a>"),
            (b"<a b='", b"'/>"),
            (b"<a", b"/>"),
            (b"<a ", b"='1'/>"),
            (b"<a><![CDATA[", b"]]></a>"),
        ] {
            let text = [before, invalid, after].concat();
            let error = scanned(&text).unwrap_err();
            assert!(
                matches!(error, XmlError::InvalidUtf8 { .. }),
                "{text:?} {error:?}"
            );
        }
    }
}

#[test]
fn what_is_unfinished_waits() {
    let text = "<p:a xmlns:p='u&lt;' b=\"ä\" >x&amp;<![CDATA[]]><b/>]]</p:a >";
    for end in 0..text.len() {
        assert_eq!(
            scanned(&text.as_bytes()[..end]),
            Ok(Progress::Unfinished),
            "{end}"
        );
        let error = checked(&text.as_bytes()[..end]).unwrap_err();
        assert!(
            matches!(error, XmlError::Unfinished { .. }),
            "{end} {error:?}"
        );
    }
    assert_eq!(scanned(text.as_bytes()), Ok(Progress::End(text.len())));
}

#[test]
fn limits_hold() {
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(checked(deep(10).as_bytes()).is_ok());
    let error = XmlError::TooDeep { at: 33, limit: 10 };
    assert_eq!(scanned(deep(11).as_bytes()), Err(error));
    let tag = |count: usize| {
        let attributes: String = (0..count).map(|number| format!(" a{number}=''")).collect();
        format!("<a{attributes}/>")
    };
    assert!(checked(tag(10).as_bytes()).is_ok());
    let error = XmlError::TooManyAttributes { at: 63, limit: 10 };
    assert_eq!(scanned(tag(11).as_bytes()), Err(error));
    let long = |length: usize| format!("<a>{}</a>", "x".repeat(length - 7));
    assert!(checked(long(10_000).as_bytes()).is_ok());
    let error = XmlError::TooLong { limit: 10_000 };
    assert_eq!(checked(long(10_001).as_bytes()), Err(error));
    let prefixes = |count: usize| -> String {
        let declarations = |from, to| -> String {
            (from..to)
                .map(|number| format!(" xmlns:p{number}='u'"))
                .collect()
        };
        let (outer, inner) = (declarations(0, count / 2), declarations(count / 2, count));
        format!("<a{outer}><b{inner}/></a>")
    };
    assert!(checked(prefixes(10).as_bytes()).is_ok());
    let error = XmlError::TooManyPrefixes { at: 151, limit: 10 };
    assert_eq!(scanned(prefixes(11).as_bytes()), Err(error));
    let namespace = |length: usize| format!("<a xmlns:p='{}'/>", "u".repeat(length));
    assert!(checked(namespace(4096).as_bytes()).is_ok());
    let error = XmlError::LongNamespace {
        at: 4112,
        limit: 4096,
    };
    assert_eq!(checked(namespace(4097).as_bytes()), Err(error));
}

#[test]
fn many_attributes_are_as_good_as_few() {
    let limits = Limits::of_trunk(1 << 20);
    let tag = |attributes: &[String]| format!("<a{}/>", attributes.concat());
    let attributes: Vec<String> = (0..1000).map(|number| format!(" a{number}=''")).collect();
    assert!(check(tag(&attributes).as_bytes(), &limits).is_ok());
    for twice in [0, 17, 999] {
        let again = [&attributes[..], &attributes[twice..=twice]].concat();
        let error = check(tag(&again).as_bytes(), &limits).unwrap_err();
        assert!(
            matches!(error, XmlError::DuplicateAttribute { .. }),
            "{error}"
        );
    }
    let declared: Vec<String> = (0..1000)
        .map(|number| format!(" xmlns:p{number}='u{}' p{number}:b=''", number % 999))
        .collect();
    assert!(check(tag(&declared[..999]).as_bytes(), &limits).is_ok());
    let error = check(tag(&declared).as_bytes(), &limits).unwrap_err();
    assert!(
        matches!(error, XmlError::DuplicateAttribute { .. }),
        "{error}"
    );
}

/// Whether few prefixes are in scope or many, the innermost declaration counts, up to its element's end.
#[test]
fn prefixes_are_those_of_the_elements_around() {
    let limits = Limits::of_trunk(1 << 20);
    for count in [0, 1, 14, 15, 16, 17, 100, 200] {
        let others: String = (0..count)
            .map(|number| format!(" xmlns:p{number}='u'"))
            .collect();
        let more: String = (0..count)
            .map(|number| format!(" xmlns:q{number}='u'"))
            .collect();
        // That no two attributes are the same tells one namespace from another.
        let same = "<z x:a='' y:a=''/>";
        for (inside, is_same) in [
            (String::new(), false),
            (format!("<b xmlns:x='v'>{same}</b>"), true),
            (format!("<b xmlns:x='w'/>{same}"), false),
            (
                format!("<b xmlns:y='w'><c xmlns:y='u'>{same}</c></b>"),
                true,
            ),
            (format!("<b xmlns:y='u'><c xmlns:y='w'/>{same}</b>"), true),
            (format!("<b{more}><c{more} xmlns:x='v'/></b>{same}"), false),
        ] {
            let text = format!("<a xmlns:x='u' xmlns:y='v'{others}>{inside}</a>");
            let result = check(text.as_bytes(), &limits);
            assert_eq!(
                matches!(result, Err(XmlError::DuplicateAttribute { .. })),
                is_same,
                "{text}"
            );
            assert!(is_same || result.is_ok(), "{text}");
        }
    }
}

#[test]
fn a_document_knows_its_root() {
    let text = b" <p:a xmlns:p='u' to='x&amp;y' xml:lang='en'><b to='z'/></p:a>";
    let document = check(text, &LIMITS).unwrap();
    assert_eq!(document.name(), "a");
    assert_eq!(document.namespace(), "u");
    assert!(document.is("a", "u"));
    assert!(!document.is("a", "") && !document.is("p:a", "u"));
    assert_eq!(document.attribute("to").as_deref(), Some("x&y"));
    assert_eq!(document.attribute("xml:lang").as_deref(), Some("en"));
    assert_eq!(document.attribute("from"), None);
    assert_eq!(document.len(), text.len() - 1);
    let document = check(b"<a xmlns='&#117;&amp;\n'/>", &LIMITS).unwrap();
    assert_eq!(document.namespace(), "u& ");
    assert!(document.is("a", "u& ") && !document.is("a", "u&\n"));
    let document = check_in(b"<iq/>", Scope::CLIENT, &LIMITS).unwrap();
    assert!(document.is("iq", "jabber:client"));
    assert_eq!(document.attribute("to"), None);
}
