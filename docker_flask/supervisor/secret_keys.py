"""Whether the workers of a generation have one secret key for sessions."""

import os

from docker_flask.shared.log import log


class SecretKeys:
    """salt: for the digests that workers report (worker/server/per_worker.py)."""

    def __init__(self) -> None:
        self.salt = os.urandom(16).hex()
        self._digests: set[str] = set()

    def compare(self, digest: str) -> None:
        """Log once if a worker has another key than the first one."""
        if digest in self._digests or len(self._digests) == 2:
            return
        self._digests.add(digest)
        if len(self._digests) == 2:
            log(
                "each worker has another secret key, so users are logged out at random: let "
                "app.secret_key come from a variable, not from os.urandom() or secrets"
            )
