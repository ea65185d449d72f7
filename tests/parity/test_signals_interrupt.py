"""Ctrl-C and SIGTERM: what asyncio.run makes of them, in processes of their own.

Each script signals itself, or tells on its standard output that it is ready to be signalled.
Runs on asyncio and on loopx.
"""

import signal

import pytest

from tests.support.scripts import run_script, running_script

MAIN = """
    import os, signal, threading

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    def run(main):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)
"""


def check(result, *lines):
    assert result.stdout.split("\n")[:-1] == list(lines), result.stderr
    assert "unclosed" not in result.stderr


def test_ctrl_c_cancels_the_main_task(loop_kind):
    result = run_script(
        loop_kind,
        MAIN
        + """
    async def main():
        try:
            asyncio.get_running_loop().call_later(0.05, interrupt)
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            print("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            print("tidied up")

    try:
        run(main())
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    """,
        "-X",
        "dev",
    )
    assert result.returncode == 0, result.stderr
    check(result, "cancelled", "tidied up", "KeyboardInterrupt")


def test_ctrl_c_ends_the_process_as_an_interrupt(loop_kind):
    result = run_script(
        loop_kind,
        MAIN
        + """
    async def main():
        asyncio.get_running_loop().call_soon(interrupt)
        await asyncio.sleep(50)

    run(main())
    """,
    )
    assert result.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in result.stderr


def test_ctrl_c_while_waiting_for_a_connection(loop_kind):
    """From outside, as a terminal does, while the loop waits in the kernel."""
    with running_script(
        loop_kind,
        MAIN
        + """
    async def main():
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        async with server:
            asyncio.get_running_loop().call_later(0.05, print, "ready")
            await server.serve_forever()

    try:
        run(main())
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    """,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert out == "KeyboardInterrupt\n", err
    assert process.returncode == 0


def test_ctrl_c_in_a_callback_that_does_not_end(loop_kind):
    """The first interrupt only asks the task to end; the second comes out at once."""
    result = run_script(
        loop_kind,
        MAIN
        + """
    async def main():
        interrupt()
        print("went on")
        interrupt()
        while True:
            pass

    try:
        run(main())
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    """,
    )
    check(result, "went on", "KeyboardInterrupt")


def test_a_task_that_swallows_the_interrupt(loop_kind):
    result = run_script(
        loop_kind,
        MAIN
        + """
    async def main():
        asyncio.get_running_loop().call_later(0.02, interrupt)
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            return "swallowed"

    print(run(main()))
    """,
    )
    check(result, "swallowed")


def test_ctrl_c_out_of_run_forever_without_a_runner(loop_kind):
    result = run_script(
        loop_kind,
        MAIN
        + """
    loop = new_loop()
    loop.call_later(0.05, interrupt)
    loop.call_later(50, loop.stop)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        print("KeyboardInterrupt", loop.is_running())
    print(loop.run_until_complete(asyncio.sleep(0, "works on")))
    loop.close()
    """,
        "-X",
        "dev",
    )
    check(result, "KeyboardInterrupt False", "works on")


def test_ctrl_c_from_another_thread_during_a_wait(loop_kind):
    result = run_script(
        loop_kind,
        MAIN
        + """
    from tests.support.threads import wait_until_blocked

    def interrupt_when_blocked(native_id):
        wait_until_blocked(native_id)
        interrupt()

    loop = new_loop()
    loop.call_later(50, loop.stop)
    main_id = threading.get_native_id()
    thread = threading.Thread(target=interrupt_when_blocked, args=(main_id,))
    thread.start()
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
    thread.join()
    loop.close()
    """,
    )
    check(result, "KeyboardInterrupt")


def test_a_signal_handler_for_ctrl_c_wins(loop_kind):
    result = run_script(
        loop_kind,
        MAIN
        + """
    async def main():
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, stopped.set)
        loop.call_soon(interrupt)
        await stopped.wait()
        loop.remove_signal_handler(signal.SIGINT)
        return "stopped politely"

    print(run(main()))
    """,
    )
    check(result, "stopped politely")
    assert result.returncode == 0


def test_sigterm_stops_a_server(loop_kind):
    with running_script(
        loop_kind,
        MAIN
        + """
    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        loop.add_signal_handler(signal.SIGTERM, server.close)
        loop.call_soon(print, "ready")
        await server.wait_closed()
        return "closed"

    print(run(main()))
    """,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=20)
        except Exception:
            process.kill()
            raise
    assert (out, process.returncode) == ("closed\n", 0), err


@pytest.mark.parametrize(
    "how", ["sys.exit(3)", "raise SystemExit(3)", "loop.call_soon(sys.exit, 3)"]
)
def test_exit_codes(loop_kind, how):
    result = run_script(
        loop_kind,
        MAIN
        + f"""
    import sys

    async def main():
        loop = asyncio.get_running_loop()
        {how}
        await asyncio.sleep(1)

    run(main())
    """,
    )
    assert result.returncode == 3, result.stderr


def test_leaving_with_a_loop_that_waits_in_a_daemon_thread(loop_kind):
    """The interpreter goes down while a thread is in the kernel for the loop."""
    result = run_script(
        loop_kind,
        MAIN
        + """
    from tests.support.threads import wait_until_blocked

    loop = new_loop()
    ready = threading.Event()
    ids = []

    def run_it():
        ids.append(threading.get_native_id())
        loop.call_soon(ready.set)
        loop.run_forever()

    threading.Thread(target=run_it, daemon=True).start()
    ready.wait()
    wait_until_blocked(ids[0])
    print("leaving")
    """,
    )
    check(result, "leaving")
    assert result.returncode == 0, result.stderr


def test_leaving_without_closing_anything(loop_kind):
    """Open server, connection, timer, reader, executor thread: the exit is quiet and quick."""
    result = run_script(
        loop_kind,
        MAIN
        + """
    import socket, time

    loop = new_loop()
    ours, theirs = socket.socketpair()

    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        loop.call_later(1000, print)
        loop.add_reader(ours, print)
        await loop.run_in_executor(None, time.sleep, 0)
        return server

    kept = loop.run_until_complete(main())
    print("leaving")
    """,
    )
    check(result, "leaving")
    assert result.returncode == 0, result.stderr
