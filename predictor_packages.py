"""Lets `import smartreply` and `import ml_services` work where a program has a server.py, ext.py or rest_proxy.py.

Both are built on this project's packages `server` and `ext`. A program's own folder comes first on Python's path, and
the older smls and smartreply each have a server.py in theirs. Importing this module finds ours, whatever comes first.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_NAMES = ("ext", "predictor", "process", "rest_proxy", "server")


def _find_ours() -> None:
    """Make `import NAME.something` find this project's, for each of its packages.

    A module of that name that the program has imported already stays what it is, and gets our package's folder to
    look for submodules in. One that it imports later under that name alone is ours.
    """
    for name in _NAMES:
        folder = next(path for path in (_HERE / name, _HERE / "gen-py" / name) if path.is_dir())
        present = sys.modules.get(name)
        if present is not None:
            places = list(getattr(present, "__path__", ()))
            if str(folder) not in places:
                present.__path__ = [*places, str(folder)]
            continue
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


_find_ours()
