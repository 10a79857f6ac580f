"""ml_services under its older name: `import smls; smls.ml_services.get(...)`."""

import ml_services

__all__ = ["ml_services"]
