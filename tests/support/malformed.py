"""Requests that no browser sends, and that two servers may read in two ways.

TOKEN stands for a text that is unique for each. A request in REFUSED has two meanings: no
application may see it. The others may pass, if nginx and the application agree about them.
"""

from __future__ import annotations

PATH = b"/echo?TOKEN"
SMUGGLED = b"GET /echo?TOKEN-smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"4\r\ntext\r\n0\r\n\r\n"


def row(text: str) -> list[bytes]:
    """The cells of a table between bars, with Python's escapes."""
    cells = text.replace("|\n|", "|").strip().strip("|").split("|")
    return [cell.encode().decode("unicode_escape").encode("latin-1") for cell in cells]


def head(*lines: bytes, method: bytes = b"POST", target: bytes = PATH) -> bytes:
    """A request without its body."""
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: a", *lines, b"", b""])


def _lengths() -> dict[str, bytes]:
    values = row(r"""
|-1|+4|0x4|4,4|4, 5|4 4||a|4a|4\x0b|999999999999999999999999999999|4.0|4e0|\xd9\xa4|4;|"4"|
|18446744073709551620|4\x00|-0|4\r\n 0|0\r\n\t4|,4|4,|
""")
    alone = {f"length {v!r}": head(b"Content-Length: " + v) + b"text" + SMUGGLED for v in values}
    pairs = {
        f"lengths {one!r} {two!r}": head(b"Content-Length: " + one, b"Content-length: " + two)
        + b"text"
        + SMUGGLED
        for one, two in ((b"4", b"4"), (b"4", b"5"), (b"0", b"4"), (b"4", b"0"), (b"4", b"x"))
    }
    return alone | pairs


ENCODINGS = row(r"""
|chunked|Chunked| chunked|chunked |\tchunked\t|x|identity|chunked, chunked|gzip, chunked|
|chunked, gzip|chunked;q=1|"chunked"|chun\x00ked|chunked,|,chunked|chunked\x0b|\x0bchunked|
|xchunked|chunkedx|chunked\r\n x|\r\n chunked|chunked\rx|\xa0chunked|chun ked|
""")


def _both() -> dict[str, bytes]:
    """A length and an encoding, in both orders."""
    found = {}
    for value in ENCODINGS:
        lines = (b"Content-Length: 4", b"Transfer-Encoding: " + value)
        found[f"length, encoding {value!r}"] = head(*lines) + CHUNKS + SMUGGLED
        found[f"encoding {value!r}, length"] = head(*reversed(lines)) + b"0\r\n\r\n" + SMUGGLED
    twice = (b"Transfer-Encoding: x", CHUNKED)
    found["two encodings"] = head(*twice) + CHUNKS + SMUGGLED
    found["two encodings, other order"] = head(*reversed(twice)) + CHUNKS + SMUGGLED
    return found


def _chunks() -> dict[str, bytes]:
    sizes = row(r"""
|g|-4|+4|0x4||4g|4.0|10000000000000004|4,|FFFFFFFFFFFFFFFF|\xd9\xa4|4\x00|x4|
""")
    bodies = {f"size {size!r}": size + b"\r\ntext\r\n0\r\n\r\n" for size in sizes}
    bodies["no end of a chunk"] = b"4\r\ntextXX0\r\n\r\n"
    bodies["long chunk"] = b"4\r\ntext more\r\n0\r\n\r\n"
    return {f"chunks: {name}": head(CHUNKED) + body + SMUGGLED for name, body in bodies.items()}


def _hosts() -> dict[str, bytes]:
    line = b"GET " + PATH + b" HTTP/1.1\r\n"
    hosts = (b"a b", b"a/b", b"a\x00b", b"a\x0bb", b"a\r\n b")
    return {
        "no host": line + b"\r\n",
        "two hosts": line + b"Host: a\r\nHost: b\r\n\r\n",
        "the same host twice": line + b"Host: a\r\nHost: a\r\n\r\n",
        **{f"host {host!r}": line + b"Host: " + host + b"\r\n\r\n" for host in hosts},
    }


def _lines() -> dict[str, bytes]:
    lines = row(r"""
|GET /echo?TOKEN HTTP/2.0|GET /echo?TOKEN HTTP/3|GET /echo?TOKEN HTTP/1|
|GET /echo?TOKEN HTTP/1.1x|GET /echo?TOKEN HTTP/x|GET /echo?TOKEN HTTP/.1|
|GET /echo?TOKEN http/1.1|GET /echo?TOKEN HTTP /1.1|GET /echo?TOKEN HTP/1.1|GET /echo?TOKEN X|
|GE\x00T /echo?TOKEN HTTP/1.1|G(T /echo?TOKEN HTTP/1.1|GET\t/echo?TOKEN\tHTTP/1.1|GET  HTTP/1.1|
|get /echo?TOKEN HTTP/1.1|GET echo?TOKEN HTTP/1.1|CONNECT a:80 HTTP/1.1|
|TRACE /echo?TOKEN HTTP/1.1|GET /echo?TOKEN\x00 HTTP/1.1|GET /ec\x00ho?TOKEN HTTP/1.1|
|GET /echo\x01?TOKEN HTTP/1.1|GET /echo?TOKEN\x7f HTTP/1.1|GET /../echo?TOKEN HTTP/1.1|
|GET /%zz?TOKEN HTTP/1.1|GET ?TOKEN HTTP/1.1|GET * HTTP/1.1|
|PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n|\x16\x03\x01\x02\x00\x01\x00|SSH-2.0-x|
|\x00\x10\x00\x00\x0c\x00UWSGI_SCRIPT\x01\x00x|
""")
    lines.append(b"GET /" + b"x" * 70_000 + b"?TOKEN HTTP/1.1")
    return {f"request line {line[:40]!r}": line + b"\r\nHost: a\r\n\r\n" for line in lines}


REFUSED = {**_lengths(), **_both(), **_chunks(), **_hosts(), **_lines()}


def _names() -> dict[str, bytes]:
    """A header of framing whose name is not quite right, beside a good one."""
    found = {}
    for bad in row(r"""
|Transfer-Encoding : chunked| Transfer-Encoding: chunked|Transfer_Encoding: chunked|
|Transfer-Encoding\x00: chunked|\x0bTransfer-Encoding: chunked|Transfer-Encoding|
|Transfer Encoding: chunked|Transfer-Encoding\t: chunked|: chunked|\x00: x|
|X: a\nTransfer-Encoding: chunked|X: a\rTransfer-Encoding: chunked|Foo\r: chunked|
|Content-Length : 0|Content_Length: 0| Content-Length: 0|Content-Length\x00: 0|
|X: a\rContent-Length: 0|Content-Length|X: a\x00b|X-\xff: 1|X: \x01\x1b\x7f|
"""):
        found[f"name {bad!r}"] = head(b"Content-Length: 4", bad) + b"text" + SMUGGLED
        found[f"first name {bad!r}"] = head(bad, b"Content-Length: 4") + b"text" + SMUGGLED
    return found


def _headers() -> dict[str, bytes]:
    lines = row(r"""
|Connection: Content-Length|Connection: Host|Connection: X-Forwarded-For|
|Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade|
|Upgrade: websocket\r\nConnection: Upgrade|Expect: x|TE: trailers|Expect:|
|Proxy-Connection: close|Range: bytes=0-,0-,0-|Content-Encoding: gzip|Content-Type: \xff\x00|
|Keep-Alive: x|X-HTTP-Method-Override: PUT|If-Match: \x80|Trailer: Content-Length|
|X-Accel-Redirect: /etc/passwd|X-Response-Cache: HIT/200|Date: x|Via: 1.0 x|Status: 200|
""")
    lines += [b"Cookie: " + b"x" * 65_000, b"X: " + b"x" * 70_000, b"X:" + b" " * 5000]
    lines.append(b"\r\n".join([b"X: 1"] * 1000))
    return {
        f"header {line[:40]!r}": head(b"Content-Length: 4", line) + b"text" + SMUGGLED
        for line in lines
    }


def _bodies() -> dict[str, bytes]:
    bodies = {
        "extension": b"4;a=b\r\ntext\r\n0\r\n\r\n",
        "long extension": b"4;" + b"x" * 5000 + b"\r\ntext\r\n0\r\n\r\n",
        "line feeds": b"4\ntext\n0\n\n",
        "carriage returns": b"4\rtext\r0\r\r",
        "trailer": b"4\r\ntext\r\n0\r\nX: 1\r\n\r\n",
        "length in a trailer": b"4\r\ntext\r\n0\r\nContent-Length: 9\r\n\r\n",
        "encoding in a trailer": b"4\r\ntext\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
        "bad trailer": b"4\r\ntext\r\n0\r\n\x00\r\n\r\n",
        "no end": b"4\r\ntext\r\n",
        "no body": b"",
    }
    found = {f"body: {name}": head(CHUNKED) + body + SMUGGLED for name, body in bodies.items()}
    for value in ENCODINGS:
        found[f"only encoding {value!r}"] = head(b"Transfer-Encoding: " + value) + CHUNKS + SMUGGLED
    return found


def _others() -> dict[str, bytes]:
    get = head(method=b"GET")
    one = b" HTTP/1.0\r\nHost: a\r\n"
    return {
        "two requests at once": get + SMUGGLED,
        "GET with chunks": head(CHUNKED, method=b"GET") + CHUNKS + SMUGGLED,
        "HEAD with a body": head(b"Content-Length: 4", method=b"HEAD") + b"text",
        "POST without a length": head() + SMUGGLED,
        "length of zero": head(b"Content-Length: 0") + SMUGGLED,
        "too short": head(b"Content-Length: 400") + b"text",
        "1.0 with chunks": b"POST " + PATH + one + CHUNKED + b"\r\n\r\n" + CHUNKS + SMUGGLED,
        "1.0 kept": b"GET " + PATH + one + b"Connection: keep-alive\r\n\r\n" + SMUGGLED,
        "1.0": b"GET " + PATH + one + b"\r\n" + SMUGGLED,
        "0.9": b"GET " + PATH + b"\r\n",
        "1.2": b"GET " + PATH + b" HTTP/1.2\r\nHost: a\r\n\r\n",
        "absolute": head(method=b"GET", target=b"http://a" + PATH),
        "absolute, another host": head(method=b"GET", target=b"http://b" + PATH),
        "absolute, a user": head(method=b"GET", target=b"http://u@a" + PATH),
        "fragment": head(method=b"GET", target=PATH + b"#x"),
        "space": head(method=b"GET", target=PATH + b" a"),
        "bytes": head(method=b"GET", target=PATH + b"\xff\x80"),
        "unknown method": head(b"Content-Length: 4", method=b"FOO") + b"text" + SMUGGLED,
        "line feeds": get.replace(b"\r\n", b"\n") + SMUGGLED,
        "carriage returns": get.replace(b"\r\n", b"\r") + SMUGGLED,
        "empty lines before": b"\r\n\r\n" + get,
        "folded": head(b"X: a", b" b", method=b"GET"),
        "expect": head(b"Expect: 100-continue", b"Content-Length: 4") + b"text" + SMUGGLED,
        "empty host": get.replace(b"Host: a", b"Host:"),
        "nothing": b"",
    }


PASSED = {**_names(), **_headers(), **_bodies(), **_others()}
EVERY = {**REFUSED, **PASSED}
# For each change: one of each kind.
FEW = (
    "length b'-1'",
    "lengths b'4' b'5'",
    "length, encoding b'chunked'",
    "chunks: size b'-4'",
    "two hosts",
    "two encodings",
    "name b'Transfer-Encoding : chunked'",
    "body: line feeds",
    "two requests at once",
    "GET with chunks",
    "1.0 kept",
    "expect",
    "line feeds",
)
