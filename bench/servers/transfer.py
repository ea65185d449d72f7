"""Servers of transfers: much comes or goes, and little the other way.

Owns the protocols of uploads and downloads, as plain as a user would write them; over TLS 1.3, too.
Everything runs on the loop's thread. An answer is the request, cut or repeated to the length that
was agreed upon, as bench/load/repeated.h says; the load generator looks at it. The kinds are named
in ``STARTERS``.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from bench.servers.echo import (
    BACKLOG, HOST, EchoOptions, Serving, Starter, self_made_context, serving,
)


def numbered(request: bytes, number: int) -> bytes:
    """Return a repetition of the request with its number, so that none is taken for another."""
    first = int.from_bytes(request[:8], "little") ^ number
    return first.to_bytes(8, "little") + request[8:]


class UploadProtocol(asyncio.Protocol):
    """Answers with the first bytes of a message when all of it has come."""

    def __init__(self, options: EchoOptions) -> None:
        self.options = options
        self.begin()

    def begin(self) -> None:
        self.left_bytes = self.options.size_bytes
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.left_bytes -= len(data)
        missing_bytes = self.options.answer_bytes - len(self.answer)
        if missing_bytes:
            self.answer += data[:missing_bytes]
        if self.left_bytes == 0:
            self.transport.write(self.answer)  # type: ignore[attr-defined]
            self.begin()


class DownloadProtocol(asyncio.Protocol):
    """Answers a small request with much, which it has ready."""

    ready: dict[bytes, bytes] = {}

    def __init__(self, options: EchoOptions) -> None:
        self.options = options
        self.request = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.request += data
        if len(self.request) == self.options.size_bytes:
            self.transport.write(self.answer_to(self.request))  # type: ignore[attr-defined]
            self.request = b""

    def answer_to(self, request: bytes) -> bytes:
        if request not in self.ready:
            times = -(-self.options.answer_bytes // len(request))
            answer = b"".join(numbered(request, number) for number in range(times))
            self.ready[request] = answer[: self.options.answer_bytes]
        return self.ready[request]


async def start(
    protocol: type[UploadProtocol | DownloadProtocol], with_tls: bool, options: EchoOptions
) -> Serving:
    """Serve with one of the protocols."""
    context: ssl.SSLContext | None = None
    if with_tls:
        context = self_made_context(options.ca_file)
    return serving(
        await asyncio.get_running_loop().create_server(
            lambda: protocol(options), HOST, 0, backlog=BACKLOG, ssl=context
        )
    )


STARTERS: dict[str, Starter] = {
    "upload": partial(start, UploadProtocol, False),
    "upload-tls": partial(start, UploadProtocol, True),
    "download": partial(start, DownloadProtocol, False),
    "download-tls": partial(start, DownloadProtocol, True),
}
