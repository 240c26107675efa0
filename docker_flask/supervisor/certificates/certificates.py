"""The certificate that nginx has, and the one that follows it."""

import math
import shutil
import time
from pathlib import Path

from docker_flask.plan.settings import Settings
from docker_flask.shared.log import log
from docker_flask.supervisor.certificates import certificate
from docker_flask.supervisor.certificates.acme import Acme
from docker_flask.supervisor.certificates.certificate import Certificate, Files, Signature

# Seconds between two looks at the files. Files that stay the same for one look are complete.
INTERVAL = 3.0
# Seconds until the next try, if there was no room for the copies, or nginx did not take them up.
RETRY = 60.0
DAY = 86400.0
# The log names the end of the certificate on each of its last days.
LAST_DAYS = 14


class Certificates:
    """folder: of the copies for nginx; None while there is none, and without HTTPS."""

    def __init__(self, runtime: Path) -> None:
        self.folder: Path | None = None
        self._runtime = runtime
        self._number = 0
        self._files: Files | None = None
        self._acme: Acme | None = None
        self.current: Certificate | None = None
        # The state of the files that was taken up last, and at the last look.
        self._taken: Signature | None = None
        self._seen: Signature | None = None
        self._look_at = 0.0
        self._warned: int | None = None

    def start(self, settings: Settings) -> None:
        """Use the certificate of these settings; raises SettingError if a check fails.

        The certificate of an authority may come later.
        """
        if settings.tls_domain:
            self._acme = Acme(settings)
            self._files = self._acme.files
            if not self.refresh(None):
                waiting = "HTTPS refuses clients until an authority has issued the certificate"
                log(waiting + self._acme.pause())
        elif settings.tls_certificate:
            self._files = certificate.find(settings.tls_certificate, settings.tls_key)
            self._taken = self._files.signature()
            self._take(self._files, None)

    def refresh(self, used: Path | None) -> bool:
        """Use the files if they have changed; keep the previous certificate if a check fails.

        used: the folder that nginx has. Raises OSError if there is no room for copies: then another
        call tries again.
        """
        if not self._files or (state := self._files.signature()) == self._taken:
            return False
        is_there = not self._acme or self._files.certificate.exists()
        try:
            if is_there:
                self._take(self._files, used)
        except ValueError as error:  # SettingError is one
            kept = "keeping the previous certificate: " if self.current else ""
            log(f"{kept}{error}")
            is_there = False
        self._taken = state
        return is_there

    def failed(self, error: Exception) -> None:
        """Note that nginx keeps the certificate that it has; `look` tries again later."""
        log(f"keeping the previous certificate: {error}; trying again in {RETRY:g} seconds")
        self._look_at = time.monotonic() + RETRY

    def look(self, used: Path | None) -> bool:
        """Look for another certificate, and order one; returns True if nginx should reload.

        used: the folder that nginx has.
        """
        now = time.monotonic()
        if not self._files or now < self._look_at:
            return False
        self._look_at = now + INTERVAL
        self._warn()
        before, self._seen = self._seen, self._files.signature()
        if self._seen == self._taken:
            if self._acme:
                self._acme.step(self.current)
        elif self._seen == before:
            try:
                self.refresh(used)
            except OSError as error:
                self.failed(error)
        return self.folder != used

    def ended(self, pid: int, status: int) -> bool:
        """Note that a process has ended; returns True if it was ours."""
        if not self._files or not self._acme or not self._acme.ended(pid, status):
            return False
        self._look_at, self._seen = 0.0, self._files.signature()  # they are complete
        return True

    def _take(self, files: Files, used: Path | None) -> None:
        for folder in self._runtime.glob("tls*"):
            if folder not in (self.folder, used):  # of an earlier certificate, or of a failed try
                shutil.rmtree(folder, ignore_errors=True)
        folder = self._runtime / f"tls{self._number + 1}"
        self.current = certificate.take(files, folder)
        self.folder, self._number, self._warned = folder, self._number + 1, None
        names = ", ".join(sorted(self.current.names)) or "no host name"
        log(f"the certificate for {names} is valid until {_date(self.current)}")

    def _warn(self) -> None:
        if not self.current:
            return
        left = self.current.ends - time.time()
        days = math.ceil(left / DAY)
        # Certificates of a few days are new when they have few days left.
        is_late = left < min(LAST_DAYS * DAY, (self.current.ends - self.current.begins) / 6)
        if is_late and days != self._warned:
            log(f"the certificate ends on {_date(self.current)}, and there is no new one yet")
            self._warned = days


def _date(current: Certificate) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(current.ends))
