"""loopx's own names: run, install, new_event_loop, EventLoopPolicy, Loop.

loopx only.  What changes the process for good (a policy) runs in a process of its own.
"""

import asyncio
import contextvars
import gc
import inspect
import signal
import sys
import threading

import pytest

from tests.support.leaks import open_descriptors
from tests.support.loops import require_loopx
from tests.support.scripts import run_script
from tests.support.threads import in_thread

require_loopx()

import loopx  # noqa: E402

NAME = contextvars.ContextVar("NAME", default="nobody")

with_policies = pytest.mark.skipif(sys.version_info >= (3, 16), reason="gone in Python 3.16")


def test_the_public_names():
    assert set(loopx.__all__) == {
        "EngineUnavailable",
        "EventLoopPolicy",
        "Loop",
        "__version__",
        "install",
        "new_event_loop",
        "run",
    }
    for name in set(loopx.__all__) - {"EventLoopPolicy"}:
        assert getattr(loopx, name) is not None
    assert issubclass(loopx.EngineUnavailable, Exception)
    with pytest.raises(AttributeError, match="no_such_name"):
        loopx.no_such_name  # noqa: B018


def test_new_event_loop_makes_a_new_loop_each_time():
    first, second = loopx.new_event_loop(), loopx.new_event_loop()
    try:
        assert first is not second
        assert type(first) is type(second) is loopx.Loop
        assert isinstance(first, asyncio.AbstractEventLoop)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
    finally:
        first.close()
        second.close()


def test_a_loop_can_be_made_by_its_class_and_subclassed():
    class Mine(loopx.Loop):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def call_soon(self, callback, *args, context=None):
            self.calls += 1
            return super().call_soon(callback, *args, context=context)

    loop = loopx.Loop()
    assert loop.run_until_complete(asyncio.sleep(0, "plain")) == "plain"
    loop.close()
    mine = Mine()
    mine.call_soon(mine.stop)
    mine.run_forever()
    assert mine.calls == 1
    assert "Mine" in repr(mine)
    assert mine.run_until_complete(asyncio.sleep(0.001, "mine")) == "mine"
    mine.close()


def test_a_loop_has_no_dictionary_of_its_own_attributes():
    """Else each call of a method, from anywhere, looks for the method in it first."""

    async def numbers():
        yield 1
        yield 2

    async def main():
        async for _ in numbers():
            break
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "localhost", 0)
        _, port = server.sockets[0].getsockname()[:2]
        _, writer = await asyncio.open_connection("localhost", port)
        process = await asyncio.create_subprocess_exec("true")
        await loop.run_in_executor(None, int)
        loop.add_signal_handler(signal.SIGUSR1, int)
        loop.set_exception_handler(lambda *_: None)
        loop.set_debug(True)
        await process.wait()
        writer.close()
        server.close()
        await server.wait_closed()
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    loop = loopx.Loop()
    loop.run_until_complete(main())
    loop.close()
    assert vars(loop) == {}
    loop.mine = "anything"
    assert vars(loop) == {"mine": "anything"}


def test_a_loop_keeps_what_it_was_given_before_and_in_spite_of_init():
    class Mine(loopx.Loop):
        def __init__(self):
            self.set_exception_handler(self.handle)
            super().__init__()
            self.handled = []

        def __setattr__(self, name, value):
            assert name == "_exception_handler" or not self.is_closed(), "set by the class itself"
            super().__setattr__(name, value)

        def handle(self, loop, context):
            self.handled.append(context["message"])

    mine = Mine()
    with pytest.raises(RuntimeError, match="made already"):
        loopx.Loop.__init__(mine)
    mine.call_exception_handler({"message": "heard"})
    mine.close()
    assert mine.handled == ["heard"]
    assert loopx.Loop.__new__(loopx.Loop).get_exception_handler() is None


def test_a_loop_that_rests_refers_to_itself_by_nothing_that_it_runs_with():
    loop = loopx.Loop()
    loop.run_until_complete(asyncio.sleep(0))
    assert not [each for each in gc.get_referrers(loop) if each == {"loop": loop}]
    loop.close()


def parameters(function):
    """(name, kind, default) of those that a caller may give by name or by position."""
    every = inspect.signature(function).parameters.values()
    named = [each for each in every if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return [(each.name, each.kind, each.default) for each in named]


def by_position(function):
    return [each for each in parameters(function) if each[1] is not inspect.Parameter.KEYWORD_ONLY]


METHODS = [name for name in dir(asyncio.SelectorEventLoop) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_what_asyncios_take(name):
    """By the same names, in the same order; loopx has those of newer Pythons besides."""
    theirs, ours = getattr(asyncio.SelectorEventLoop, name), getattr(loopx.Loop, name)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    assert [each for each in parameters(theirs) if each not in parameters(ours)] == []
    assert by_position(ours)[: len(by_position(theirs))] == by_position(theirs)


def test_run_returns_and_raises_what_main_does():
    async def main():
        assert type(asyncio.get_running_loop()) is loopx.Loop
        await asyncio.sleep(0)
        return 42

    async def fail():
        raise ZeroDivisionError("in main")

    before = open_descriptors()
    assert loopx.run(main()) == 42
    with pytest.raises(ZeroDivisionError, match="in main"):
        loopx.run(fail())
    assert open_descriptors() == before


def test_run_ends_what_main_left():
    log = []

    async def forgotten():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log.append("task cancelled")
            raise

    async def generator():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            log.append("generator closed")

    async def main():
        kept.append(asyncio.ensure_future(forgotten()))
        kept.append(generator())
        await kept[1].__anext__()
        await asyncio.to_thread(int)

    kept = []
    threads = threading.active_count()
    loopx.run(main())
    assert sorted(log) == ["generator closed", "task cancelled"]
    assert threading.active_count() == threads
    kept.clear()


def test_run_takes_debug_and_context():
    async def main():
        return asyncio.get_running_loop().get_debug(), NAME.get()

    context = contextvars.copy_context()
    context.run(NAME.set, "given")
    assert loopx.run(main(), debug=True) == (True, "nobody")
    assert loopx.run(main(), debug=False, context=context) == (False, "given")


def test_run_takes_another_factory():
    async def main():
        return type(asyncio.get_running_loop())

    assert loopx.run(main(), loop_factory=asyncio.SelectorEventLoop) is asyncio.SelectorEventLoop


def test_run_refuses_a_running_loop_and_what_is_no_coroutine():
    async def main():
        inner = asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="running event loop"):
                loopx.run(inner)
        finally:
            inner.close()

    loopx.run(main())
    with pytest.raises((TypeError, ValueError)):
        loopx.run(42)


def test_run_on_another_thread():
    async def main():
        await asyncio.sleep(0.001)
        return threading.current_thread() is threading.main_thread()

    assert in_thread(lambda: loopx.run(main())) is False


def test_importing_makes_no_descriptor_and_no_thread():
    result = run_script(
        "asyncio",
        """
    import asyncio, os, threading
    before = sorted(os.listdir("/proc/self/fd"))
    import loopx
    print(sorted(os.listdir("/proc/self/fd")) == before, threading.active_count())
    """,
        "-W",
        "error",
    )
    assert result.stdout == "True 1\n", result.stderr


POLICY = """
    import sys, warnings
    warnings.simplefilter("always")

    async def main():
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__.split(".")[0]
"""


@with_policies
def test_install_serves_asyncio_run():
    result = run_script(
        "loopx",
        POLICY
        + """
    with warnings.catch_warnings(record=True) as caught:
        loopx.install()
    print([w.category.__name__ for w in caught], [w.filename for w in caught])
    print(asyncio.run(main()))
    loop = asyncio.new_event_loop()
    print(type(loop) is loopx.Loop)
    loop.close()
    """,
    )
    warned = "['DeprecationWarning'] ['<string>']" if sys.version_info >= (3, 14) else "[] []"
    assert result.stdout.splitlines() == [warned, "loopx", "True"], result.stderr


@with_policies
def test_the_policy_serves_asyncio_run_and_set_event_loop():
    result = run_script(
        "loopx",
        POLICY
        + """
    warnings.simplefilter("ignore", DeprecationWarning)
    policy = loopx.EventLoopPolicy()
    asyncio.set_event_loop_policy(policy)
    print(asyncio.get_event_loop_policy() is policy)
    print(asyncio.run(main()))
    loop = policy.new_event_loop()
    asyncio.set_event_loop(loop)
    print(asyncio.get_event_loop() is loop, type(loop) is loopx.Loop)
    print(loop.run_until_complete(main()))
    asyncio.set_event_loop(None)
    loop.close()
    """,
    )
    assert result.stdout.splitlines() == ["True", "loopx", "True True", "loopx"], result.stderr
    assert "Warning" not in result.stderr


@pytest.mark.skipif(sys.version_info < (3, 16), reason="policies are still there")
def test_without_policies_the_error_says_what_to_do():
    with pytest.raises(AttributeError, match="loop_factory"):
        loopx.EventLoopPolicy  # noqa: B018
    with pytest.raises(AttributeError, match="loopx.run"):
        loopx.install()
