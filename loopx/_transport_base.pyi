"""Types of the C module below native transports (loopx/_transport_base.c).

It owns one type, which stands between asyncio.BaseTransport and loopx._core's transports; nothing
else may use it. Importing it raises ImportError where that class has another layout.
"""

import asyncio

class TransportBase(asyncio.BaseTransport):
    """Base of native transports: asyncio.BaseTransport with a C layout."""
