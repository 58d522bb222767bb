//! What a listening socket that is handed over is for, and which of several is the one that settings ask for.

use std::net::SocketAddr;

/// A listening socket of another process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// What that process served there, in words of its own; may be empty.
    pub role: String,
    /// The address as its settings had it: the port may be 0.
    pub wanted: SocketAddr,
    /// The address that it is bound to.
    pub bound: SocketAddr,
}

/// Which of these is the socket for `role` at `wanted`. An address says everything, since what is served there is up to
/// the settings of whoever takes it; where the kernel chose the port, it is the same role's at the same written address.
pub fn find<'a>(
    mut places: impl Iterator<Item = &'a Place>,
    role: &str,
    wanted: SocketAddr,
) -> Option<usize> {
    places.position(|place| match wanted.port() {
        0 => place.wanted == wanted && place.role == role,
        _ => place.bound == wanted && is_udp(&place.role) == is_udp(role),
    })
}

/// UDP has addresses of its own, and roles that end like this.
fn is_udp(role: &str) -> bool {
    role.ends_with("/udp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(role: &str, wanted: &str, bound: &str) -> Place {
        Place { role: role.to_owned(), wanted: wanted.parse().unwrap(), bound: bound.parse().unwrap() }
    }

    #[test]
    fn an_address_is_found_whatever_it_was_for() {
        let places = [place("clients", "127.0.0.1:1", "127.0.0.1:1"), place("", "[::1]:2", "[::1]:2")];
        let find = |wanted: &str| find(places.iter(), "tls", wanted.parse().unwrap());
        assert_eq!((find("127.0.0.1:1"), find("[::1]:2")), (Some(0), Some(1)));
        assert_eq!((find("127.0.0.1:2"), find("0.0.0.0:1")), (None, None));
    }

    #[test]
    fn the_same_address_of_udp_is_another_one() {
        let places =
            [place("dns/tcp", "127.0.0.1:1", "127.0.0.1:1"), place("dns/udp", "127.0.0.1:1", "127.0.0.1:1")];
        let find = |role: &str| find(places.iter(), role, "127.0.0.1:1".parse().unwrap());
        assert_eq!((find("dns/udp"), find("dns/tcp"), find("clients")), (Some(1), Some(0), Some(0)));
    }

    #[test]
    fn a_port_that_the_kernel_chose_is_found_by_what_it_is_for() {
        let places =
            [place("admin", "127.0.0.1:0", "127.0.0.1:7"), place("clients", "127.0.0.1:0", "127.0.0.1:8")];
        let find = |role: &str| find(places.iter(), role, "127.0.0.1:0".parse().unwrap());
        assert_eq!((find("clients"), find("admin"), find("tls")), (Some(1), Some(0), None));
    }
}
