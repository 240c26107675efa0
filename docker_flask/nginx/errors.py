"""The words of nginx's own error pages."""

from __future__ import annotations


def errors(max_upload: str) -> list[tuple[str, str, str]]:
    """The status, the name and the reason of each error; max_upload: the setting."""
    return [
        ("400", "Bad Request", "The server can not understand the request."),
        ("400headers", "Bad Request", "Request Header Or Cookie Too Large: 64 KB are allowed."),
        ("403", "Forbidden", "The server does not allow this request."),
        ("404", "Not Found", "There is nothing at this address."),
        (
            *("413", "Request Entity Too Large"),
            f"The body of the request is larger than {max_upload} (setting MAX_UPLOAD).",
        ),
        ("429", "Too Many Requests", "The client sends too many requests. Try again later."),
        ("501", "Not Implemented", "WebSockets are turned off, or the server has none."),
        ("502", "Bad Gateway", "The application failed before it responded."),
        ("503", "Service Unavailable", "The server is too busy. Try again in a few seconds."),
        ("504", "Gateway Timeout", "The application takes too long to respond."),
        (
            *("507", "Insufficient Storage"),
            "The server has no room for the body of the request. Try again later.",
        ),
    ]
