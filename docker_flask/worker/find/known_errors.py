"""What is known about errors at import: what is gone, what has it today, and who needs a server."""

from typing import NamedTuple

# Modules that Python had and web applications import, and the package that has each today; empty if
# there is none.
MODULES = {
    "asynchat": "pyasynchat",
    "asyncore": "pyasyncore",
    "audioop": "audioop-lts",
    "cgi": "legacy-cgi",
    "cgitb": "legacy-cgi",
    "crypt": "standard-crypt",
    "distutils": "setuptools",
    "imghdr": "standard-imghdr",
    "imp": "zombie-imp",
    "lib2to3": "",
    "pipes": "standard-pipes",
    "smtpd": "standard-smtpd",
    "telnetlib": "standard-telnetlib",
}


class Gone(NamedTuple):
    """Names that a package had.

    names: a pattern of `module.name` or `Class.name`. lines: for requirements.txt, the last
    versions with these names, and what they need. instead: what the application can do.
    """

    names: str
    lines: tuple[str, ...]
    instead: str = ""


_FLASK_1 = ("Flask<2", "MarkupSafe<2.1")
_FLASK_2_0 = ("Flask<2.1", "Werkzeug<2.1")
_FLASK_2_2 = ("Flask<2.3", "Werkzeug<3")
_FLASK_2_3 = ("Flask<3", "Werkzeug<3")
_MARKUPSAFE = "import it from markupsafe"
# The first one that fits.
GONE = (
    Gone(r"pkg_resources(\..+)?", ("setuptools<81",)),
    Gone(r"flask\.(Markup|escape)", _FLASK_2_3, _MARKUPSAFE),
    Gone(r"flask\.(scaffold|(signals\.)?signals_available)(\..+)?", _FLASK_2_3),
    Gone(r"flask\.helpers\.(is_ip|locked_cached_property)", _FLASK_2_3),
    Gone(r"flask\.(globals\.)?_(app|request)_ctx_stack", _FLASK_2_2, "use flask.g"),
    Gone(r"flask\.json\.\w+", _FLASK_2_2, "use flask.json.provider"),
    Gone(
        r"\w+\.before(_app)?_first_request",
        _FLASK_2_2,
        "call the function when the application is made, with app.app_context()",
    ),
    Gone(
        r"Flask\.(env|json_encoder|json_decoder|session_cookie_name)", _FLASK_2_2, "use app.config"
    ),
    Gone(r"flask\.(helpers\.)?safe_join", _FLASK_2_0, "import it from werkzeug.utils"),
    Gone(r"flask\.(ext|_compat|json_available)(\..+)?", _FLASK_1),
    Gone(r"werkzeug\.urls\.\w+", _FLASK_2_3, "use urllib.parse"),
    Gone(r"werkzeug\.(__version__|http\.parse_\w+|wsgi\.make_\w+)", _FLASK_2_3),
    Gone(r"werkzeug\._compat(\..+)?", _FLASK_1),
    Gone(
        r"werkzeug\.wsgi\.(Dispatcher|Proxy|SharedData)Middleware",
        ("Flask<2", "Werkzeug<1", "MarkupSafe<2.1"),
        "import it from werkzeug.middleware",
    ),
    Gone(
        r"werkzeug\.contrib(\..+)?",
        ("Flask<2", "Werkzeug<1", "MarkupSafe<2.1"),
        "use werkzeug.middleware, or the packages cachelib and secure-cookie",
    ),
    Gone(r"werkzeug\.(\w+\.\w+|filesystem|useragents)(\..+)?", ("Flask<2.2", "Werkzeug<2.1")),
    Gone(
        r"werkzeug\.[A-Za-z]\w+",
        ("Flask<2", "Werkzeug<1", "MarkupSafe<2.1"),
        "import it from its own module, such as werkzeug.utils or werkzeug.security",
    ),
    Gone(r"jinja2\.(Markup|escape)", (*_FLASK_2_2, "Jinja2<3.1"), _MARKUPSAFE),
    Gone(
        r"jinja2\.(\w+\.)?(context|environment|evalcontext)(filter|function)",
        (*_FLASK_2_2, "Jinja2<3.1"),
        "use pass_context, pass_environment or pass_eval_context",
    ),
    Gone(r"jinja2\..+", (*_FLASK_2_2, "Jinja2<3.1")),
    Gone(r"markupsafe\.soft_unicode", ("MarkupSafe<2.1",), "use soft_str"),
    Gone(
        r"itsdangerous\.(json|jws|\w*JSONWebSignatureSerializer)(\..+)?",
        (*_FLASK_2_2, "itsdangerous<2.1"),
        "use URLSafeTimedSerializer, or the package PyJWT",
    ),
    Gone(r"click\.get_(os_args|terminal_size)", ("click<8.1",)),
    Gone(r"sqlalchemy\.__all__", ("SQLAlchemy<2",)),
)

# Libraries without the end of their names (`.so.1`), and the packages of Debian and Ubuntu.
_PANGO = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"  # what WeasyPrint needs
LIBRARIES = {
    "libEGL": "libegl1",
    "libGL": "libgl1",
    "libICE": "libice6",
    "libSM": "libsm6",
    "libX11": "libx11-6",
    "libXext": "libxext6",
    "libXrender": "libxrender1",
    "libcairo": "libcairo2",
    "libfbclient": "libfbclient2",
    "libfontconfig": "libfontconfig1",
    "libgdk_pixbuf-2.0": "libgdk-pixbuf-2.0-0",
    "libgeos_c": "libgeos-c1v5",
    "libgfortran": "libgfortran5",
    "libglib-2.0": "libglib2.0-0",
    "libgobject-2.0": _PANGO,
    "libgomp": "libgomp1",
    "libgthread-2.0": "libglib2.0-0",
    "libharfbuzz": "libharfbuzz0b",
    "libharfbuzz-subset": _PANGO,
    "libmagic": "libmagic1",
    "libmariadb": "libmariadb3",
    "libmemcached": "libmemcached11",
    "libodbc": "libodbc2",
    "libopenblas": "libopenblas0",
    "libpango-1.0": _PANGO,
    "libpangocairo-1.0": "libpangocairo-1.0-0",
    "libpangoft2-1.0": _PANGO,
    "libpq": "libpq5",
    "librdkafka": "librdkafka1",
    "libsndfile": "libsndfile1",
    "libsybdb": "libsybdb5",
    "libturbojpeg": "libturbojpeg0",
    "libxcb": "libxcb1",
    "libxml2": "libxml2",
    "libxmlsec1": "libxmlsec1-openssl",
    "libxmlsec1-openssl": "libxmlsec1-openssl",
    "libxslt": "libxslt1.1",
    "libzbar": "libzbar0",
}

# Frameworks with a server of their own: the options and the command of `docker run`.
OWN_SERVERS = {
    "gradio": ("-p 7860:7860 -e GRADIO_SERVER_NAME=0.0.0.0", "python"),
    "nicegui": ("-p 8080:8080", "python"),
    "streamlit": ("-p 8501:8501", "streamlit run"),
}
