"""Run by path in an interpreter of its own: becomes the sandbox zygote. Standard library only, no part of `outrider`.

Standard input is a memory file with {path, target, control, options} as JSON.
"""

import importlib
import json
import sys

if __name__ == "__main__":
    told = json.load(sys.stdin)
    sys.path[:0] = told["path"]
    module, _, function = told["target"].partition(":")
    getattr(importlib.import_module(module), function)(told["control"], told["options"])
