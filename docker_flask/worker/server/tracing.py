"""OpenTelemetry by its variables alone: OTEL_EXPORTER_OTLP_ENDPOINT and opentelemetry-distro.

Its own command, `opentelemetry-instrument`, starts a program. Here the server is the program, and
its threads for sending would not outlive the fork of a worker; so each worker sets it up itself.
"""

import atexit
import importlib.util
import os
import threading

VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
# Seconds for the last spans at the end of a worker.
FLUSH = 2.0


def set_up() -> None:
    """Set up the traces, metrics and logs that the variables ask for; before the application."""
    if not os.environ.get(VARIABLE, "").strip() or not _is_installed():
        return
    from opentelemetry import trace
    from opentelemetry.instrumentation import auto_instrumentation

    auto_instrumentation.initialize()
    provider = trace.get_tracer_provider()
    if not (shut_down := getattr(provider, "shutdown", None)):
        return

    def end() -> None:
        sending = threading.Thread(target=shut_down, daemon=True)
        sending.start()
        sending.join(FLUSH)

    # An endpoint that does not answer would hold the end of the worker for longer.
    atexit.unregister(shut_down)
    atexit.register(end)


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.distro") is not None
    except ModuleNotFoundError:
        return False
