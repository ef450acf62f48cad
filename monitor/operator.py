"""What the operator alone is shown, over HTTP: metrics and health, what watches found, and whom notices reach.

The page is here, too, with what watches found.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import Route

from monitor.courier import Courier, channel_routes
from monitor.matching import MatchStore, matching_routes
from monitor.stage import UNWELL
from runtime.http import Problems, operator_routes
from runtime.metrics import Metrics
from runtime.version import version_document


def operator_app(
    metrics: Metrics, problems: Problems, matches: MatchStore, courier: Courier, pages: Sequence[Route] = ()
) -> Starlette:
    """The application on ``operator_listen``; ``pages`` are what can be read elsewhere, too."""
    app = Starlette(
        routes=[
            *operator_routes(metrics, problems, version_document()),
            *matching_routes(matches),
            *channel_routes(courier),
            *pages,
        ],
        exception_handlers=UNWELL,
    )
    app.router.redirect_slashes = False  # a redirect would go to whatever host the request named
    return app
