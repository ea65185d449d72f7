"""The rows of the benchmark: what is measured, in which unit, and which way is better.

Owns the definitions and how a row is chosen by name; nothing is run here. A row's name tells its
parameters: ``echo-protocol-64x1024`` is 64 connections of 1,024 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from bench.micro import BENCHES, CYCLE_BENCH, MADE_BENCH

CONNECTIONS = (1, 64, 512)
SIZES_BYTES = (64, 1024, 102400)
IDLE_CONNECTIONS = 10_000

SERVED_GROUPS = ("echo", "transfer", "web")  # one server can be measured more than once
LIMITS = ("c-epoll", "c-uring", "c-uring-bulk", "c-epoll-own")
BULK_BYTES = 64 * 1024
TRANSFER_BYTES = 1024 * 1024
TRANSFER_SMALL_BYTES = 64


@dataclass(frozen=True)
class Row:
    """One row: ``metric`` is the headline figure, in ``unit``.

    ``parameters`` are what the measuring function needs; ``is_anchor`` marks the rows that have a
    target; ``limits`` names the C servers that may be compared with loops on this row.
    """

    name: str
    group: str
    kind: str
    metric: str
    unit: str
    title: str
    higher_is_better: bool = False
    is_anchor: bool = False
    parameters: dict[str, int] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


# A row of one of SERVED_GROUPS, whose servers are driven by a load generator.
requests_row = partial(
    Row, metric="requests_per_second", unit="requests/s", higher_is_better=True
)


def echo_row(kind: str, connections: int, size_bytes: int, is_anchor: bool) -> Row:
    """Return one row of the echo group. To a C server each is the same load, but for TLS.

    The C servers have no Unix sockets. With TLS the one on epoll stands for what OpenSSL leaves a
    loop to reach. "c-epoll-own" stands for what is left of that by a BufferedProtocol's buffer for
    each connection, and the copy that it writes.
    """
    limits = LIMITS[:3] if size_bytes >= BULK_BYTES else LIMITS[:2]
    if kind == "buffered":
        limits += ("c-epoll-own",)
    if kind == "tls":
        limits = ("c-epoll",)
    if kind == "unix":
        limits = ()
    return requests_row(
        name=f"echo-{kind}-{connections}x{size_bytes}",
        group="echo",
        kind=kind,
        title=f"echo, {kind}, {connections} x {size_text(size_bytes)}",
        is_anchor=is_anchor,
        parameters={"connections": connections, "size_bytes": size_bytes},
        limits=limits,
    )


def transfer_row(kind: str, connections: int) -> Row:
    """Return one row of the transfer group: TRANSFER_BYTES a request, one way, and few back.

    Its C server has no TLS.
    """
    request_bytes, answer_bytes = TRANSFER_BYTES, TRANSFER_SMALL_BYTES
    if kind.startswith("download"):
        request_bytes, answer_bytes = answer_bytes, request_bytes
    return requests_row(
        name=f"{kind}-{connections}x{TRANSFER_BYTES}",
        group="transfer",
        kind=kind,
        title=f"{kind.replace('-', ', ')}, {connections} x {size_text(TRANSFER_BYTES)}",
        parameters={"connections": connections, "size_bytes": request_bytes,
                    "answer_bytes": answer_bytes},
        limits=() if kind.endswith("tls") else LIMITS[:1],
    )


def web_row(kind: str, connections: int, is_anchor: bool) -> Row:
    """Return one row of the web group. A kind that names no answer is a server of hello."""
    service = kind if kind.endswith("-page") else f"{kind}-hello"
    server, _, answer = service.rpartition("-")
    return requests_row(
        name=f"{service}-{connections}",
        group="web",
        kind=kind,
        title=f"{server} {answer}, {connections} connection{'' if connections == 1 else 's'}",
        is_anchor=is_anchor,
        parameters={"connections": connections},
    )


def size_text(size_bytes: int) -> str:
    """Return a size as it is written in tables."""
    if size_bytes >= 1024 * 1024:
        return f"{size_bytes // 1024 // 1024} MiB"
    return f"{size_bytes // 1024} KiB" if size_bytes >= 1024 else f"{size_bytes} B"


ECHO_ANCHORS = {
    ("protocol", 64, 1024),
    ("protocol", 512, 64),
    ("protocol", 1, 1024),
    ("protocol", 64, 102400),
    ("buffered", 64, 1024),
    ("streams", 64, 1024),
    ("sock", 64, 1024),
}


def all_rows() -> list[Row]:
    """Return every row in the order in which they are measured and shown."""
    rows = [
        echo_row(kind, connections, size_bytes, (kind, connections, size_bytes) in ECHO_ANCHORS)
        for kind in ("protocol", "buffered", "streams", "sock", "tls")
        for connections in CONNECTIONS
        for size_bytes in SIZES_BYTES
    ]
    rows.append(echo_row("protocol", 64, 16384, False))    # between a packet and bulk
    rows += [echo_row(kind, 64, 1024, False) for kind in ("streams-readexactly", "streams-read")]
    rows += [echo_row("unix", connections, 1024, False) for connections in (1, 8, 16, 64)]
    rows += [
        transfer_row(kind, connections)
        for kind in ("upload", "download", "upload-tls", "download-tls")
        for connections in (4, 64)
    ]
    rows += [
        web_row(kind, connections, connections == 64)
        for kind in ("aiohttp", "aiohttp-tls", "uvicorn")
        for connections in (64, 1)
    ]
    rows.append(web_row("aiohttp-page", 64, False))
    for bench in BENCHES:
        rows.append(
            Row(f"micro-{bench}", "micro", bench, "best_ns", "ns", bench, is_anchor=True)
        )
    rows.append(
        Row(f"micro-{CYCLE_BENCH}", "micro", CYCLE_BENCH, "best_ns", "ns",
            "make, run sleep(0), close a loop", is_anchor=True)
    )
    rows.append(
        Row("memory-loop-made", "memory", MADE_BENCH, "resident_kib", "KiB",
            "a loop only made", is_anchor=True)
    )
    rows.append(
        Row("memory-idle-connection", "memory", "protocol", "resident_kib", "KiB",
            f"an idle connection, of {IDLE_CONNECTIONS:,}", is_anchor=True,
            parameters={"connections": IDLE_CONNECTIONS, "size_bytes": 64})
    )
    return rows


def whole_seconds(seconds: float) -> int:
    """Return how long wrk measures where ``seconds`` are asked for."""
    return max(round(seconds), 1)


def choose_rows(patterns: str) -> list[Row]:
    """Return the rows that match one of the comma-separated globs; ``anchors`` is a set of them.

    Raises ValueError for a pattern that matches no row: a typing error must not measure nothing.
    """
    rows = all_rows()
    chosen: set[str] = set()
    for pattern in patterns.split(","):
        matching = {
            row.name
            for row in rows
            if fnmatchcase(row.name, pattern) or (pattern == "anchors" and row.is_anchor)
        }
        if not matching:
            raise ValueError(f"no row matches {pattern!r}")
        chosen |= matching
    return [row for row in rows if row.name in chosen]
