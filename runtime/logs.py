"""Logs: one JSON object a line on standard error, for machines to collect and people to search.

Nothing that identifies who asks is logged, neither addresses nor user agents: which entries somebody looked up is their
own affair. What a stranger sent is not repeated either, only what was wrong with it.
"""

import logging
import sys

import structlog


def configure_logs(role: str) -> None:
    """Set up logging for this process; each line carries the role."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # as text: dictionaries of it would carry local variables, hence keys
            structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(role=role)
    # What libraries report comes through the standard library; below warnings it is noise.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s", force=True)
