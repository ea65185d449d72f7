"""What loops submit needs no thread of the kernel's: none is started.

loopx only: asyncio asks the kernel for nothing that could.
Thread: a child process's main one; the threads of a process are what is looked at.
Must not: run where other rings of the same process could have workers.
"""

from tests.support.children import output_of


def test_full_unix_sockets_whose_peer_shuts_down() -> None:
    """A send that waits in the kernel was handed to a worker here, which could not be cancelled.

    An idle worker lives on for seconds, so that looking once at the end will see it.
    """
    lines = output_of(
        """
        import asyncio, pathlib, socket
        import loopx

        class HalfOpen(asyncio.Protocol):
            def __init__(self):
                self.ended = asyncio.get_running_loop().create_future()
                self.lost = asyncio.get_running_loop().create_future()

            def eof_received(self):
                self.ended.set_result(None)
                return True

            def connection_lost(self, error):
                self.lost.set_result(error)

        async def main():
            loop = asyncio.get_running_loop()
            for _ in range(100):
                ours, theirs = socket.socketpair()
                transport, protocol = await loop.create_connection(HalfOpen, sock=ours)
                transport.write(bytes(1 << 20))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                theirs.shutdown(socket.SHUT_WR)
                await protocol.ended
                await asyncio.sleep(0.001)  # a wait in the kernel, whatever ends it
                transport.abort()
                await protocol.lost
                theirs.close()

        loopx.run(main())
        for name in pathlib.Path("/proc/self/task").glob("*/comm"):
            print(name.read_text().strip().split("-")[0])
        """
    )
    assert "iou" not in lines
