"""TLS peers that break off: in the middle of a handshake, of a record, or without a last word.

Owns: half a handshake and then silence, a stream cut off at every place, and renegotiation.
Thread: the test's own; peers block in worker threads, or are OpenSSL's own programs.
Must not: promise an error where asyncio gives none.
"""

import asyncio
import pathlib
import shutil
import socket
import ssl

import pytest

from tests.support import certs
from tests.support.net import Peer, capture_errors, only_on, run, serving
from tests.support.payload import pattern
from tests.support.recorders import BufferedRecorder, Recorder, RecordingProtocol, Registry
from tests.support.tls_wire import Wire, against_wire

SERVER_SIDE = pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
DATA = pattern(40_000)  # three records


@SERVER_SIDE
@pytest.mark.parametrize("part", ["a byte", "half", "all but a byte", "a flight"])
@pytest.mark.parametrize("ending", ["silence", "end", "reset"])
def test_a_handshake_that_stops_halfway(
    loop: asyncio.AbstractEventLoop, server_side: bool, part: str, ending: str
) -> None:
    async def main() -> None:
        capture_errors(loop)
        protocol = Recorder()
        timeout_s = 0.1 if ending == "silence" else 10.0
        async with against_wire(
            protocol,
            server_side=server_side,
            version=ssl.TLSVersion.TLSv1_2,  # in which a whole flight is not yet the end
            handshake_timeout_s=timeout_s,
        ) as (connecting, wire):
            data = await wire.flight()
            size = {"a byte": 1, "half": len(data) // 2, "all but a byte": -1, "a flight": None}
            await wire.peer.send(data[: size[part]])
            if ending == "end":
                wire.peer.half_close()
            elif ending == "reset":
                wire.peer.reset()
            with pytest.raises(ConnectionError):
                await connecting
        assert protocol.calls == []

    run(loop, main())


def test_clients_that_stall_in_the_handshake_do_not_hinder_others(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        capture_errors(loop)
        registry = Registry()
        options = {"ssl": certs.server_context(), "ssl_handshake_timeout": 0.5}
        async with serving(registry, **options) as served:
            stalled = []
            for _ in range(50):
                peer = Peer(socket.create_connection(served.address))
                wire = Wire(peer, server_side=False, version=ssl.TLSVersion.TLSv1_3)
                peer.sock.sendall((await wire.flight())[:100])
                stalled.append(peer)
            _, client = await loop.create_connection(
                Recorder, *served.address, ssl=certs.client_context(), server_hostname="localhost"
            )
            client.transport.write(b"hello")
            assert await client.read(5) == b"hello"
            client.transport.close()
            await client.lost
            for peer in stalled:
                assert await peer.recv_to_eof() == b""
                peer.close()
            assert sum(bool(protocol.calls) for protocol in registry.protocols) == 1

    run(loop, main())


@SERVER_SIDE
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("cut_bytes", [0, 1, 5_000])
def test_a_stream_without_its_last_word(
    loop: asyncio.AbstractEventLoop,
    server_side: bool,
    version: ssl.TLSVersion,
    factory: type[RecordingProtocol],
    cut_bytes: int,
) -> None:
    """The end of TCP without the end of TLS: whole records are delivered, then it is over."""

    async def main() -> None:
        capture_errors(loop)
        protocol = factory()
        async with against_wire(protocol, server_side=server_side, version=version) as (
            connecting,
            wire,
        ):
            await wire.shake_hands()
            await connecting
            data = wire.encrypted(DATA)
            await wire.peer.send(data[: len(data) - cut_bytes])
            wire.peer.half_close()
            await protocol.lost
        whole_bytes = len(DATA) if not cut_bytes else len(DATA) // 16384 * 16384
        assert protocol.buffer == DATA[:whole_bytes]
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.calls[-1] == "connection_lost"

    run(loop, main())


@only_on("loopx")
@SERVER_SIDE
@pytest.mark.parametrize("reaction", ["takes all", "pauses", "closes", "pauses, then closes"])
def test_the_end_at_once_with_more_than_a_buffer_holds(
    loop: asyncio.AbstractEventLoop, server_side: bool, reaction: str
) -> None:
    """asyncio drops what does not fit; paused and then closed, it never ends."""

    class Small(BufferedRecorder):
        space_bytes = 1_000

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            if reaction == "closes":
                self.transport.close()
            elif reaction != "takes all":
                self.transport.pause_reading()
                after = "close" if "closes" in reaction else "resume_reading"
                loop.call_soon(loop.call_soon, getattr(self.transport, after))

    async def main() -> None:
        protocol = Small()
        async with against_wire(protocol, server_side=server_side) as (connecting, wire):
            await wire.shake_hands()
            await connecting
            wire.peer.sock.sendall(wire.encrypted(DATA))
            wire.peer.half_close()
            await protocol.lost
        if "closes" in reaction:
            assert protocol.buffer == DATA[: len(protocol.buffer)]
        else:
            assert protocol.buffer == DATA
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.calls[-1] == "connection_lost"

    run(loop, main())


openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl")


@openssl
def test_a_server_that_renegotiates(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path
) -> None:
    """TLS 1.2: the handshake is done again between data, and nothing is lost."""

    async def main() -> None:
        chain, key = certs.write_pem(tmp_path)
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_server", "-tls1_2", "-accept", "127.0.0.1:0", "-naccept", "1"),
            *("-cert", chain, "-cert_chain", chain, "-key", key),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdin is not None and process.stdout is not None
        output = process.stdout
        port = int((await output.readuntil(b"ACCEPT 127.0.0.1:"), await output.readline())[1])
        _, client = await loop.create_connection(
            Recorder, "127.0.0.1", port, ssl=certs.client_context(), server_hostname="localhost"
        )
        for number in range(3):
            client.transport.write(b"from the client %d\n" % number)
            await output.readuntil(b"from the client %d\n" % number)
            process.stdin.write(b"r\n")
            await output.readuntil(b"SSL_do_handshake -> ")
            process.stdin.write(b"from the server %d\n" % number)
            assert await client.read(18) == b"from the server %d\n" % number
        client.transport.close()
        await client.lost
        process.stdin.close()
        await output.read()
        assert await process.wait() == 0

    run(loop, main())


@openssl
def test_a_client_that_renegotiates(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path
) -> None:
    """OpenSSL refuses that to clients: the connection ends or goes on, and so does the server."""

    async def main() -> None:
        capture_errors(loop)
        registry = Registry()
        context = certs.server_context(version=ssl.TLSVersion.TLSv1_2)
        async with serving(registry, ssl=context) as served:
            process = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-tls1_2", "-connect", "127.0.0.1:%d" % served.address[1]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"hello\n")
            await process.stdout.readuntil(b"hello\n")
            process.stdin.write(b"R\n")
            await process.stdout.readuntil(b"RENEGOTIATING\n")
            process.stdin.close()
            await process.stdout.read()
            await process.wait()
            (protocol,) = registry.protocols
            await protocol.lost
            assert protocol.calls.count("connection_lost") == 1

    run(loop, main())
