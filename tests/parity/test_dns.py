"""getaddrinfo and getnameinfo: the same answers as the socket module's, literals without a thread.

Runs on asyncio and on loopx.  No name server is asked: every name is in the machine's own files
or cannot exist.
"""

import asyncio
import functools
import socket
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.loops import make_loop, selected_kinds
from tests.support.net import TIMEOUT_S, only_on, run

STREAM, DGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
NUMERIC = socket.AI_NUMERICHOST

HOSTS = [
    "127.0.0.1",
    b"127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "::1",
    b"::1",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%no-such-interface",
    "::ffff:127.0.0.1",
    "2001:db8::0:1",
    "localhost",
    None,
    "",
    # Other spellings of addresses, and what only looks like one.
    "127.1",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "2130706433",
    "1.2.3.256",
    "1.2.3",
    "01.02.03.04",
    "1.2.3.4.",
    " 127.0.0.1",
    "127.0.0.1 ",
    "[::1]",
    "::1::",
    ":::",
    "127.0.0.1\0",
]
# What is no address would be a name, and no name server is to be asked for it.
NAMES_BY_FORM = {
    "fe80::1%no-such-interface",
    "1.2.3.256",
    "1.2.3.4.",
    " 127.0.0.1",
    "127.0.0.1 ",
    "[::1]",
    "::1::",
    ":::",
}
PORTS = [None, 0, 80, 65535, "80", b"80", "http", "no-such-service", "", "-1", 65536, -1]
KINDS = [
    {},
    {"type": STREAM},
    {"type": DGRAM},
    {"type": RAW},
    {"type": STREAM, "proto": socket.IPPROTO_TCP},
    {"type": STREAM, "proto": socket.IPPROTO_UDP},
    {"proto": socket.IPPROTO_TCP},
    {"proto": socket.IPPROTO_UDP},
    {"type": 99},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6, "type": STREAM},
    {"family": socket.AF_INET, "type": STREAM, "flags": NUMERIC},
    {"type": STREAM, "flags": socket.AI_PASSIVE},
    {"type": STREAM, "flags": socket.AI_CANONNAME},
    {"type": STREAM, "flags": socket.AI_NUMERICSERV},
    {"family": socket.AF_UNIX, "type": STREAM},
]


def outcome(call):
    """The answer, or the kind of the refusal, in a form that can be compared."""
    try:
        return call()
    except OSError as failure:
        return type(failure), failure.errno
    except (TypeError, ValueError, OverflowError, UnicodeError) as failure:
        return type(failure)


def both(loop, host, port, **kinds):
    """What the loop answers and what the socket module answers."""
    ours = outcome(lambda: run(loop, loop.getaddrinfo(host, port, **kinds)))
    theirs = outcome(lambda: socket.getaddrinfo(host, port, **kinds))
    return ours, theirs


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_every_host_is_answered_as_by_the_socket_module(loop, host):
    for kinds in KINDS:
        if host in NAMES_BY_FORM:
            kinds = {**kinds, "flags": kinds.get("flags", 0) | NUMERIC}
        ours, theirs = both(loop, host, 80, **kinds)
        assert ours == theirs, kinds


@pytest.mark.parametrize("port", PORTS, ids=repr)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", None], ids=repr)
def test_every_port_is_answered_as_by_the_socket_module(loop, host, port):
    for kinds in ({}, {"type": STREAM}, {"type": DGRAM}, {"type": RAW}):
        ours, theirs = both(loop, host, port, **kinds)
        assert ours == theirs, kinds


@pytest.mark.parametrize("kind", selected_kinds())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    host=st.one_of(
        st.ip_addresses().map(str),
        st.from_regex(r"[0-9a-fx:.%]{1,24}", fullmatch=True, alphabet="0123456789abcdefx:.%"),
    ),
    port=st.one_of(st.none(), st.integers(-2, 70000), st.integers(0, 65535).map(str)),
    kinds=st.sampled_from(KINDS),
)
def test_any_literal_is_answered_as_by_the_socket_module(kind, host, port, kinds):
    kinds = {**kinds, "flags": kinds.get("flags", 0) | NUMERIC}
    loop = make_loop(kind)
    try:
        ours, theirs = both(loop, host, port, **kinds)
    finally:
        run(loop, loop.shutdown_default_executor())
        loop.close()
    assert ours == theirs


def test_a_name_that_does_not_exist(loop):
    async def main():
        with pytest.raises(socket.gaierror) as caught:
            # Longer than a label may be, so that the resolver refuses it by itself.
            await loop.getaddrinfo(b"x" * 300, 80)
        return caught.value.errno

    assert run(loop, main()) == socket.EAI_NONAME


def test_many_at_once(loop):
    async def main():
        return await asyncio.gather(
            *(loop.getaddrinfo("localhost", port, type=STREAM) for port in range(100))
        )

    answers = run(loop, main())
    assert [answer[0][4][1] for answer in answers] == list(range(100))


def test_a_cancelled_look_up(loop, monkeypatch):
    answer, cancelled = socket.getaddrinfo, threading.Event()

    def answer_late(*args, **options):
        assert cancelled.wait(TIMEOUT_S)
        return answer(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer_late)

    async def main():
        task = loop.create_task(loop.getaddrinfo("localhost", 80))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()
        return await loop.getaddrinfo("localhost", 80, type=STREAM)

    assert run(loop, main())


class Index:
    def __index__(self):
        return 2


class Text(str):
    def encode(self, *args):
        return "no bytes"


ODD = {
    "family, a float": {"family": 2.0},
    "protocol, a float": {"proto": 1.5},
    "family, text": {"family": "2"},
    "type, nothing": {"type": None},
    "family, an index": {"family": Index()},
    "family, too large": {"family": 2**40},
    "protocol, just too large": {"proto": 2**31},
    "family, negative": {"family": -1},
    "type, an enumeration": {"type": STREAM},
    "port, text of its own": {"port": Text("80")},
    "port, true": {"port": True},
    "port, an enumeration": {"port": socket.SOCK_STREAM},
    "port, bytes": {"port": b"80"},
    "port, a null": {"port": "80\0"},
    "port, not ASCII": {"port": "\u0661"},
    "host, bytes": {"host": b"localhost"},
    "host, an array": {"host": bytearray(b"localhost")},
    "host, a number": {"host": 3},
    "host, a view": {"host": memoryview(b"localhost")},
    "host, text of its own": {"host": Text("localhost")},
    "host, not encodable": {"host": "\ud800"},
    "host, empty label": {"host": "a..b"},
    "host, a dot at the end": {"host": "localhost."},
    "host, long label": {"host": "x" * 64},
    "host, a null": {"host": "localhost\0"},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_arguments_are_taken_and_refused_as_by_the_socket_module(loop, odd):
    arguments = {"host": "localhost", "port": 80} | odd

    def said(call):
        try:
            return call()
        except Exception as refusal:
            return type(refusal), refusal.args

    theirs = said(lambda: socket.getaddrinfo(**arguments))
    assert said(lambda: run(loop, loop.getaddrinfo(**arguments))) == theirs


class Proxy:
    """As of tools that watch functions: it passes on every look at the one that it stands for."""

    def __init__(self, function):
        self.function, self.called = function, 0

    def __call__(self, *args, **options):
        self.called += 1
        return self.function(*args, **options)

    def __getattr__(self, name):
        return getattr(self.function, name)


def test_what_stands_in_for_getaddrinfo_is_called(loop, monkeypatch):
    for stand_in in (Proxy(socket.getaddrinfo), functools.partial(Proxy(socket.getaddrinfo))):
        monkeypatch.setattr(socket, "getaddrinfo", stand_in)
        assert run(loop, loop.getaddrinfo("localhost", 80))
        assert getattr(stand_in, "func", stand_in).called == 1


AUDITED: list[tuple] = []


@functools.cache
def audit_lookups():
    """Once: such a hook cannot be taken back."""

    def hook(event, args):
        if event == "socket.getaddrinfo":
            AUDITED.append(args)
            if args[0] == "refused.invalid":
                raise PermissionError("not this one")

    sys.addaudithook(hook)


def test_auditing(loop):
    audit_lookups()
    AUDITED.clear()
    assert run(loop, loop.getaddrinfo("localhost", 80, type=STREAM))
    assert type(AUDITED[0][3]) is int
    with pytest.raises(PermissionError, match="not this one"):
        run(loop, loop.getaddrinfo("refused.invalid", "http"))
    assert AUDITED == [("localhost", 80, 0, STREAM, 0), ("refused.invalid", "http", 0, 0, 0)]


NAMES = [
    (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("127.0.0.1", 80), socket.NI_NUMERICHOST),
    (("127.0.0.1", 53), socket.NI_NUMERICHOST | socket.NI_DGRAM),
    (("127.0.0.1", 80), 0),
    (("::1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("::1", 80, 0, 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("fe80::1", 80, 0, 1), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("127.0.0.1", 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("127.0.0.1", 65535), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("localhost", 80), socket.NI_NUMERICSERV),
    (("127.0.0.1", 65536), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
    (("127.0.0.1",), 0),
    (("127.0.0.1", "http"), 0),
    ("127.0.0.1", 0),
    (("not an address", 80), socket.NI_NUMERICHOST),
]


@pytest.mark.parametrize(("address", "flags"), NAMES, ids=repr)
def test_getnameinfo_answers_as_the_socket_module(loop, address, flags):
    ours = outcome(lambda: run(loop, loop.getnameinfo(address, flags)))
    theirs = outcome(lambda: socket.getnameinfo(address, flags))
    assert ours == theirs


class NoThreads:
    """Stands for an executor that must not be asked."""

    def __call__(self, *args):
        raise AssertionError(f"a thread was asked: {args}")


@only_on("loopx")
@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", "::1", "fe80::1"], ids=repr)
@pytest.mark.parametrize("port", [80, "80", None], ids=repr)
def test_literals_need_no_thread(loop, monkeypatch, host, port):
    """asyncio asks its executor for literals too."""
    monkeypatch.setattr(loop, "run_in_executor", NoThreads())
    for kinds in ({}, {"type": STREAM}, {"type": STREAM, "flags": NUMERIC}):
        ours, theirs = both(loop, host, port, **kinds)
        assert ours == theirs


@only_on("loopx")
def test_numeric_names_need_no_thread(loop, monkeypatch):
    """asyncio asks its executor for numeric names too."""
    monkeypatch.setattr(loop, "run_in_executor", NoThreads())
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert run(loop, loop.getnameinfo(("127.0.0.1", 80), flags)) == ("127.0.0.1", "80")
    assert run(loop, loop.getnameinfo(("::1", 80, 0, 0), flags)) == ("::1", "80")
