//! Where a request to an address that a user chose may go. Pure: no lookup happens here.
//!
//! Whoever may write a `HealthPolicy` or a `DeploymentTarget` chooses addresses, and the operator stands inside the cluster: without this
//! wall a check, a flag service or a hook would be a window into networks that its author cannot reach.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where such requests may go, beside the public internet.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    /// Networks of `--allow-cidr`.
    pub allowed: Vec<IpNet>,
    /// Host of the API server: never a thing to be called.
    pub api_server: Option<String>,
}

impl AddressPolicy {
    /// Whether a connection to this address may be made.
    ///
    /// # Errors
    /// What kind of address it is, in words.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), &'static str> {
        if self.allows(ip) {
            return Ok(());
        }
        is_public(ip)
    }

    /// Whether this name may be checked, at all the addresses that it has.
    ///
    /// # Errors
    /// What is wrong with the name, or with one of its addresses. One bad address spoils all: which of them is connected to is chance.
    pub fn check_name(&self, name: &str, addresses: &[IpAddr]) -> Result<(), &'static str> {
        if addresses.is_empty() {
            return Err("the name has no address");
        }
        match self.internal_name(name) {
            Some(kind) if !addresses.iter().all(|ip| self.allows(*ip)) => Err(kind),
            _ => addresses.iter().try_for_each(|ip| self.check_ip(*ip)),
        }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&ip))
    }

    /// What kind of name inside the cluster or the machine this is. `None`: an ordinary one.
    fn internal_name(&self, name: &str) -> Option<&'static str> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let ends_in = |suffix: &[&str]| labels.ends_with(suffix);
        if self.api_server.as_deref().is_some_and(|server| server.trim_end_matches('.').eq_ignore_ascii_case(&name)) {
            return Some("the API server's own host");
        }
        if ends_in(&["localhost"]) {
            return Some("a name of this machine");
        }
        if labels.iter().skip(1).any(|label| *label == "svc") || ends_in(&["cluster", "local"]) {
            return Some("a name inside the cluster");
        }
        (ends_in(&["local"]) || ends_in(&["internal"])).then_some("a name inside a private network")
    }
}

/// Whether this is an address of the public internet. Whatever is not known to be is not.
///
/// # Errors
/// What kind of address it is, in words.
pub fn is_public(ip: IpAddr) -> Result<(), &'static str> {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> Result<(), &'static str> {
    Err(match ip.octets() {
        [0, 0, 0, 0] => "an unspecified address",
        [0, ..] => "a reserved address",
        [255, 255, 255, 255] => "a broadcast address",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "a private address",
        [127, ..] => "a loopback address",
        [169, 254, ..] => "a link-local address",
        [100, 64..=127, ..] => "a shared address of a provider",
        [168, 63, 129, 16] => "an address of the cloud's own machinery", // Azure's; it looks public
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "a documentation address",
        [192, 0, 0, _] | [192, 88, 99, _] => "a reserved address",
        [198, 18..=19, ..] => "a benchmarking address",
        [224..=239, ..] => "a multicast address",
        [240..=255, ..] => "a reserved address",
        _ => return Ok(()),
    })
}

fn is_public_v6(ip: Ipv6Addr) -> Result<(), &'static str> {
    Err(match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        // Other ways to write an IPv4 address: which one is meant is decided by whoever translates, so none is taken.
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4 address in IPv6 form",
        [0, 0, 0, 0, 0, 0, ..] => "an IPv4 address in IPv6 form",
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => "a translated IPv4 address",
        [0x2002, ..] | [0x2001, 0, ..] => "a tunnelled IPv4 address",
        [0x2001, 2, 0, ..] => "a benchmarking address",
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => "a documentation address",
        [0x2001, 0..=0x01ff, ..] => "a reserved address",
        [0xfc00..=0xfdff, ..] => "a private address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfec0..=0xfeff, ..] => "a site-local address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2000..=0x3fff, ..] => return Ok(()),
        _ => "a reserved address",
    })
}
