"""Servers that do not do what a benchmark expects: `python -m tests.bench.misbehaving KIND`.

Owns one asyncio server in a process of its own, which prints its port as the benchmarks' do.
Thread: the process's only one.  Must not import loopx or bench: it stands for somebody else's.
"""

import asyncio
import sys

# After so many messages a server that is right at first goes wrong: past every first exchange.
GOOD_MESSAGES = 50
ANSWERS = {
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nHello, world!\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "302": b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
}


class Server(asyncio.Protocol):
    """Echo, or HTTP without keeping requests apart: each client here waits for its answer."""

    served = 0

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        Server.served += 1
        right = Server.served <= GOOD_MESSAGES
        if self.kind == "echo" or right and self.kind.startswith("echo"):
            self.transport.write(data)
        elif self.kind == "echo-wrong":
            self.transport.write(bytes([data[0] ^ 1]) + data[1:])
        elif self.kind == "echo-short":
            self.transport.write(data[:-1])
            self.transport.close()
        elif self.kind == "http":
            target = data.split(b" ", 2)[1]
            self.transport.write(ANSWERS["302" if target == b"/moved" else "200"])
        elif self.kind.startswith("http-"):
            self.transport.write(ANSWERS["200" if right else self.kind.removeprefix("http-")])
        else:  # dropped
            self.transport.abort()


async def main(kind: str) -> None:
    """Serve until killed; 'deaf' and 'dead' never come to that."""
    if kind == "dead":
        sys.exit("I would rather not")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(kind), "127.0.0.1", 0)
    print("SOON" if kind == "deaf" else "READY", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
