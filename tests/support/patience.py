"""How much longer than usual a test may take here, which LOOPX_TEST_TIME_LIMIT says.

Owns the factor by which markers' limits and the bounds in tests.support grow with it: else they
would be over long before the time that the whole test has.  Read once; any thread.
"""

from __future__ import annotations

import os

USUAL_TIME_LIMIT_S = 60.0
TIME_LIMIT_S = float(os.environ.get("LOOPX_TEST_TIME_LIMIT", USUAL_TIME_LIMIT_S))
# Never shorter: a short limit for all tests is no reason to hurry those that say what they need.
PATIENCE = max(1.0, TIME_LIMIT_S / USUAL_TIME_LIMIT_S)
