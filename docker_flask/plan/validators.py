"""The validators of settings: how to parse a text, and which texts are allowed.

Values of settings get into configuration files, and therefore always pass `Validator.parse`, which
returns only numbers, known words, and paths or names without special characters.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker_flask.servers.uwsgi import ini as uwsgi_ini
from docker_flask.shared import static_files

# Source addresses that no packet from the internet has: private (RFC 1918), loopback, link-local
# (RFC 3927; several clouds' load balancers use it), and their IPv6 counterparts. Without
# 100.64.0.0/10 (RFC 6598), because other customers of a provider use these addresses.
PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


@dataclass(frozen=True)
class Validator:
    """One kind of value.

    parse: converts a text to a value; raises ValueError if the text is not allowed.
    allowed: the allowed values in words.
    """

    parse: Callable[[str], Any]
    allowed: str


def require(condition: object) -> None:
    """Raise ValueError if the condition is not true."""
    if not condition:
        raise ValueError


def whole_number(low: int, high: int) -> Validator:
    def parse(text: str) -> int:
        require(re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high)
        return int(text)

    return Validator(parse, f"a whole number from {low} to {high}")


def or_word(word: str, kind: Validator, value: Any = None) -> Validator:
    """A value of another kind, or a word; value: what the word means, None for itself."""

    def parse(text: str) -> Any:
        if text.lower() == word:
            return word if value is None else value
        return kind.parse(text)

    return Validator(parse, f"{kind.allowed}, or {word}")


def seconds(low: float, high: float) -> Validator:
    def parse(text: str) -> float:
        require(re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text) and low <= float(text) <= high)
        return float(text)

    return Validator(parse, f"seconds from {low:g} to {high:g}")


def switch(*others: str) -> Validator:
    words: dict[str, bool | str] = {"1": True, "on": True, "true": True, "yes": True}
    words |= {"0": False, "off": False, "false": False, "no": False}
    words |= {word: word for word in others}

    def parse(text: str) -> bool | str:
        require(text.lower() in words)
        return words[text.lower()]

    return Validator(parse, ", or ".join(["1 or 0 (also on/off, true/false, yes/no)", *others]))


def word(*words: str) -> Validator:
    def parse(text: str) -> str:
        require(text.lower() in words)
        return text.lower()

    return Validator(parse, f"{', '.join(words[:-1])} or {words[-1]}")


def log_level() -> Validator:
    """Any text: many applications have a variable of this name, with words of their own."""
    return Validator(lambda text: "debug" if text.lower() == "debug" else "info", "debug or info")


def size(minimum: str = "0", zero: str = "no limit") -> Validator:
    """A size; zero: what 0 means."""

    def parse(text: str) -> str:
        require(re.fullmatch(r"[0-9]{1,9}[kKmMgG]?", text))
        require(in_bytes(text) == 0 or in_bytes(text) >= in_bytes(minimum))
        return text.lower()

    at_least = f" of at least {minimum}" if minimum != "0" else ""
    return Validator(
        parse, f"0 for {zero}, or a size{at_least}, such as 50m (bytes, or with k, m or g)"
    )


def in_bytes(size: str) -> int:
    """A size such as `50m` as a number of bytes."""
    shift = {"k": 10, "m": 20, "g": 30}.get(size[-1].lower())
    return int(size[:-1]) << shift if shift else int(size)


# An expression such as `name.attribute` or `factory(1, key="text")`. callables.py refuses
# arguments that are not literals.
_EXPRESSION = r"[A-Za-z_][\w.]*\s*(\([^\x00-\x1f\x7f]*\))?"
_MAX_CALLABLE = 1000


def wsgi_callable() -> Validator:
    pattern = rf"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:{_EXPRESSION})?"
    allowed = "package.module:callable, or package.module:factory()"
    return matching(pattern, allowed, _MAX_CALLABLE, re.UNICODE)


def flask_app() -> Validator:
    pattern = rf"[\w./+][\w./+-]*(:\s*{_EXPRESSION})?"
    allowed = "a module or its file, such as path/to/hello.py, with or without :callable"
    return matching(pattern, allowed, _MAX_CALLABLE, re.UNICODE)


def existing_file() -> Validator:
    def parse(text: str) -> str:
        require(re.fullmatch(r"[\w./+-]+", text))
        uwsgi_ini.text(Path(text))
        return text

    return Validator(parse, "the path of an existing file")


def matching(
    pattern: str, allowed: str, most: int = 500, letters: re.RegexFlag = re.ASCII
) -> Validator:
    """Text of at most so many characters that matches a regular expression."""

    def parse(text: str) -> str:
        require(len(text) <= most and re.fullmatch(pattern, text, letters))
        return text

    return Validator(parse, allowed)


def path() -> Validator:
    """A path that is read later: prestart.sh may create it."""
    return matching(r"[\w./][\w./+-]*", "a path of letters, digits, ., _, + and -")


def switch_or_port() -> Validator:
    onoff, port = switch(), whole_number(2, 65535)

    def parse(text: str) -> Any:
        return port.parse(text) if re.fullmatch("[0-9]{2,}|[2-9]", text) else onoff.parse(text)

    return Validator(parse, f"{onoff.allowed}, or the published port of HTTPS, such as 8443")


LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


def https_url() -> Validator:
    pattern = r"https://[\w.-]+(:\d{1,5})?(/[\w./~%+-]*)?"
    return matching(pattern, f"an address such as {LETS_ENCRYPT}")


def domains() -> Validator:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(re.split("[, ]+", text.lower().strip(", "))))
        label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
        name = rf"(?=.{{1,253}}$)({label}\.)*(?=[a-z]){label}"
        require(len(names) <= 100 and all(re.fullmatch(name, each) for each in names))
        return names

    return Validator(
        parse,
        "1 to 100 host names, separated by commas, such as example.com,www.example.com; neither "
        "addresses nor names with a *, which an authority does not check by HTTP",
    )


def networks() -> Validator:
    def parse(text: str) -> tuple[str, ...]:
        import ipaddress  # slow to import, and the port is not bound yet

        networks: list[str] = []
        for word in text.replace(",", " ").split():
            if word == "private":
                networks += PRIVATE
                continue
            require(re.fullmatch("[0-9A-Fa-f:./]+", word))
            network = ipaddress.ip_network(word)
            require(network.prefixlen)
            networks.append(str(network))
        return tuple(dict.fromkeys(networks))

    return Validator(
        parse,
        "addresses, networks such as 10.0.0.0/8 (all host bits are 0) and the word private, "
        "separated by commas or spaces; 0.0.0.0/0 would trust headers that any client can forge",
    )


def host_names() -> Validator:
    def parse(text: str) -> tuple[str, ...]:
        hosts = tuple(host.strip().lower() for host in text.split(","))
        name = r"\.?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
        require(all(re.fullmatch(name, host) for host in hosts))
        return hosts

    return Validator(
        parse, "host names without ports, separated by commas; .lan stands for all names below lan"
    )


def url_path(example: str, slash: str = "") -> Validator:
    """A path in a URL; slash: an end that is removed."""

    def parse(text: str) -> str:
        path = text.removesuffix(slash)
        require(len(text) <= 255 and static_files.URL.fullmatch(path))
        return path

    return Validator(parse, f"a path such as {example}, of letters, digits, ., _ and -")


# What nobody means to publish.
_OF_THE_SYSTEM = ("/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib", "/var/log")


def static_folder() -> Validator:
    def parse(text: str) -> str:
        folder = Path(text).resolve()
        require(folder.is_dir() and not Path.cwd().resolve().is_relative_to(folder))
        require(not any(folder.is_relative_to(place) for place in _OF_THE_SYSTEM))
        return os.path.abspath(text)

    return Validator(
        parse, "an existing folder that does not contain the application, nor is of the system"
    )
