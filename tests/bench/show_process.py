"""Prints its hash seed and its arguments as JSON, for tests of how processes are started.

Owns: nothing. Thread: the main one of a child process.
"""

import json
import os
import sys

print(json.dumps([os.environ["PYTHONHASHSEED"], *sys.argv[1:]]))
