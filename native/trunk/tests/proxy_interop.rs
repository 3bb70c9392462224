//! PROXY headers, against an implementation that nobody here wrote: the `ppp` crate.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use bytes::Bytes;
use megaphone_trunk::proxy::{
    Addresses, ChannelBindings, Command, Header, Tls, Transport, read, read_any, write,
};
use ppp::{v1, v2};
use proptest::prelude::*;
use proptest::sample::select;

fn sockets() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>()
        .prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>()
        .prop_map(|(a, p, b, q)| ((a, p).into(), (b, q).into()));
    prop_oneof![v4, v6]
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut tlv = vec![kind];
    tlv.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    tlv.extend(value);
    tlv
}

/// Lines of version 1 that are right, or wrong in a place or two. Not `UNKNOWN`: what follows it is
/// to be ignored, and there is checked; nor ports with a plus, which are taken there.
fn line() -> impl Strategy<Value = String> {
    let address = || {
        select(vec![
            "192.0.2.1",
            "255.255.255.255",
            "1.2.3",
            "1.2.3.256",
            "01.2.3.4",
            "::1",
            "2001:DB8::7",
            "::ffff:192.0.2.1",
            "1::2::3",
            "",
        ])
    };
    let port = || select(vec!["0", "80", "65535", "65536", "080", "00", "x", ""]);
    let family = select(vec!["TCP4", "TCP4", "TCP6", "TCP6", "UDP4", "tcp4"]);
    let end = select(vec!["\r\n", "\r\n", "\r\n", " \r\n"]);
    (family, address(), address(), port(), port(), end).prop_map(
        |(family, source, destination, from, to, end)| {
            format!("PROXY {family} {source} {destination} {from} {to}{end}")
        },
    )
}

proptest! {
    #[test]
    fn theirs_is_read_here(
        (source, destination) in sockets(),
        alpn in proptest::collection::vec(any::<u8>(), 0..40),
        authority in "[a-z0-9.-]{0,80}",
        id in proptest::collection::vec(any::<u8>(), 0..=128),
        exporter: [u8; 32],
        unique: [u8; 12],
        end_point in proptest::collection::vec(any::<u8>(), 32..=64),
    ) {
        let ssl = [&[3, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3"), &tlv(0x22, b"ecm")].concat();
        let bytes = v2::Builder::with_addresses(
            v2::Version::Two | v2::Command::Proxy,
            v2::Protocol::Stream,
            (source, destination),
        )
        .write_tlv(v2::Type::ALPN, &alpn).unwrap()
        .write_tlv(v2::Type::NoOp, b"padding").unwrap()
        .write_tlv(v2::Type::Authority, authority.as_bytes()).unwrap()
        .write_tlv(v2::Type::UniqueId, &id).unwrap()
        .write_tlv(v2::Type::SSL, &ssl).unwrap()
        .write_tlv(v2::Type::NetworkNamespace, b"blue").unwrap()
        .write_tlv(0xe0u8, b"websocket").unwrap()
        .write_tlv(0xe1u8, &exporter).unwrap()
        .write_tlv(0xe2u8, &end_point).unwrap()
        .write_tlv(0xe3u8, &unique).unwrap()
        .build().unwrap();
        let expected = Header {
            command: Command::Proxy,
            addresses: Addresses::Inet { source, destination },
            alpn: Some(alpn.into()),
            authority: Some(authority),
            unique_id: Some(id.into()),
            tls: Some(Tls {
                version: Some("TLSv1.3".into()),
                common_name: Some("ecm".into()),
                verified: true,
                ..Tls::default()
            }),
            transport: Some(Transport::WebSocket),
            bindings: ChannelBindings {
                exporter: Some(exporter),
                end_point: Some(end_point.into()),
                unique: Some(unique),
            },
            fields: None,
            takeover: None,
        };
        prop_assert_eq!(read(&bytes), Ok(Some((expected, bytes.len()))));
    }

    #[test]
    fn ours_is_read_there(
        (source, destination) in sockets(),
        alpn in proptest::collection::vec(any::<u8>(), 0..40),
        authority in "[a-z0-9.-]{0,80}",
    ) {
        let header = Header {
            addresses: Addresses::Inet { source, destination },
            alpn: Some(Bytes::from(alpn.clone())),
            authority: Some(authority.clone()),
            transport: Some(Transport::Bosh),
            ..Header::default()
        };
        let mut bytes = Vec::new();
        write(&header, &mut bytes);
        let theirs = v2::Header::try_from(&bytes[..]).unwrap();
        prop_assert_eq!(theirs.command, v2::Command::Proxy);
        prop_assert_eq!(theirs.protocol, v2::Protocol::Stream);
        prop_assert_eq!(theirs.addresses, v2::Addresses::from((source, destination)));
        let tlvs: Vec<_> = theirs.tlvs().map(Result::unwrap).collect();
        prop_assert_eq!(
            tlvs,
            [
                v2::TypeLengthValue::new(v2::Type::ALPN, &alpn),
                v2::TypeLengthValue::new(v2::Type::Authority, authority.as_bytes()),
                v2::TypeLengthValue::new(0xe0u8, b"bosh"),
            ]
        );
    }

    #[test]
    fn their_lines_are_read_here((source, destination) in sockets()) {
        let line = v1::Addresses::from((source, destination)).to_string();
        let (header, length) = read_any(line.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(length, line.len());
        prop_assert_eq!(header.addresses, Addresses::Inet { source, destination });
    }

    /// Whatever both call a line, both read alike.
    #[test]
    fn lines_are_judged_alike(line in line()) {
        let ours = read_any(line.as_bytes()).ok().flatten().map(|(header, _)| header.addresses);
        let theirs = v1::Header::try_from(line.as_str()).ok().map(|header| match header.addresses {
            v1::Addresses::Unknown => Addresses::Unspecified,
            v1::Addresses::Tcp4(ends) => Addresses::Inet {
                source: (ends.source_address, ends.source_port).into(),
                destination: (ends.destination_address, ends.destination_port).into(),
            },
            v1::Addresses::Tcp6(ends) => Addresses::Inet {
                source: (ends.source_address, ends.source_port).into(),
                destination: (ends.destination_address, ends.destination_port).into(),
            },
        });
        prop_assert_eq!(ours, theirs);
    }
}

#[test]
fn unix_sockets_and_local() {
    let header = Header {
        addresses: Addresses::Unix {
            source: Bytes::from_static(b"/run/client"),
            destination: Bytes::from_static(b"\0abstract"),
        },
        ..Header::default()
    };
    let mut bytes = Vec::new();
    write(&header, &mut bytes);
    let theirs = v2::Header::try_from(&bytes[..]).unwrap();
    let v2::Addresses::Unix(unix) = theirs.addresses else {
        panic!("{:?}", theirs.addresses)
    };
    assert!(unix.source.starts_with(b"/run/client\0"));
    assert!(unix.destination.starts_with(b"\0abstract\0"));
    assert_eq!(read(&bytes), Ok(Some((header, bytes.len()))));

    let bytes = v2::Builder::new(v2::Version::Two | v2::Command::Local, 0)
        .build()
        .unwrap();
    let (header, length) = read(&bytes).unwrap().unwrap();
    assert_eq!((header.command, length), (Command::Local, 16));
}
