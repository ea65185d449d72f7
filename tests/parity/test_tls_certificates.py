"""Certificates that fail, at the client's side and at the server's, and what both of them see.

Owns: expired, not yet valid, signed by a stranger, missing, for another host; TLS 1.2 and 1.3.
Thread: the test's own.
Must not: test the ssl module's checks themselves; that they are asked and obeyed is the point.
"""

import asyncio
import datetime
import ssl
from collections.abc import Callable

import pytest

from tests.support import certs
from tests.support.net import capture_errors, run, serving
from tests.support.recorders import Echo, Recorder, Registry

Issue = Callable[[], certs.trustme.LeafCert]

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)

NAMES = (certs.HOSTNAME,)
BAD: dict[str, tuple[Issue, str]] = {
    "expired": (
        lambda: certs.authority().issue_cert(*NAMES, not_before=NOW - 2 * DAY, not_after=NOW - DAY),
        "certificate has expired",
    ),
    "not yet valid": (
        lambda: certs.authority().issue_cert(*NAMES, not_before=NOW + DAY, not_after=NOW + 2 * DAY),
        "not yet valid",
    ),
    "unknown authority": (lambda: certs.strange_authority().issue_cert(*NAMES), "unable to get"),
}
HOST = (lambda: certs.authority().issue_cert("other.test"), "(?i)hostname mismatch")

both_versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


def context_with(kind: int, issue: Issue | None) -> ssl.SSLContext:
    """A context of this side with this certificate; a server's asks for the client's."""
    context = ssl.SSLContext(kind)
    certs.authority().configure_trust(context)
    if issue is not None:
        issue().configure_cert(context)
    return context


async def dial(address: tuple[str, int], context: ssl.SSLContext) -> Recorder:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        Recorder, *address, ssl=context, server_hostname=certs.HOSTNAME
    )
    return client


async def check_served(address: tuple[str, int], context: ssl.SSLContext) -> None:
    client = await dial(address, context)
    client.transport.write(b"hello")
    assert await client.read(5) == b"hello"
    client.transport.close()
    assert await client.lost is None


@both_versions
@pytest.mark.parametrize(("issue", "message"), [*BAD.values(), HOST], ids=[*BAD, "other host"])
def test_of_the_server(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion, issue: Issue, message: str
) -> None:
    """create_connection raises, and no protocol of the client's is connected."""

    async def main() -> None:
        capture_errors(loop)
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        context = context_with(ssl.PROTOCOL_TLS_SERVER, issue)
        context.minimum_version = context.maximum_version = version
        async with serving(Echo, ssl=context) as served:
            for _ in range(3):
                with pytest.raises(ssl.SSLCertVerificationError, match=message):
                    await loop.create_connection(
                        factory,
                        *served.address,
                        ssl=certs.client_context(),
                        server_hostname=certs.HOSTNAME,
                    )
            assert [protocol.calls for protocol in made] == [[]] * 3
            # Nothing is wrong with the server itself.
            careless = certs.client_context()
            careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
            await check_served(served.address, careless)

    run(loop, main())


@both_versions
@pytest.mark.parametrize(
    "issue", [None, *(issue for issue, _ in BAD.values())], ids=["missing", *BAD]
)
def test_of_the_client(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion, issue: Issue | None
) -> None:
    """The server's protocol is never connected.

    With TLS 1.2 the client's handshake fails; with 1.3 it is over before the server looks, and
    then the connection ends.
    """

    async def main() -> None:
        capture_errors(loop)
        registry = Registry()
        server = certs.server_context(ask_client=ssl.CERT_REQUIRED, version=version)
        async with serving(registry, ssl=server) as served:
            refused = context_with(ssl.PROTOCOL_TLS_CLIENT, issue)
            if version is ssl.TLSVersion.TLSv1_2:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await dial(served.address, refused)
            else:
                client = await dial(served.address, refused)
                await client.lost
                assert client.received_bytes == 0
            assert [protocol.calls for protocol in registry.protocols] == [[]]
            await check_served(served.address, certs.client_context(with_certificate=True))

    run(loop, main())
