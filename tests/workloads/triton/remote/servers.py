"""A web server on loopback that is as kind or as nasty as a test asks, with and without TLS."""

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Web:
    """Serves ``files`` (path -> bytes). ``cut`` answers end after so many bytes; ``moved`` paths are
    sent elsewhere; ``asked`` holds (method, path, headers)."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: list[int] = []
        self.moved: dict[str, str] = {}
        self.needs: str | None = None
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.on_get: Callable[[str], None] = lambda _: None
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web._answer(self)

            def do_HEAD(self) -> None:
                web._answer(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.host = f"localhost:{self.port}" if certificate else f"127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def hub(self, repository: str, files: dict[str, bytes], **more: object) -> None:
        """A repository as a hub tells and keeps it."""
        commit = "c0ffee0" + "0" * 33
        siblings = [
            {"rfilename": name, "size": len(data), **more.get(name, {})}  # type: ignore[dict-item]
            for name, data in files.items()
        ]
        told = json.dumps({"sha": commit, "siblings": siblings}).encode()
        self.files[f"/api/models/{repository}/revision/main?blobs=true"] = told
        for name, data in files.items():
            self.files[f"/{repository}/resolve/{commit}/{name}"] = data

    def gets(self) -> list[str]:
        return [path for method, path, _ in self.asked if method == "GET"]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        headers = {key.lower(): value for key, value in handler.headers.items()}
        self.asked.append((handler.command, path, headers))
        self.on_get(path)
        if path in self.moved:
            handler.send_response(302)
            handler.send_header("Location", self.moved[path])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = self.files.get(path)
        denied = self.needs and handler.headers.get("Authorization") != self.needs
        if data is None or denied:
            handler.send_response(401 if denied else 404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, data)

    def _send(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        asked = handler.headers.get("Range", "")
        first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        part = data[first:]
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(part)))
        handler.send_header("ETag", f'"{hash(data)}"')
        if asked:
            handler.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        if handler.command == "GET":
            cut = self.cut.pop(0) if self.cut and len(part) > 1000 else None
            handler.wfile.write(part[:cut])
            if cut is not None:
                handler.close_connection = True


def certificate(folder: Path) -> tuple[Path, Path]:
    """A chain and a key of localhost, and beside them `ca.crt`, which signed it."""
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _signed("authority", authority, "authority", authority, is_ca=True)
    leaf = _signed("localhost", own, "authority", authority, is_ca=False)
    chain, key, root = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
    pem = serialization.Encoding.PEM
    chain.write_bytes(leaf.public_bytes(pem) + ca.public_bytes(pem))
    root.write_bytes(ca.public_bytes(pem))
    plain = serialization.NoEncryption()
    key.write_bytes(own.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return chain, key


def _signed(name: str, key, issuer: str, signer, *, is_ca: bool) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    built = (
        x509.CertificateBuilder()
        .subject_name(_called(name))
        .issuer_name(_called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return built.sign(signer, hashes.SHA256())


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
