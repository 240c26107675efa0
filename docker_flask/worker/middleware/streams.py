"""The parts of a body. The first one is made before the response begins.

Only then are status and headers the last ones, and only then is it known what nginx has to do.
"""

from collections.abc import Iterable

from docker_flask.worker.middleware.exchange import Exchange, Handler, check_bytes


def streams(handler: Handler) -> Handler:
    """Takes the first part of a body, and lets nginx pass on a stream part by part."""

    def handle(exchange: Exchange) -> Iterable[bytes]:
        parts = handler(exchange)
        kind = type(parts)
        if kind is list or kind is tuple:
            for part in parts:
                check_bytes(part)
            is_made = True
        else:
            exchange.rest = iter(parts)
            parts, is_made = (), False
            for part in exchange.rest:
                check_bytes(part)
                parts = (part,)
                break
        if not exchange.status and not exchange.is_taken:
            raise RuntimeError("the application has not called start_response")
        if not is_made and "content-length" not in exchange.names:
            # The body comes in parts, as events do: nginx passes on each part immediately.
            exchange.is_stream = True
            exchange.headers = [*exchange.headers, ("X-Accel-Buffering", "no")]
        return parts

    return handle
