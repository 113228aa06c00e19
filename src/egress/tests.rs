use crate::egress::address::{AddressPolicy, is_public};
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// One address of each kind that is refused, by IPv4.
const V4: [&str; 34] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.254",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "250.1.2.3",
    "255.255.255.254",
    "255.255.255.255",
    "172.20.10.1",
    "10.96.0.1",
];

/// Addresses that are refused, by IPv6.
const V6: [&str; 34] = [
    "::",
    "::1",
    "::2",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2001:db8:ffff::1",
    "2002::1",
    "2002:808:808::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "8000::1",
    "c000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe00::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
];

/// Every way to write an IPv4 address that some reader of URLs takes.
fn spellings(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let number = u32::from(ip);
    let (last_two, last_three) = (number & 0xffff, number & 0xff_ffff);
    let mut all = vec![
        format!("{ip}"),
        format!("{ip}."),
        format!("{number}"),
        format!("{number:#x}"),
        format!("0{number:o}"),
        format!("0x{a:x}.{b}.{c}.{d}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("{a}.{b}.{last_two}"),
        format!("{a}.{last_three}"),
        format!("0{a:o}.{last_three}"),
        format!("0x{a:x}.{last_three}"),
        format!("%3{}.{b}.{c}.{d}", a % 10),
    ];
    all.retain(|text| !text.starts_with("%3") || a < 10);
    let wide: String = ip
        .to_string()
        .chars()
        .map(|letter| match letter {
            '0'..='9' => char::from_u32('０' as u32 + letter as u32 - '0' as u32).unwrap(),
            _ => '。',
        })
        .collect();
    all.push(wide);
    for prefix in [[0, 0, 0, 0, 0, 0xffff], [0, 0, 0, 0, 0, 0], [0x64, 0xff9b, 0, 0, 0, 0], [0x64, 0xff9b, 1, 0, 0, 0]]
    {
        let [p0, p1, p2, p3, p4, p5] = prefix;
        let v6 = Ipv6Addr::new(p0, p1, p2, p3, p4, p5, (number >> 16) as u16, number as u16);
        all.push(format!("[{v6}]"));
    }
    all.push(format!("[{}]", Ipv6Addr::new(0x2002, (number >> 16) as u16, number as u16, 0, 0, 0, 0, 1)));
    all.push(format!("[::ffff:{:x}:{:x}]", number >> 16, number as u16));
    all
}

/// What a probe does with a URL before it looks anything up.
fn refused(policy: &AddressPolicy, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return true };
    match url.host() {
        None => true,
        Some(Host::Ipv4(ip)) => policy.check_ip(ip.into()).is_err(),
        Some(Host::Ipv6(ip)) => policy.check_ip(ip.into()).is_err(),
        // As if the name led to a public address: the name alone must be enough.
        Some(Host::Domain(name)) => policy.check_name(name, &["8.8.8.8".parse().unwrap()]).is_err(),
    }
}

#[test]
fn refuses_every_spelling_of_every_address_that_is_not_public() {
    let policy = AddressPolicy { api_server: Some("api.cluster.example.com".into()), ..AddressPolicy::default() };
    let mut corpus: BTreeSet<String> = V4.iter().flat_map(|ip| spellings(ip.parse().unwrap())).collect();
    corpus.extend(V6.iter().map(|ip| format!("[{ip}]")));
    let listed = [
        "0177.1",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0",
        "0x0",
        "[::ffff:a9fe:a9fe]",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25eth0]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost..",
        "a.localhost",
        "a.b.localhost.",
        "redis.shop.svc",
        "redis.shop.svc.",
        "redis.shop.svc.cluster.local",
        "redis.svc.other.domain",
        "kubernetes.default.svc",
        "cluster.local",
        "a.cluster.local",
        "A.CLUSTER.LOCAL.",
        "printer.local",
        "metadata.google.internal",
        "metadata.google.internal.",
        "ec2.internal",
        "ip-10-0-0-1.eu-west-1.compute.internal",
        "api.cluster.example.com",
        "API.cluster.example.com.",
        "%6c%6f%63alhost",
        "ｌocalhost",
        "loc\u{ad}alhost",
        "127。0。0。1",
        "256.256.256.256",
        "1.2.3.4.5",
        "0x.0x.0x.0x",
        "169.254.43518",
        "[::127.0.0.1]",
        "",
    ];
    corpus.extend(listed.map(str::to_owned));
    assert!(corpus.len() >= 300, "{}", corpus.len());
    for host in corpus {
        for url in [format!("http://{host}/"), format!("https://{host}:8443/health")] {
            assert!(
                refused(&policy, &url),
                "{url} → {:?}",
                Url::parse(&url).map(|url| url.host_str().map(str::to_owned))
            );
        }
    }
}

#[test]
fn lets_public_addresses_and_ordinary_names_through() {
    let policy = AddressPolicy::default();
    for host in [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.0.3.1",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.1",
        "203.0.112.1",
        "223.255.255.255",
        "[2606:4700::1111]",
        "[2000::1]",
        "[2001:200::1]",
        "[2001:dead::1]",
        "[2003::1]",
        "[3ffe::1]",
        "[3fff:1000::1]",
        "example.com",
        "example.com.",
        "svc.example.com",
        "locals.example",
        "api.internal.example.com",
    ] {
        assert!(!refused(&policy, &format!("https://{host}/")), "{host}");
    }
}

#[test]
fn a_flag_opens_one_network_and_the_names_that_lead_only_there() {
    let policy = AddressPolicy { allowed: vec!["10.1.0.0/16".parse().unwrap()], ..AddressPolicy::default() };
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(policy.check_ip(ip("10.1.2.3")).is_ok());
    assert!(policy.check_ip(ip("10.2.0.1")).is_err() && policy.check_ip(ip("::ffff:10.1.2.3")).is_err());
    for (name, addresses, allowed) in [
        ("redis.shop.svc", &["10.1.2.3"][..], true),
        ("redis.shop.svc", &["10.1.2.3", "8.8.8.8"][..], false),
        ("redis.shop.svc", &["8.8.8.8"][..], false),
        ("example.com", &["8.8.8.8", "10.1.2.3"][..], true),
        ("example.com", &["8.8.8.8", "10.2.0.1"][..], false),
        ("example.com", &["169.254.169.254"][..], false),
        ("example.com", &[][..], false),
    ] {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| ip(text)).collect();
        assert_eq!(policy.check_name(name, &addresses).is_ok(), allowed, "{name} {addresses:?}");
    }
}

/// The same question, answered from the registries' tables of networks.
fn listed(ip: IpAddr) -> bool {
    const REFUSED: [&str; 42] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/3",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001::/32",
        "2001:2::/48",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "4000::/3",
        "5f00::/16",
        "6000::/3",
        "8000::/3",
        "a000::/3",
        "c000::/3",
        "e000::/4",
        "f000::/5",
        "f800::/6",
        "fc00::/7",
        "fe00::/9",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];
    REFUSED.iter().any(|network| network.parse::<IpNet>().unwrap().contains(&ip))
}

/// Addresses at and around the edges of networks, where a classifier is wrong if it is wrong at all.
fn near_an_edge() -> impl Strategy<Value = IpAddr> {
    let bases: Vec<IpAddr> = V4.iter().chain(V6.iter()).map(|text| text.parse().unwrap()).collect();
    (prop::sample::select(bases), 0u32..128, -1i8..=1).prop_map(|(base, bits, by)| match base {
        IpAddr::V4(ip) => {
            let edge = u32::from(ip) & u32::MAX.checked_shl(bits % 32).unwrap();
            Ipv4Addr::from(edge.wrapping_add_signed(by.into())).into()
        }
        IpAddr::V6(ip) => {
            let edge = u128::from(ip) & u128::MAX.checked_shl(bits).unwrap();
            Ipv6Addr::from(edge.wrapping_add_signed(by.into())).into()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn agrees_with_the_tables_on_ipv4(bits: u32) {
        let ip = IpAddr::from(Ipv4Addr::from(bits));
        prop_assert_eq!(is_public(ip).is_err(), listed(ip), "{}", ip);
    }

    #[test]
    fn agrees_with_the_tables_on_ipv6(bits: u128) {
        let ip = IpAddr::from(Ipv6Addr::from(bits));
        prop_assert_eq!(is_public(ip).is_err(), listed(ip), "{}", ip);
    }

    #[test]
    fn agrees_with_the_tables_at_every_edge(ip in near_an_edge()) {
        prop_assert_eq!(is_public(ip).is_err(), listed(ip), "{}", ip);
    }
}
