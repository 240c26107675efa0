"""The certificate that nginx has, and the one that follows it."""

import math
import time
from pathlib import Path

from docker_flask.plan.settings import Settings
from docker_flask.shared import certificate, no_room
from docker_flask.shared.certificate import Certificate, Signature
from docker_flask.shared.certificate_copies import Copies, date
from docker_flask.shared.log import log
from docker_flask.supervisor.certificates.acme import Acme

# Seconds between two looks at the files. Files that stay the same for one look are complete.
INTERVAL = 3.0
# Seconds until the next try, if there was no room for the copies, or nginx did not take them up.
RETRY = 60.0
DAY = 86400.0
# The log names the end of the certificate on each of its last days.
LAST_DAYS = 14


class Certificates:
    """Looks at the files of the user, or orders a certificate."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime
        self._copies: Copies | None = None
        self._acme: Acme | None = None
        # The state of the files at the last look.
        self._seen: Signature | None = None
        self._look_at = 0.0
        # The copies, and the days that they have left, of the last warning.
        self._warned: tuple[Path | None, int] | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of the copies for nginx; None while there is none, and without HTTPS."""
        return self._copies.folder if self._copies else None

    @property
    def current(self) -> Certificate | None:
        """The certificate of these copies."""
        return self._copies.current if self._copies else None

    def start(self, settings: Settings) -> None:
        """Use the certificate of these settings; raises SettingError if a check fails.

        The certificate of an authority may come later.
        """
        if settings.tls_domain:
            self._acme = Acme(settings)
            self._copies = Copies(self._runtime, self._acme.files, may_come_later=True)
            if not self._copies.refresh(None):
                waiting = "HTTPS refuses clients until an authority has issued the certificate"
                log(waiting + self._acme.pause())
        elif settings.tls_certificate:
            files = certificate.find(settings.tls_certificate, settings.tls_key)
            self._copies = Copies(self._runtime, files)
            self._copies.begin()

    def refresh(self, used: Path | None) -> None:
        """Use the files if they have changed; used: the folder that nginx has. Raises OSError."""
        if self._copies:
            self._copies.refresh(used)

    def failed(self, error: Exception) -> None:
        """Note that nginx keeps the certificate that it has; `look` tries again later."""
        reason = no_room.in_words(error)
        log(f"keeping the previous certificate: {reason}; trying again in {RETRY:g} seconds")
        self._look_at = time.monotonic() + RETRY

    def look(self, used: Path | None) -> bool:
        """Look for another certificate, and order one; returns True if nginx should reload.

        used: the folder that nginx has.
        """
        now, copies = time.monotonic(), self._copies
        if not copies or now < self._look_at:
            return False
        self._look_at = now + INTERVAL
        self._warn(copies)
        before, self._seen = self._seen, copies.files.signature()
        if self._seen == copies.taken:
            if self._acme:
                self._acme.step(copies.current)
        elif self._seen == before:
            try:
                copies.refresh(used)
            except OSError as error:
                self.failed(error)
        return copies.folder != used

    def ended(self, pid: int, status: int) -> bool:
        """Note that a process has ended; returns True if it was ours."""
        if not self._copies or not self._acme or not self._acme.ended(pid, status):
            return False
        self._look_at, self._seen = 0.0, self._copies.files.signature()  # they are complete
        return True

    def _warn(self, copies: Copies) -> None:
        current = copies.current
        if not current:
            return
        left = current.ends - time.time()
        days = math.ceil(left / DAY)
        # Certificates of a few days are new when they have few days left.
        is_late = left < min(LAST_DAYS * DAY, (current.ends - current.begins) / 6)
        if is_late and (copies.folder, days) != self._warned:
            when = "ends on" if left > 0 else "has expired on"
            log(f"the certificate {when} {date(current)}, and there is no new one yet")
            self._warned = copies.folder, days
