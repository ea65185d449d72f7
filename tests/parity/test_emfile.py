"""Accepting with no descriptors left: logged, paused, and serving again when there are some.

Owns: EMFILE on accept, and accept's other errors.  The server is a process of its own, whose
limit is lowered.
Thread: the test's own; it is the client.
Must not: lower the limit of the process that runs the tests.
"""

import errno
import json
import platform
import select
import socket
import subprocess

import pytest

from tests.support.children import output_of
from tests.support.net import only_on
from tests.support.scripts import running_script

CLIENTS = 10
FREE = 3

SERVER = """
import json, os, resource, sys, time

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        command = COMMANDS.get(data)
        answer = data if command is None else json.dumps(command()).encode()
        self.transport.write(answer + b"\\n")

def is_taken(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

def lower():
    limit = free = 0
    while free < FREE:
        free += not is_taken(limit)
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, original[1]))

def restore():
    resource.setrlimit(resource.RLIMIT_NOFILE, original)

def reports():
    return [[c["message"], c["exception"].errno, type(c["socket"]).__name__] for c in contexts]

def close():
    server.close()
    loop.call_later(1.5, done.set)

def handler(loop, context):
    contexts.append(context)
    if len(contexts) == 1:
        print("full", flush=True)

async def main():
    global server
    server = await loop.create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done.wait()

COMMANDS = {b"lower": lower, b"restore": restore, b"reports": reports, b"close": close,
            b"cpu": time.process_time, b"count": lambda: len(contexts), b"quit": lambda: done.set()}
FREE = %d
contexts = []
original = resource.getrlimit(resource.RLIMIT_NOFILE)
done = asyncio.Event()
loop = new_loop()
loop.set_exception_handler(handler)
loop.run_until_complete(main())
print(len(contexts), flush=True)
loop.close()
""" % FREE


class Client:
    """A blocking client that speaks in lines."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=20)

    def send(self, text: bytes) -> None:
        self.sock.sendall(text)

    def recv(self) -> bytes:
        with self.sock.makefile("rb") as lines:
            return lines.readline()

    def ask(self, command: bytes) -> object:
        self.send(command)
        return json.loads(self.recv())


def exhaust(server: subprocess.Popen[str]) -> tuple[Client, list[Client]]:
    """Lower the server's limit and connect until it says that it is full."""
    assert server.stdout is not None
    address = ("127.0.0.1", int(server.stdout.readline()))
    control = Client(address)
    control.ask(b"lower")
    clients = [Client(address) for _ in range(CLIENTS)]
    for client in clients:
        client.send(b"hello")
    assert server.stdout.readline() == "full\n"
    return control, clients


def test_serving_again_when_descriptors_are_free(loop_kind: str) -> None:
    with running_script(loop_kind, SERVER) as server:
        control, clients = exhaust(server)
        for client in clients[:FREE]:
            assert client.recv() == b"hello\n"
        waiting = [client.sock for client in clients[FREE:]]
        before_s, count = float(str(control.ask(b"cpu"))), control.ask(b"count")
        answered, _, _ = select.select(waiting, [], [], 0.3)  # a pause, not a spin
        assert answered == []
        assert float(str(control.ask(b"cpu"))) - before_s < 0.15
        assert control.ask(b"count") == count
        reports = control.ask(b"reports")
        assert isinstance(reports, list)
        expected = ["socket.accept() out of system resource", 24, "TransportSocket"]
        assert reports
        assert all(report == expected for report in reports)
        control.ask(b"restore")
        for client in clients[FREE:]:
            assert client.recv() == b"hello\n"
        control.ask(b"quit")
        for client in (control, *clients):
            client.sock.close()
        assert server.wait(timeout=20) == 0


def test_a_closed_connection_makes_room(loop_kind: str) -> None:
    """The limit stays low: each connection that ends lets another one in."""
    with running_script(loop_kind, SERVER) as server:
        control, clients = exhaust(server)
        for client in clients:
            assert client.recv() == b"hello\n"
            client.sock.close()
        control.ask(b"quit")
        control.sock.close()
        assert server.wait(timeout=20) == 0


@only_on("loopx")
def test_a_server_closed_during_the_pause(loop_kind: str) -> None:
    """The retry finds nothing to do; asyncio's fails on the closed socket."""
    with running_script(loop_kind, SERVER) as server:
        control, clients = exhaust(server)
        assert server.stdout is not None
        count = control.ask(b"count")
        control.ask(b"close")
        assert int(server.stdout.readline()) == count
        for client in (control, *clients):
            client.sock.close()
        assert server.wait(timeout=20) == 0


# accept4(2), by architecture.
ACCEPT_CALL = {"x86_64": 288, "aarch64": 242}


@only_on("loopx")
@pytest.mark.skipif(platform.machine() not in ACCEPT_CALL, reason="accept4's number is unknown")
def test_another_error_of_accept_is_named(loop_kind):
    """It is tried again after a pause, too, but said to be what it is.

    asyncio raises it into the exception handler, and tries again at once.
    """
    lines = output_of(
        """
        import asyncio, errno, os, socket, sys
        import loopx
        from tests.support.seccomp import deny_calls

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            told = loop.create_future()
            loop.set_exception_handler(lambda loop, context: told.set_result(context))
            deny_calls(errno.EPROTO, int(sys.argv[1]), int(sys.argv[1]))
            with socket.create_connection(server.sockets[0].getsockname()):
                context = await told
            print(context["message"])
            print(context["exception"].errno)
            server.close()

        loopx.run(main())
        """,
        str(ACCEPT_CALL[platform.machine()]),
    )
    assert lines == ["socket.accept() failed, and is tried again", str(errno.EPROTO)]
