"""The error that ends the container."""

from docker_flask.shared.loop import Interrupt

EXIT_NOT_SERVING = 70  # EX_SOFTWARE in sysexits.h: the application or a server can't run


class Failure(Interrupt):
    """The container can't continue."""

    code = EXIT_NOT_SERVING
