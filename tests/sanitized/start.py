"""Run by every Python process that finds this beside the package `ext` as sitecustomize.py, before anything else."""

import os
import sys

# AddressSanitizer reserves more addresses than this process allows itself; and it uses nothing of ours.
_WORKER = "server.models.chat.worker"

if _WORKER in sys.orig_argv and os.environ.pop("LD_PRELOAD", None):
    os.execv(sys.executable, sys.orig_argv)  # the same command again
