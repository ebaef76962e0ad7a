"""The process that Terraform starts: HashiCorp's go-plugin handshake over TLS, then gRPC until told to end.

    python -m gcp_openemr.sandbox.provider.plugin PARENT

The answer on stdout is one line, `1|6|unix|SOCKET|grpc|CERTIFICATE` (core protocol, plugin protocol, address, our
certificate as unpadded base64 DER), and Terraform accepts no other certificate. Its own, in PLUGIN_CLIENT_CERT, is
signed with P-521, which gRPC's BoringSSL cannot check; the socket lies in a folder that only this user may enter.
"""

from __future__ import annotations

import base64
import datetime
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gcp_openemr.sandbox.provider import wire
from gcp_openemr.sandbox.provider.servicer import Servicer

__all__ = ["main", "new_server", "serve"]

_COOKIE = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
_GLANCE = 1.0  # seconds between looks at whether Terraform is still there
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


def main(arguments: Sequence[str]) -> int:
    """Serve as Terraform's child. The first argument is its process id as the launcher saw it: it may be gone."""
    parent = int(arguments[0]) if arguments else os.getppid()
    return serve(lambda: os.getppid() == parent)


def serve(is_wanted: Callable[[], bool]) -> int:
    """Serve until Terraform calls Shutdown, or is found to be gone; exit status."""
    if os.environ.get(_COOKIE[0]) != _COOKIE[1]:
        sys.stderr.write("This program is a Terraform provider: Terraform starts it, people do not.\n")
        return 1
    folder = tempfile.mkdtemp(prefix="plugin")
    ended = threading.Event()
    # Ctrl-C reaches the whole group, and it is for Terraform to say what then happens to an apply that is under way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    server = new_server(Servicer(), ended)
    try:
        certificate, credentials = _tls()
        server.add_secure_port(f"unix:{folder}/socket", credentials)
        server.start()
        shown = base64.b64encode(certificate).decode().rstrip("=")
        sys.stdout.write(f"1|6|unix|{folder}/socket|grpc|{shown}\n")
        sys.stdout.flush()
        while not ended.wait(_GLANCE) and is_wanted():
            pass
        server.stop(0.2).wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def new_server(servicer: Servicer, ended: threading.Event) -> grpc.Server:
    """A provider that listens nowhere yet; sets `ended` when Terraform says so."""
    server = grpc.server(futures.ThreadPoolExecutor(32), options=_UNLIMITED)
    server.add_generic_rpc_handlers(_handlers(servicer, ended))
    return server


def _handlers(servicer: Servicer, ended: threading.Event) -> tuple[Any, ...]:
    def shutdown(_request: bytes, _context: Any) -> bytes:
        ended.set()
        return b""

    def stdio(_request: bytes, context: Any) -> Iterator[bytes]:
        context.add_callback(ended.set)
        ended.wait()
        return iter(())

    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    serving = {"Check": unary(lambda _request, _context: _SERVING)}
    return (
        grpc.method_handlers_generic_handler("tfplugin6.Provider", _provider_handlers(servicer)),
        grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": unary(shutdown)}),
        grpc.method_handlers_generic_handler("plugin.GRPCStdio", {"StreamStdio": stream(stdio)}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", serving),
    )


def _provider_handlers(servicer: Servicer) -> dict[str, Any]:
    handlers = {}
    for name in wire.SERVICE.methods_by_name:
        handlers[name] = grpc.unary_unary_rpc_method_handler(
            _answering(servicer, name),
            request_deserializer=getattr(wire, name).Request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
    return handlers


def _answering(servicer: Servicer, name: str) -> Callable[[Any, Any], Any]:
    return lambda request, _context: servicer.answer(name, request)


def _tls() -> tuple[bytes, grpc.ServerCredentials]:
    """A certificate for this process (DER), and the server's credentials with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    credentials = grpc.ssl_server_credentials([(private, certificate.public_bytes(serialization.Encoding.PEM))])
    return certificate.public_bytes(serialization.Encoding.DER), credentials


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Threads of gRPC may still wait for a Terraform that is gone; nothing of theirs is worth keeping.
    os._exit(status)
