"""The copies of a certificate for the server that reads them, which follow the user's files."""

import shutil
import time
from pathlib import Path

from docker_flask.shared import certificate
from docker_flask.shared.certificate import Certificate, Files, Signature
from docker_flask.shared.log import log


class Copies:
    """folder: of the last copies; None while there are none. current: the certificate there.

    taken: the state of the files that was used last. may_come_later: an authority has to issue the
    certificate first.
    """

    def __init__(self, runtime: Path, files: Files, may_come_later: bool = False) -> None:
        self.files = files
        self.folder: Path | None = None
        self.current: Certificate | None = None
        self.taken: Signature | None = None
        self._runtime, self._number = runtime, 0
        self._may_come_later = may_come_later

    def begin(self) -> None:
        """Copy the files for the first time; raises SettingError if a check fails."""
        self.taken = self.files.signature()
        self._copy(None)

    def refresh(self, used: Path | None) -> bool:
        """Copy the files if they have changed; keep the previous certificate if a check fails.

        used: the folder that the server has. Raises OSError if there is no room for copies: then
        another call tries again.
        """
        if (state := self.files.signature()) == self.taken:
            return False
        is_there = not self._may_come_later or self.files.certificate.exists()
        try:
            if is_there:
                self._copy(used)
        except ValueError as error:  # SettingError is one
            kept = "keeping the previous certificate: " if self.current else ""
            log(f"{kept}{error}")
            is_there = False
        self.taken = state
        return is_there

    def _copy(self, used: Path | None) -> None:
        for folder in self._runtime.glob("tls*"):
            if folder not in (self.folder, used):  # of an earlier certificate, or of a failed try
                shutil.rmtree(folder, ignore_errors=True)
        folder = self._runtime / f"tls{self._number + 1}"
        self.current = certificate.take(self.files, folder)
        self.folder, self._number = folder, self._number + 1
        names = ", ".join(sorted(self.current.names)) or "no host name"
        log(f"the certificate for {names} is valid until {date(self.current)}")


def date(current: Certificate) -> str:
    """The end of a certificate, for the log."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(current.ends))
