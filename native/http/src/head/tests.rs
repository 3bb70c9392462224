use super::*;
use proptest::prelude::*;

const HEAD: &str = "POST /bosh?a=b HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\
    X-Some: value with\tspaces \r\nEmpty:\r\nConnection: keep-alive\r\n\r\n";

fn limits() -> Limits {
    Limits {
        max_head: 300,
        max_headers: 8,
        ..Limits::default()
    }
}

/// The head's length, by httparse and the look at what it steps over.
fn by_httparse(buffer: &[u8]) -> Option<usize> {
    let mut keep = Some(|head: Head<'_, '_>| head.bytes.len());
    match parse(buffer, &limits(), &mut keep) {
        Parse::Whole(Ok(len)) => Some(len),
        // Its lines are in order; only the framing was refused.
        Parse::Whole(Err(_)) => HeadScan::default()
            .find_end(buffer, &limits())
            .ok()
            .flatten(),
        Parse::Otherwise => None,
    }
}

/// The head's length, by the strict scan.
fn by_lines(buffer: &[u8]) -> Option<usize> {
    HeadScan::default()
        .find_end(buffer, &limits())
        .ok()
        .flatten()
}

#[test]
fn a_head_byte_by_byte_costs_linear_work() {
    let work = |fields: usize| {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A: bcdefgh\r\n".repeat(fields)
        );
        let limits = Limits {
            max_head: 1 << 20,
            max_headers: 10_000,
            ..Limits::default()
        };
        let mut scan = HeadScan::default();
        for end in 1..head.len() {
            let found = read_head(&head.as_bytes()[..end], &limits, &mut scan, |_| ());
            assert_eq!(found, Ok(None), "after {end} bytes");
        }
        let found = read_head(head.as_bytes(), &limits, &mut scan, |_| ());
        assert_eq!(found, Ok(Some(())), "all {} bytes", head.len());
        (scan.work, head.len())
    };
    for fields in [10, 100, 1000] {
        let (work, bytes) = work(fields);
        assert!(
            work <= 4 * bytes,
            "{work} bytes were looked at for a head of {bytes}"
        );
    }
}

#[test]
fn empty_lines_before_a_request_are_counted_across_calls() {
    let mut seen = 0;
    assert_eq!(leading_empty_lines(b"\r\n\r\n\r", &mut seen), Ok(4));
    assert_eq!(leading_empty_lines(b"\r", &mut seen), Ok(0));
    assert_eq!(
        leading_empty_lines(b"\r\n\r\n\r\n\r\n\r\n\r\nGET", &mut seen),
        Ok(12)
    );
    let error = leading_empty_lines(b"\r\n", &mut seen);
    assert_eq!(error, Err(RequestError::TooManyEmptyLines { limit: 8 }));
    assert_eq!(
        leading_empty_lines(b"\n", &mut 0),
        Err(RequestError::BareLf { at: 0 })
    );
    assert_eq!(
        leading_empty_lines(b"\rG", &mut 0),
        Err(RequestError::BareCr { at: 0 })
    );
}

#[test]
fn more_headers_than_fit_the_stack_can_be_allowed() {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "A: b\r\n".repeat(199)
    );
    let limits = |max_headers| Limits {
        max_headers,
        ..Limits::default()
    };
    let count = |max| {
        let mut scan = HeadScan::default();
        read_head(head.as_bytes(), &limits(max), &mut scan, |head| {
            head.headers.len()
        })
    };
    assert_eq!(count(200), Ok(Some(200)));
    assert_eq!(count(199), Err(RequestError::TooManyHeaders { limit: 199 }));
    assert_eq!(count(100), Err(RequestError::TooManyHeaders { limit: 100 }));
}

/// A head with a few bytes changed, taken out or put in. The first byte stays: it's judged before, and
/// the empty lines that httparse would step over are taken away before.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        proptest::sample::select(&b"\r\n\t :;,/*HTP1.02aZ\0\x0b\x7f\x80\xff\xc3\xa4"[..]),
        any::<u8>(),
    ];
    let edit = (1..HEAD.len() - 3, 0..3_u8, byte);
    proptest::collection::vec(edit, 0..4).prop_map(|edits| {
        let mut head = HEAD.as_bytes().to_vec();
        for (at, action, byte) in edits {
            match action {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => drop(head.remove(at)),
            }
        }
        head
    })
}

proptest! {
    /// The fast road and the strict one are two readers: they must never read in two ways.
    #[test]
    fn httparse_and_the_lines_agree(head in mutated()) {
        prop_assert_eq!(by_httparse(&head), by_lines(&head), "{}", head.escape_ascii());
    }

    /// Each refusal has a reason that says more than "malformed".
    #[test]
    fn each_refusal_has_its_name(head in mutated()) {
        let found = read_head(&head, &limits(), &mut HeadScan::default(), |_| ());
        prop_assert_ne!(found, Err(RequestError::MalformedHead), "{}", head.escape_ascii());
    }
}
