"""All decisions for one generation of the application.

A plan is made once, from the environment and the user's files at that time, and never changes. The
supervisor, nginx, the application servers and the command `settings` only read it. A process that
crashes restarts from the plan of its generation; a reload makes a new plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from docker_flask.plan import nginx_files, packages, settings, sizing, workers
from docker_flask.plan.limits import Limits
from docker_flask.plan.nginx_files import NginxFiles
from docker_flask.plan.settings import Settings
from docker_flask.plan.sizing import Sizing
from docker_flask.plan.validators import in_bytes
from docker_flask.plan.workers import Workers
from docker_flask.servers.gunicorn import options as gunicorn_conf
from docker_flask.servers.launch import Launch
from docker_flask.servers.uwsgi import options as uwsgi_options
from docker_flask.shared.origin import DEFAULT, Found, ServerOptions
from docker_flask.shared.paths import UWSGI_PROGRAM
from docker_flask.shared.process import Output
from docker_flask.shared.setting_error import SettingError

# Below this size (bytes), there is no cache. It may take the free disk divided by CACHE_SHARE.
MIN_CACHE, CACHE_SHARE = 1 << 20, 4


@dataclass(frozen=True)
class Plan:
    """All decisions for one generation.

    environment: of the application. origins: of the settings, by the names of their fields.
    options: the user's options for the application server.
    """

    environment: Mapping[str, str]
    settings: Settings
    origins: Mapping[str, str]
    limits: Limits
    workers: Workers
    sizing: Sizing
    nginx_files: NginxFiles
    options: ServerOptions

    def launch(self, count: int, threads: int, options_file: Path | None) -> Launch:
        """A start of the application server with these workers and threads."""
        return Launch(
            workers=count,
            threads=threads,
            options_file=options_file,
            worker_class=self.settings.worker_class,
            preload=self.settings.preload,
            queue=self.sizing.queue,
            release=self.release,
            descriptors=self.limits.descriptors,
            cpus=self.limits.cpus,
            is_quiet=self.settings.log_level != "debug",
        )

    def measured(self, memory: int) -> "Plan":
        """The same plan for workers that take so much memory (bytes)."""
        found = workers.decide(
            self.settings, self.origins, self.limits, memory, self.options.only_one_server
        )
        return replace(
            self, workers=found, sizing=sizing.compute(self.settings, found, self.limits)
        )

    @property
    def tls_port(self) -> int:
        """The port for HTTPS, 0 for none."""
        return self.settings.tls_port if self.settings.has_tls else 0

    @property
    def drains_without_clients(self) -> bool:
        """True if a stop waits for DRAIN_DELAY also while no client is connected.

        It is set for a load balancer, which may be between two checks at that moment.
        """
        return self.origins["drain_delay"] != DEFAULT

    # A request over REQUEST_TIMEOUT meets nginx first, which responds with 504; then the watchdog,
    # which replaces the worker: if the worker ended first, nginx would respond with 502 and retry
    # a GET; and at `release` everybody who still holds its connection: nobody waits any more.

    @property
    def watchdog(self) -> float:
        """Seconds after which the watchdog of a worker acts."""
        return self.settings.request_timeout + 0.7

    @property
    def release(self) -> int:
        """Seconds after which nginx, the server and process 1 give up a connection."""
        return round(self.settings.request_timeout) + 5

    def rows(self) -> list[tuple[str, str, str]]:
        """Each setting's name, value and origin, for a person to read."""
        decided = {
            "web_concurrency": self.workers.processes,
            "uwsgi_cheaper": self.workers.count,
            "threads": self.workers.threads,
        }
        rows = []
        for name, origin in self.origins.items():
            value = getattr(self.settings, name)
            if value is None and name in decided:
                value, origin = decided[name], f"decided: {self.workers.reason}"
            rows.append((name.upper(), settings.show(name, value, origin), origin))
        return rows

    def cache_size(self, disk: int) -> int:
        """Maximum size of nginx's cache in bytes, 0 for no cache; disk: free bytes."""
        if self.nginx_files.passes_requests or self.nginx_files.has_own_cache:
            return 0
        size = min(in_bytes(self.settings.response_cache), disk // CACHE_SHARE)
        return size if size >= MIN_CACHE else 0


def program(
    environ: Mapping[str, str], limits: Limits, early: Mapping[str, Found] | None = None
) -> gunicorn_conf.Program | None:
    """The program whose output `make` needs, None if it needs none; raises SettingError."""
    given = settings.read(environ, early)
    chosen, _ = settings.resolve(given, limits)
    if chosen.app_server == "uwsgi":
        return None
    packages.check_server(chosen.app_server, chosen.worker_class)
    return gunicorn_conf.program(Path.cwd(), environ, chosen.start_timeout)


def make(
    environ: Mapping[str, str],
    limits: Limits,
    early: Mapping[str, Found] | None = None,
    worker_memory: int = 0,
    output: Output | None = None,
) -> Plan:
    """Make a plan from the environment, the working directory and the limits.

    early: the settings that were read before prestart.sh changed this environment. worker_memory:
    bytes that a worker takes, 0 if none was measured. output: of `program`. Raises SettingError for
    a value that is not allowed, or a package that is not installed.
    """
    given = settings.read(environ, early)
    app_server = given["app_server"].value if "app_server" in given else settings.DEFAULT_APP_SERVER
    worker_class = given["worker_class"].value if "worker_class" in given else None
    packages.check_server(app_server, worker_class)
    user_files = nginx_files.read()
    if app_server == "uwsgi":
        options = uwsgi_options.read(Path.cwd(), environ, UWSGI_PROGRAM)
    else:
        options = gunicorn_conf.read(Path.cwd(), output)
    chosen, origins = settings.resolve(given, limits, options.settings)
    packages.check_worker_class(chosen)
    if chosen.script_name and user_files.internal:
        raise SettingError(
            f"SCRIPT_NAME={chosen.script_name} opens internal locations: remove `internal` in "
            f"{user_files.internal}, or let the proxy remove the prefix and send X-Forwarded-Prefix"
        )
    found = workers.decide(chosen, origins, limits, worker_memory, options.only_one_server)
    return Plan(
        environment=dict(environ),
        settings=chosen,
        origins=origins,
        limits=limits,
        workers=found,
        sizing=sizing.compute(chosen, found, limits),
        nginx_files=user_files,
        options=options,
    )
