"""OpenTelemetry by its variables alone: every request leaves one span, over reloads and ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.harness import Container, Engine, image_with, wait_for, write_files

PACKAGES = (
    "opentelemetry-distro==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-flask==0.66b1",
)
SINK = """
import gzip, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.kind == Span.SPAN_KIND_SERVER:
                            print("SPAN", span.span_id.hex(), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("0.0.0.0", 4318), Handler).serve_forever()
"""
APP = """
import os, time
from flask import Flask
app = Flask(__name__)

@app.get("/")
def page():
    return "hello"
"""


def spans(sink: Container) -> list[str]:
    return [line for line in sink.logs().splitlines() if line.startswith("SPAN ")]


def environment(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_METRICS_EXPORTER": "none",
    }


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("preload", ["0", "1"])
def test_each_request_leaves_one_span(engine: Engine, app_folder: Path, preload: str) -> None:
    image = image_with(*PACKAGES)
    sink = engine.run(["/opt/venv/bin/python", "-c", SINK], image=image)
    sink.docker.reload()
    address = sink.docker.attrs["NetworkSettings"]["IPAddress"]
    env = {"PRELOAD": preload, "MAX_REQUESTS": "300", **environment(f"http://{address}:4318")}
    container = engine.serve(image=image, app=write_files(app_folder, {"app.py": APP}), env=env)
    asked = 1  # by the harness
    for _ in range(5):
        for _ in range(200):
            assert container.get("/").status_code == 200
            asked += 1
        container.shell("docker-flask reload")
    container.docker.stop()
    wait_for(lambda: len(spans(sink)) >= asked, 15, f"{asked} spans")
    found = spans(sink)
    assert len(found) == len(set(found)) == asked


@pytest.mark.nightly
@pytest.mark.timeout(120)
def test_an_endpoint_that_does_not_answer_delays_no_end(engine: Engine, app_folder: Path) -> None:
    app = write_files(app_folder, {"app.py": APP})
    env = environment("http://192.0.2.1:4318")
    container = engine.serve(image=image_with(*PACKAGES), app=app, env=env)
    for _ in range(20):
        container.get("/")
    begun = time.monotonic()
    container.docker.stop()
    assert time.monotonic() - begun < 6
    assert "every request was answered" in container.logs()
