"""The error that ends the container."""

from docker_flask.shared.loop import Interrupt
from docker_flask.shared.no_room import EXIT_NOT_SERVING


class Failure(Interrupt):
    """The container can't continue: the application or a server can't run."""

    code = EXIT_NOT_SERVING
