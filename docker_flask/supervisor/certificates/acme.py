"""Orders a certificate from an authority, and renews it, by the protocol ACME (RFC 8555).

docker_flask/supervisor/certificates/acme.sh runs uacme. This module decides when.
"""

import contextlib
import os
import shutil
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

from docker_flask.plan.settings import Settings
from docker_flask.shared import paths, process
from docker_flask.shared.certificate import Certificate, Files
from docker_flask.shared.log import log
from docker_flask.shared.setting_error import SettingError

FOLDER = Path(paths.TLS_FOLDER)
# Renewed after this share of its life; Let's Encrypt advises two thirds.
RENEWAL_SHARE = 2 / 3
# Seconds between two questions whether the authority wants an earlier renewal (RFC 9773).
ASK_INTERVAL = 6 * 3600.0
# Seconds after the first order, doubled by each further one, and at most. Let's Encrypt allows five
# failures an hour: https://letsencrypt.org/docs/rate-limits/.
FIRST_PAUSE, LONGEST_PAUSE = 120.0, 12 * 3600.0
# Seconds after a file of /data could not be written; bytes of all files of an order, and some more.
DISK_PAUSE, ROOM = 600.0, 64 << 10
# Exit codes of acme.sh that are no failures: uacme's for "ordered" and "not due"; another container
# orders.
DONE, NOT_DUE, BUSY = 0, 1, 3


class Acme:
    """The certificate of TLS_DOMAIN; files: where it is, as soon as there is one."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingError if the image lacks the program, or the volume a folder."""
        if not shutil.which("uacme"):
            raise SettingError(
                "TLS_DOMAIN needs the package uacme, which this image does not contain: add uacme "
                "to requirements_os.txt and build the image again"
            )
        if paths.others_may_replace(str(FOLDER.parent)):
            raise SettingError(
                f"TLS_DOMAIN needs {FOLDER.parent}, a folder in which users replace only their own "
                f"files; it is writable for all without the sticky bit: chmod +t {FOLDER.parent}"
            )
        with contextlib.suppress(OSError):
            FOLDER.mkdir(mode=0o700)
        # Before anything is read: everybody can make a folder in /data.
        if not paths.is_own(str(FOLDER)) or FOLDER.stat().st_mode & 0o022:
            raise SettingError(
                f"TLS_DOMAIN needs {FOLDER}, a folder that only uid {os.geteuid()} can write to"
            )
        self._settings = settings
        self._names = list(settings.tls_domain or ())
        # Each authority has its own accounts and certificates.
        self._folder = FOLDER / urlsplit(settings.acme_directory).netloc.replace(":", "_")
        self.files = Files(
            self._folder / self._names[0] / "cert.pem",
            self._folder / "private" / self._names[0] / "key.pem",
            ("TLS_DOMAIN", "TLS_DOMAIN"),
        )
        # A byte for each order, until one has been enough; the file's time is that of the last one.
        self._orders = self._folder / f"orders-{zlib.crc32(' '.join(self._names).encode()):x}"
        self._pid = 0
        self._is_due = False
        self._asked_at, self._paused_until = time.monotonic(), 0.0

    def step(self, current: Certificate | None) -> None:
        """Order a certificate if that is necessary; current: the one that nginx has."""
        now = time.monotonic()
        if self._pid or now < self._paused_until:
            return
        self._is_due = not current or not current.names.issuperset(self._names)
        if current and not self._is_due:
            life = current.ends - current.begins
            self._is_due = time.time() >= current.begins + RENEWAL_SHARE * life
        try:
            if time.time() < self._next_try():
                return
            if not self._is_due:
                self._orders.unlink(missing_ok=True)
            if self._is_due or now - self._asked_at >= ASK_INTERVAL:
                self._start()
        except OSError as error:
            log(f"can't order a certificate: {error}; trying again in {DISK_PAUSE / 60:g} minutes")
            self._paused_until = now + DISK_PAUSE

    def ended(self, pid: int, status: int) -> bool:
        """Note that a process has ended; returns True if it was ours."""
        if pid != self._pid:
            return False
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        # An order that is due and gets "not due" is a failure of another program.
        if code not in (DONE, BUSY, *([] if self._is_due else [NOT_DUE])):
            log(
                f"no new certificate for {', '.join(self._names)}: uacme {process.describe(status)}"
                f" (the lines above say why){self.pause()}"
            )
        return True

    def pause(self) -> str:
        """When the next order may begin, for the log; "" for now."""
        at = self._next_try()
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
        return f"; the next try is at {when}" if at > time.time() else ""

    def _next_try(self) -> float:
        """Seconds since the epoch; after a restart, too."""
        try:
            last = self._orders.stat()
        except OSError:
            return 0.0
        at = last.st_mtime + min(FIRST_PAUSE * 2.0 ** min(20, last.st_size - 1), LONGEST_PAUSE)
        return at if at < time.time() + 2 * LONGEST_PAUSE else 0.0  # the clock was ahead

    def _start(self) -> None:
        """Order, or ask whether to; raises OSError."""
        if shutil.disk_usage(FOLDER).free < ROOM:
            raise OSError(f"no space left in {FOLDER.parent}")
        self._folder.mkdir(exist_ok=True)
        if self._is_due:  # noted before, in case the container ends during the order
            log(f"ordering a certificate for {', '.join(self._names)}")
            self._orders.touch()
            os.truncate(self._orders, self._orders.stat().st_size + 1)
            os.utime(self._orders, (time.time(),) * 2)  # a file server's clock may be another
        settings = self._settings
        account = ["new", *filter(None, [settings.tls_email])]
        # Without a force, uacme asks the authority, and else renews in the last `-d` days.
        order = ["-t", "EC", *(["-f"] if self._is_due else ["-d", "1"])]
        environment = {**os.environ, "CHALLENGES": paths.CHALLENGES}
        if settings.acme_eab:  # others can read a command line
            environment["EAB"] = settings.acme_eab
        if settings.acme_ca:
            environment["UACME_CAINFO"] = settings.acme_ca
        words = ["order", str(self._folder), settings.acme_directory, " ".join(account)]
        command = [
            "/usr/bin/timeout",
            "600",
            f"{paths.HOME}/docker_flask/supervisor/certificates/acme.sh",
            *words,
        ]
        self._pid = process.spawn([*command, " ".join(order), "--", *self._names], environment)
        self._asked_at = time.monotonic()
