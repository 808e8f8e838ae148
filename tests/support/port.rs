//! Ports that are known before anybody listens there.

use tokio::net::TcpSocket;

/// A port for a program that must be told one. It is bound here without listening, so that nobody else is given it;
/// a server with `SO_REUSEADDR`, which all of these set, may listen there all the same.
pub(crate) struct Port(TcpSocket);

impl Port {
    pub(crate) fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of every socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self(socket)
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }
}
