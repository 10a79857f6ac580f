"""The version of the package that is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("predictor-service")
except PackageNotFoundError:  # run from a checkout that nobody installed
    VERSION = "0+unknown"

VERSION_LINE = f"predictor-service {VERSION}"
"""What --version prints."""
