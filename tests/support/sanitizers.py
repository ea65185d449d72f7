"""Whether the extension runs under the address sanitizer, which has an allocator of its own.

Owns that question.  Read once; any thread.
"""

import os

UNDER_ASAN = "asan" in os.environ.get("LD_PRELOAD", "")
