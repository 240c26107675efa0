"""httpbin: the answers of both modes are alike, for each of its pages."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.support.foreign_apps import MODES, Application, Serve, Served

pytestmark = pytest.mark.timeout(300)  # with the build of an image

APPLICATION = Application("httpbin", page="/get")

PATHS = """
/ /html /robots.txt /deny /ip /uuid /headers /user-agent /get /get?a=1&b=%C3%A4&a=2 /xml
/json /forms/post /anything /anything/a%20b/%C3%A4 /gzip /deflate /brotli /stream/3
/bytes/100?seed=1 /bytes/2000000?seed=1 /stream-bytes/5000?seed=1&chunk_size=100 /range/100
/range/26?chunk_size=5 /links/3 /links/3/1 /delay/1 /drip?duration=0.5&numbytes=5&code=200
/redirect/2 /redirect-to?url=/get&status_code=307 /relative-redirect/2 /absolute-redirect/2
/status/204 /status/304 /status/404 /status/418 /status/500 /status/503
/response-headers?X-Word=tea&X-Word=cake /cookies /cookies/set?tea=green /cookies/set/tea/green
/cookies/delete?tea /basic-auth/ada/word /hidden-basic-auth/ada/word /bearer
/digest-auth/auth/ada/word /digest-auth/auth/ada/word/MD5 /digest-auth/auth/ada/word/MD5/never
/base64/dGVh /cache /cache/60 /encoding/utf8 /etag/tea /image /image/png /image/jpeg /image/webp
/image/svg /no-such-page
"""
OTHER_METHODS = ["POST /post", "PUT /put", "PATCH /patch", "DELETE /delete", "POST /anything/tea"]
REQUESTS = [*(f"GET {path}" for path in PATHS.split()), *OTHER_METHODS]
# A name without the port, which differs; no compression but that of the pages for it.
HEADERS = {"Host": "bin.test", "Accept-Encoding": "identity"}
COMPARED_HEADERS = ("Content-Type", "Location", "Set-Cookie", "Cache-Control", "Allow", "X-Word")
# What differs between two responses of httpbin.
RANDOM = re.compile(r'"uuid": "[^"]+"|(nonce|opaque)="?\w+"?|\b(last_nonce|fake)=\w+')


def answer(served: Served, request: str, body: dict[str, str]) -> tuple[Any, ...]:
    """Status, headers and body, without what is random."""
    method, path = request.split()
    with httpx.Client(base_url=served.client.base_url, timeout=10) as client:
        data = None if method == "GET" else body
        response = client.request(method, path, headers=HEADERS, data=data)
    names = (*COMPARED_HEADERS, "WWW-Authenticate")
    headers = {name: RANDOM.sub("", ", ".join(response.headers.get_list(name))) for name in names}
    return response.status_code, headers, RANDOM.sub("", response.content.decode("latin-1"))


def test_both_modes_answer_alike(serve: Serve) -> None:
    production, debug = (serve(APPLICATION, mode) for mode in MODES)
    for served in (production, debug):
        with served.step("start"):
            served.start()
    with production.step("compare"):
        different = {}
        for request in REQUESTS:
            answers = [answer(one, request, {"word": "tea"}) for one in (production, debug)]
            if answers[0] != answers[1]:
                different[request] = answers
        assert not different
    for served in (production, debug):
        with served.step("reload"):
            served.reload()
        with served.step("stop"):
            served.stop()
