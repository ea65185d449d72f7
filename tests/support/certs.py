"""Certificates for tests of TLS, made when first asked for, never stored with the project.

Owns: one certificate authority for the whole test run, a second one that nobody trusts, and the
`ssl.SSLContext`s built from them.
Thread: any; the results are cached and not changed afterwards.
Must not: write outside the folder that the caller names.
"""

from __future__ import annotations

import functools
import pathlib
import ssl
from typing import Any

import pytest

trustme = pytest.importorskip("trustme")

HOSTNAME = "localhost"


@functools.cache
def authority() -> trustme.CA:
    """The authority that `client_context` trusts."""
    return trustme.CA()


@functools.cache
def strange_authority() -> trustme.CA:
    """An authority that `client_context` does not know."""
    return trustme.CA()


@functools.cache
def leaf() -> trustme.LeafCert:
    """A certificate for localhost and its addresses, signed by `authority`."""
    return authority().issue_cert(HOSTNAME, "127.0.0.1", "::1")


def server_context(
    *identities: str,
    issuer: trustme.CA | None = None,
    version: ssl.TLSVersion | None = None,
    ask_client: ssl.VerifyMode = ssl.CERT_NONE,
) -> ssl.SSLContext:
    """A server's context; for localhost unless `identities` say otherwise.

    `version` pins the protocol; `ask_client` asks for a certificate that `authority` has signed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if identities or issuer is not None:
        certificate = (issuer or authority()).issue_cert(*(identities or (HOSTNAME,)))
    else:
        certificate = leaf()
    certificate.configure_cert(context)
    if ask_client is not ssl.CERT_NONE:
        authority().configure_trust(context)
        context.verify_mode = ask_client
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def client_context(*, with_certificate: bool = False) -> ssl.SSLContext:
    """A client's context that trusts `authority` and checks host names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if with_certificate:
        authority().issue_cert("client@loopx.test").configure_cert(context)
    return context


def both_ends() -> dict[str, Any]:
    """What makes `tests.support.net.connected` speak TLS."""
    return {
        "server_options": {"ssl": server_context()},
        "ssl": client_context(),
        "server_hostname": HOSTNAME,
    }


def write_pem(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write the certificate for localhost with its key: (certificate chain, key)."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    leaf().private_key_pem.write_to_path(key)
    for pem in leaf().cert_chain_pems:
        pem.write_to_path(chain, append=True)
    return chain, key
