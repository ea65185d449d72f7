"""Threads beside a loop that does nothing but receive and send bulk.

Owns: whoever wants the interpreter meanwhile gets it, and soon; also a thread that Python did not
know of when the loop began.  Thread: each script runs in a process of its own, where no other test
has left one.
"""

import pytest

from tests.support.scripts import run_script

ECHO_BULK = """
    import ctypes, socket, threading, time

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
        def data_received(self, data):
            self.transport.write(data)

    class Into(asyncio.BufferedProtocol):
        def connection_made(self, transport):
            self.transport, self.buffer = transport, bytearray(256 * 1024)
        def get_buffer(self, hint):
            return self.buffer
        def buffer_updated(self, length):
            self.transport.write(bytes(memoryview(self.buffer)[:length]))

    async def echo_until(is_over, begin):
        loop = asyncio.get_running_loop()
        transports = []
        for kind in (Echo, Into):
            for sock in socket.socketpair():
                sock.setblocking(False)
                transport, _ = await loop.create_connection(kind, sock=sock)
                transports.append(transport)
            transport.write(bytes(100_000))
        await asyncio.sleep(0.1)
        begin()
        deadline = time.monotonic() + 10
        while not is_over() and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        for transport in transports:
            transport.abort()

    def finish(is_over, begin):
        loop = new_loop()
        loop.run_until_complete(echo_until(is_over, begin))
        loop.close()
        print("served" if is_over() else "starved")
"""

OF_PYTHON = """
    turns = []

    def work():
        for number in range(400):
            time.sleep(0)
            turns.append(number)

    assert threading.active_count() == 1
    finish(lambda: len(turns) == 400, threading.Thread(target=work, daemon=True).start)
"""

THE_MAIN_ONE = """
    turns = []
    has_begun = threading.Event()
    loop_runs = threading.Thread(target=finish, args=(lambda: len(turns) == 400, has_begun.set))
    loop_runs.start()
    has_begun.wait()
    for number in range(400):
        time.sleep(0)
        turns.append(number)
    loop_runs.join()
"""

OF_C = """
    calls = []
    c = ctypes.CDLL(None)
    routine = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: calls.append(None))
    threads = [ctypes.c_ulong() for _ in range(20)]

    def begin():
        for thread in threads:
            assert c.pthread_create(ctypes.byref(thread), None, routine, None) == 0

    finish(lambda: len(calls) == 20, begin)
    for thread in threads:
        c.pthread_join(thread, None)
"""


@pytest.mark.parametrize("thread", [OF_PYTHON, THE_MAIN_ONE, OF_C])
def test_a_thread_gets_the_interpreter_beside_bulk(loop_kind, thread):
    done = run_script(loop_kind, ECHO_BULK + thread)
    assert (done.stdout, done.stderr) == ("served\n", "")
