"""gunicorn's worker for uvicorn, on the loop that the environment names.

Owns: nothing but the choice of the loop (LOOPX_TEST_LOOP, `module:callable`).
Thread: the main thread of gunicorn's worker process.
Must not: be imported outside of gunicorn's workers.
"""

import os
from typing import Any

from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):  # type: ignore[misc]
    """What a user of loopx writes, with the loop's name in place of the environment's."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": os.environ["LOOPX_TEST_LOOP"], "http": "auto"}
