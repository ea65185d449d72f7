"""Types of the C module below native transports (loopx/_transport_base.c).

It owns one type, which stands between asyncio.Transport and loopx._core's transports; nothing
else may use it. Importing it raises ImportError where asyncio.Transport has another layout.
"""

import asyncio

class TransportBase(asyncio.Transport):
    """Base of native transports: asyncio.Transport with a C layout."""
