"""Shows its WSGI environment; what is no text, number or truth value is an "object"."""

import json


def application(environ, start_response):
    shown = {
        name: value if type(value) in (str, int, bool) else "object"
        for name, value in environ.items()
    }
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
