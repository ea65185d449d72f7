"""A certificate for ``localhost``, made for one run.

Owns nothing: whoever asks says where the authority that signed it is written, for clients to trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trustme


def issue_certificate(ca_file: Path | None) -> trustme.LeafCert:
    """Make an authority and a server's certificate; write the authority to ``ca_file`` (PEM)."""
    import trustme

    authority = trustme.CA()
    if ca_file is not None:
        authority.cert_pem.write_to_path(str(ca_file))
    return authority.issue_cert("localhost")
