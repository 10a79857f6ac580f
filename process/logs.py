"""Structured logs on stderr: for people on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal

import structlog
from structlog.dev import plain_traceback
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from process.settings import SettingsGroup, setting

if TYPE_CHECKING:
    from structlog.typing import Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]


class LogSettings(SettingsGroup, title="Log"):
    """The same for every process."""

    log_level: Level = setting("info", "minimum log level", to="process.logs")
    log_format: Format = setting("auto", "form of the log; auto: console on a terminal, else json", to="process.logs")


def configure(settings: LogSettings) -> None:
    """Set up the log of the process.

    What libraries log through `logging` comes in the same form, from warnings on.
    """
    number = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render = _renderers(console=_for_people(settings.log_format))
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _for_people(form: Format) -> bool:
    return form == "console" or (form == "auto" and sys.stderr.isatty())


def _renderers(*, console: bool) -> list[Processor]:
    """Tracebacks come without the values of variables: they are long, and some are texts of callers."""
    if console:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]
    return [ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), structlog.processors.JSONRenderer()]
