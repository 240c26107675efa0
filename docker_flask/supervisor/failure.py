"""The error that ends the container."""

import os

from docker_flask.shared.loop import Interrupt


class Failure(Interrupt):
    """The container can't continue: the application or a server can't run."""

    code = os.EX_SOFTWARE
