"""To whom may the fetcher speak? A proxy on loopback that all its connections go through.

A URI is a wish of whoever may write the resource, and the pod stands inside the cluster's network:
without a gate it would read cloud metadata and internal services for them. A name is looked up once,
here, and the connection goes to the address that was judged, so neither a redirect nor a name that
changes its address gets around it. Only public addresses on port 443 are reached, and the hosts that
the installation allows.
"""

import ipaddress
import select
import socket
import socketserver
import threading
from collections.abc import Iterable
from contextlib import closing, suppress

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 120.0
LOOK_SECONDS = 0.05  # for its end
HEAD_BYTES = 8192
PIECE = 65536


class Closed(Exception):
    """Not a place to speak to; the sentence says why."""


def addresses(host: str, port: int, allowed: frozenset[str]) -> list[tuple[str, int]]:
    """Where to connect for a host. Raises `Closed` for what is not public and not allowed, and
    OSError where the name has no address."""
    if is_allowed(host, port, allowed):
        return _looked_up(host, port)
    if port != 443:
        raise Closed(f"{host}:{port} is not an HTTPS port")
    found = _looked_up(host, port)
    for address, _ in found:
        if not is_public(address):
            raise Closed(f"{host} is not a public address")
    return found


def is_allowed(host: str, port: int, allowed: frozenset[str]) -> bool:
    """Whether the installation allows it, as ``host`` or ``host:port``."""
    return bool({host.lower(), f"{host.lower()}:{port}"} & allowed)


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet, also where it is written as another kind."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo and found.teredo[1])
        if inner:
            return is_public(str(inner))
        if found in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    inside = any(found in each for each in INSIDE if each.version == found.version)
    return found.is_global and not found.is_multicast and not inside


NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not every Python counts these as inside; a cloud's metadata is at 192.0.0.192.
INSIDE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48")))


def _looked_up(host: str, port: int) -> list[tuple[str, int]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(each[4][0]), port) for each in found))


class Gate:
    """Listens until `close`. ``refused`` holds why the last connections were not made."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(each.lower() for each in allowed)
        self.refused: list[str] = []
        gate = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    gate._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=(LOOK_SECONDS,), daemon=True
        ).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def reason(self) -> str:
        """Why the last connection was not made; empty where all were."""
        return self.refused[-1] if self.refused else ""

    def close(self) -> None:
        """No more connections."""
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(CONNECT_SECONDS)
        head = _head(client)
        method, _, rest = head.partition(b" ")
        target = rest.partition(b" ")[0].decode("ascii", "replace")
        host, _, port = target.rpartition(":")
        if method != b"CONNECT" or not port.isdecimal():
            self._refuse(client, "only HTTPS goes this way", 405)
            return
        try:
            upstream = self._connect(host.strip("[]"), int(port))
        except Closed as closed:
            self._refuse(client, str(closed), 403)
            return
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        with closing(upstream):
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(client, upstream)

    def _connect(self, host: str, port: int) -> socket.socket:
        last: OSError = OSError(f"{host} has no address")
        for address in addresses(host, port, self.allowed):
            try:
                return socket.create_connection(address, CONNECT_SECONDS)
            except OSError as error:
                last = error
        raise last

    def _refuse(self, client: socket.socket, why: str, code: int) -> None:
        self.refused = [*self.refused, why][-10:]
        client.sendall(f"HTTP/1.1 {code} Refused\r\n\r\n".encode())


def _head(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_BYTES:
        more = client.recv(1024)
        if not more:
            break
        data += more
    return data


def _relay(client: socket.socket, upstream: socket.socket) -> None:
    """Both directions in one thread, until either side ends or nothing comes for too long."""
    for end in (client, upstream):
        end.settimeout(IDLE_SECONDS)
    while True:
        ready, _, _ = select.select([client, upstream], [], [], IDLE_SECONDS)
        for end in ready:
            piece = end.recv(PIECE)
            if not piece:
                return
            (upstream if end is client else client).sendall(piece)
        if not ready:
            return
