"""A process that drives an echo server over many connections, for tests that count.

`python -m tests.support.echo_client HOST PORT CONNECTIONS ROUNDS BYTES` connects, says 'connected',
and for each line that it is given runs all the rounds and says 'done'; it ends with its input.
A process of its own, so that it shares no interpreter lock with the server.
"""

from __future__ import annotations

import selectors
import socket
import sys

from tests.support.patience import PATIENCE

TIMEOUT_S = 20.0 * PATIENCE


class Connection:
    """One client: sends the next message when the echo of the last has come back whole."""

    def __init__(self, address: tuple[str, int], message: bytes) -> None:
        self.sock = socket.create_connection(address, timeout=TIMEOUT_S)
        self.message = message
        self.rounds_left = 0
        self.missing_bytes = 0

    def begin(self, rounds: int) -> None:
        self.rounds_left = rounds
        self.send()

    def send(self) -> None:
        self.missing_bytes = len(self.message)
        self.sock.sendall(self.message)

    def advance(self) -> bool:
        """Take what has come; whether there is more to do."""
        data = self.sock.recv(self.missing_bytes)
        if not data:
            raise EOFError("the server closed the connection")
        self.missing_bytes -= len(data)
        if not self.missing_bytes:
            self.rounds_left -= 1
            if self.rounds_left:
                self.send()
        return bool(self.rounds_left)


def run_rounds(connections: list[Connection], rounds: int) -> None:
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.sock, selectors.EVENT_READ, connection)
            connection.begin(rounds)
        while selector.get_map():
            ready = selector.select(TIMEOUT_S)
            if not ready:
                raise TimeoutError("the server does not answer")
            for key, _ in ready:
                if not key.data.advance():
                    selector.unregister(key.fileobj)


def main() -> None:
    host, *numbers = sys.argv[1:]
    port, count, rounds, size_bytes = map(int, numbers)
    connections = [Connection((host, port), b"m" * size_bytes) for _ in range(count)]
    print("connected", flush=True)
    for _ in sys.stdin:
        run_rounds(connections, rounds)
        print("done", flush=True)
    for connection in connections:
        connection.sock.close()


if __name__ == "__main__":
    main()
