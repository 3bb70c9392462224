//! Headers kept and broken.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn addresses() -> impl Strategy<Value = Addresses> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, p, b, q)| Addresses::Inet {
        source: (a, p).into(),
        destination: (b, q).into(),
    });
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(a, p, b, q)| Addresses::Inet {
        source: (a, p).into(),
        destination: (b, q).into(),
    });
    let path = || proptest::collection::vec(1u8.., 0..=108).prop_map(Bytes::from);
    let unix = (path(), path()).prop_map(|(source, destination)| Addresses::Unix {
        source,
        destination,
    });
    prop_oneof![Just(Addresses::Unspecified), v4, v6, unix]
}

fn header() -> impl Strategy<Value = Header> {
    let bytes = |most| {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=most).prop_map(Bytes::from))
    };
    let text = || proptest::option::of("[a-zA-Z0-9.é-]{0,60}");
    let tls = (
        text(),
        text(),
        text(),
        text(),
        text(),
        any::<bool>(),
        // With a request's fields the longest is too much: nobody has both.
        bytes(2048),
    )
        .prop_map(
            |(
                version,
                common_name,
                cipher,
                signature_algorithm,
                key_algorithm,
                verified,
                certificate,
            )| Tls {
                version,
                common_name,
                cipher,
                signature_algorithm,
                key_algorithm,
                verified,
                certificate,
            },
        );
    let transport = proptest::option::of(prop_oneof![
        Just(Transport::Tcp),
        Just(Transport::Tls),
        Just(Transport::WebSocket),
        Just(Transport::Bosh)
    ]);
    let end_point = proptest::collection::vec(any::<u8>(), END_POINT).prop_map(Bytes::from);
    let bindings = (
        any::<Option<[u8; 32]>>(),
        proptest::option::of(end_point),
        any::<Option<[u8; 12]>>(),
    )
        .prop_map(|(exporter, end_point, unique)| ChannelBindings {
            exporter,
            end_point,
            unique,
        });
    (
        prop_oneof![Just(Command::Local), Just(Command::Proxy)],
        addresses(),
        bytes(255),
        text(),
        bytes(128),
        proptest::option::of(tls),
        transport,
        bindings,
        (bytes(MAX_FIELDS), bytes(MAX_TAKEOVER)),
    )
        .prop_map(
            |(command, addresses, alpn, authority, unique_id, tls, transport, bindings, last)| {
                let (fields, takeover) = last;
                Header {
                    command,
                    addresses,
                    alpn,
                    authority,
                    unique_id,
                    tls,
                    transport,
                    bindings,
                    fields,
                    takeover,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in header(), rest: Vec<u8>) {
        let mut bytes = Vec::new();
        write(&header, &mut bytes);
        let length = bytes.len();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(read(&bytes), Ok(Some((header, length))));
    }

    #[test]
    fn a_cut_header_is_awaited(header in header(), cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        write(&header, &mut bytes);
        prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, family: u8, length in 0u16..300) {
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[0x21, family]);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&bytes);
        let _ = read(&header);
        let _ = read(&bytes);
    }
}

#[test]
fn each_rule_is_named_when_it_is_broken() {
    let with = |version_command, family, body: &[u8]| {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[version_command, family]);
        bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        read(&bytes).map_err(|error| error.name())
    };
    assert_eq!(
        read(b"GET / HTTP/1.1").map_err(|e| e.name()),
        Err("proxy_signature")
    );
    assert_eq!(
        read(b"PROXY TCP4 ").map_err(|e| e.name()),
        Err("proxy_signature")
    );
    assert_eq!(with(0x11, 0x11, &[0; 12]), Err("proxy_version"));
    assert_eq!(with(0x22, 0x11, &[0; 12]), Err("proxy_command"));
    assert_eq!(with(0x21, 0x11, &[0; 11]), Err("proxy_addresses"));
    assert_eq!(with(0x21, 0x21, &[0; 35]), Err("proxy_addresses"));
    assert_eq!(with(0x21, 0x31, &[0; 215]), Err("proxy_addresses"));
    assert_eq!(
        with(0x21, 0x00, &[0; MAX_LENGTH + 1]),
        Err("proxy_too_long")
    );
    assert_eq!(with(0x21, 0x00, &[1, 0, 9, b'h']), Err("proxy_tlv"));
    assert_eq!(with(0x21, 0x00, &[1, 0]), Err("proxy_tlv"));
    assert_eq!(with(0x21, 0x00, &[2, 0, 1, 0xff]), Err("proxy_value"));
    assert_eq!(with(0x21, 0x41, &[0; 12]), Err("proxy_family"));
    assert_eq!(with(0x21, 0x13, &[0; 12]), Err("proxy_family"));
    assert_eq!(with(0x21, 0x00, &[3, 0, 3, 0, 0, 0]), Err("proxy_value"));
    assert_eq!(
        with(0x21, 0x00, &[0x20, 0, 4, 1, 0, 0, 0]),
        Err("proxy_value")
    );
    assert_eq!(
        with(0x21, 0x00, &[0x20, 0, 6, 1, 0, 0, 0, 0, 0x21]),
        Err("proxy_value")
    );
    let long_id = [&[5, 0, 129][..], &[0; 129]].concat();
    assert_eq!(with(0x21, 0x00, &long_id), Err("proxy_value"));
    assert_eq!(
        with(0x21, 0x00, &[3, 0, 4, 0, 0, 0, 0]),
        Err("proxy_checksum")
    );
}

#[test]
fn a_checksum_that_is_right_is_accepted() {
    // CRC-32C of the header with zeros in the checksum's place.
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[0x20, 0, 0, 7, 3, 0, 4, 0, 0, 0, 0]);
    let Err(ProxyError::Checksum { computed, .. }) = read(&bytes) else {
        panic!("expected a checksum that is wrong");
    };
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&computed.to_be_bytes());
    let header = Header {
        command: Command::Local,
        ..Header::default()
    };
    assert_eq!(read(&bytes), Ok(Some((header, end))));
}

#[test]
fn what_is_not_understood_is_skipped() {
    let with = |version_command, family, body: &[u8]| {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[version_command, family]);
        bytes.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(body);
        let length = bytes.len();
        bytes.extend_from_slice(b"<stream>");
        let (header, read) = read(&bytes).unwrap().unwrap();
        assert_eq!(read, length);
        header
    };
    let proxy = Header::default();
    let local = Header {
        command: Command::Local,
        ..Header::default()
    };
    let alpn = Header {
        alpn: Some(Bytes::from_static(b"h2")),
        ..Header::default()
    };
    let alpn_tlv = [1, 0, 2, b'h', b'2'];
    for (what, header, expected) in [
        ("padding", with(0x21, 0, &[4, 0, 2, 0, 0]), &proxy),
        ("a namespace", with(0x21, 0, &[0x30, 0, 1, b'n']), &proxy),
        (
            "another's 0xE0",
            with(0x21, 0, &[0xe0, 0, 3, b'f', b't', b'p']),
            &proxy,
        ),
        (
            "another's 0xE1",
            with(0x21, 0, &[&[0xe1, 0, 31][..], &[7; 31]].concat()),
            &proxy,
        ),
        (
            "another's 0xE2",
            with(0x21, 0, &[&[0xe2, 0, 20][..], &[7; 20]].concat()),
            &proxy,
        ),
        ("another's 0xE3", with(0x21, 0, &[0xe3, 0, 1, 7]), &proxy),
        (
            "an SSL part",
            with(0x21, 0, &[0x20, 0, 8, 0, 0, 0, 0, 0, 0x2f, 0, 0]),
            &proxy,
        ),
        (
            "an unknown transport's addresses",
            with(0x21, 0x10, &[&[9; 12][..], &alpn_tlv].concat()),
            &alpn,
        ),
        (
            "LOCAL with a family that is none",
            with(0x20, 0xf1, b"whatever"),
            &local,
        ),
        (
            "LOCAL with too few addresses",
            with(0x20, 0x11, b"xyz"),
            &local,
        ),
        ("LOCAL with half a TLV", with(0x20, 0, &[1, 0]), &local),
    ] {
        assert_eq!(&header, expected, "{what}");
    }
    let mut checksum = SIGNATURE.to_vec();
    checksum.extend_from_slice(&[0x20, 0, 0, 7, 3, 0, 4, 0, 0, 0, 0]);
    assert!(matches!(read(&checksum), Err(ProxyError::Checksum { .. })));
}

#[test]
fn errors_say_what_and_where() {
    let mut bytes = SIGNATURE.to_vec();
    // An SSL TLV after ten bytes of padding, with a common name that is no text.
    bytes.extend_from_slice(&[0x21, 0, 0, 25, 4, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[
        0x20, 0, 12, 1, 0, 0, 0, 0, 0x22, 0, 4, 0xff, b'a', b'b', b'c',
    ]);
    assert_eq!(
        read(&bytes).unwrap_err().to_string(),
        "TLV 0x22 at byte 34 of a PROXY header must be UTF-8"
    );
}
