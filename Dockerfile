# docker-flask: nginx, uWSGI and a Flask application, in one image with two modes.
#
#   docker build -t docker-flask .
#
# Needs BuildKit. Optional, and in no layer of the result:
#   --build-arg APT_MIRROR=URL --build-arg APT_SECURITY_MIRROR=URL   instead of the base's mirrors
#   --build-arg PIP_INDEX_URL=URL                                    instead of PyPI
#   --build-arg http_proxy=URL --build-arg https_proxy=URL
#   --secret id=ca,src=FILE        certificate authorities to trust (private mirror, proxy)
# Optional, and in the labels of the result: --build-arg REVISION=COMMIT
# The Python of the base runs the application: python3 in /usr/local, else the distribution's.
ARG BASE_IMAGE=ubuntu:24.04
# uwsgi, or gunicorn for an image without uWSGI.
ARG APP_SERVER=uwsgi


# --- The sources of packages, in a separate stage, so that the image's history contains no address
# --- or password from the build arguments.
FROM ${BASE_IMAGE} AS sources
ARG APT_MIRROR
ARG APT_SECURITY_MIRROR
ARG PIP_INDEX_URL
WORKDIR /sources
COPY docker_flask/install-os.sh docker_flask/install-python.sh ./
RUN touch apt.list pip.conf \
 && if [ -n "$APT_MIRROR" ]; then \
      . /etc/os-release \
      && security="${APT_SECURITY_MIRROR:-$APT_MIRROR}" \
      && case "$ID" in \
           ubuntu) components="main universe" ;; \
           *) components="main" ;; \
         esac \
      && printf 'deb %s %s %s\n' \
           "$APT_MIRROR" "$VERSION_CODENAME" "$components" \
           "$APT_MIRROR" "$VERSION_CODENAME-updates" "$components" \
           "$security" "$VERSION_CODENAME-security" "$components" > apt.list; \
    fi \
 && if [ -n "$PIP_INDEX_URL" ]; then \
      printf '[global]\nindex-url = %s\n' "$PIP_INDEX_URL" > pip.conf; \
    fi


# --- The compiler, and an empty virtual environment: what is built, is built with these.
FROM ${BASE_IMAGE} AS compiler
# The cache keeps compiled packages for the next build, not for the image.
ENV PATH=/opt/venv/bin:$PATH \
    APT_SOURCES=/sources/apt.list PIP_CONFIG_FILE=/sources/pip.conf PIP_CACHE_DIR=/root/.cache/pip
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    if [ ! -x /usr/local/bin/python3 ]; then set -- python3-dev python3-venv; fi \
 && /sources/install-os.sh gcc libc6-dev libcrypt-dev libpcre2-dev libssl-dev "$@" \
 && python3 -m venv /opt/venv


# --- The generator of the SBOM, which is in no layer of the image.
FROM compiler AS sbom
COPY sbom /sbom
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    --mount=type=cache,id=docker-flask-python,target=/root/.cache/pip \
    /sources/install-python.sh /sbom/requirements.lock --target /sbom/packages


# --- The packages of the application, from the lock file of any tool. The tool is in no layer of
# --- the image.
FROM compiler AS requirements
COPY requirements*.txt requirements.loc[k] pyproject.tom[l] uv.loc[k] poetry.loc[k] Pipfil[e] Pipfile.loc[k] /application/
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    --mount=type=cache,id=docker-flask-python,target=/root/.cache/pip \
    /sources/install-python.sh --export /application > /requirements.txt


# --- The virtual environment.
FROM compiler AS build
ARG APP_SERVER
# The same packages give the same files: uWSGI contains the date of SOURCE_DATE_EPOCH and no id of
# its build.
ENV UWSGI_PROFILE=/library.ini UWSGI_PYTHON_NOLIB=1 \
    SOURCE_DATE_EPOCH=315532800 LDFLAGS="-s -Wl,--build-id=none"
COPY docker_flask/requirements.lock docker_flask/servers/uwsgi/library.ini /
# The image's own packages are in a folder of their own: packages of the application come first, and
# pip can't remove what is outside of the virtual environment. Scripts in any folder can import
# `docker_flask` and the application; root's pip can't import the application.
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    --mount=type=cache,id=docker-flask-python,target=/root/.cache/pip \
    /sources/install-python.sh --own "$APP_SERVER" /requirements.lock --prefix /opt/docker-flask/packages \
 && printf '%s\n' /opt/docker-flask/packages/lib/python3*/site-packages /opt/docker-flask \
      'import os, sys; "DOCKER_FLASK_INSTALLS" in os.environ or sys.path.append("/app")' \
      > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/docker_flask.pth"
COPY docker_flask/servers/uwsgi/program.py /
# Check that uWSGI runs, and that its routes have regular expressions.
RUN if [ "$APP_SERVER" = uwsgi ]; then \
      bin=/opt/docker-flask/packages/bin && install -m 755 /program.py "$bin/uwsgi" \
      && "$bin/uwsgi" --python-version && "$bin/uwsgi" --version \
      && ldd "$bin/uwsgi.so" > /uwsgi.libraries && grep -q libpcre2 /uwsgi.libraries; \
    fi
COPY requirements_os.txt /
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    /sources/install-os.sh /requirements_os.txt
COPY --from=requirements /requirements.txt /
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    --mount=type=cache,id=docker-flask-python,target=/root/.cache/pip \
    /sources/install-python.sh /requirements.txt


# --- The application. The image's own sample, as long as its app.py is unchanged (.sample), goes
# --- where it is not among the files of an image that builds on this one: an empty /app serves the
# --- sample.
FROM ${BASE_IMAGE} AS application
WORKDIR /files
COPY app app
RUN if sha256sum --check --status app/.sample 2> /dev/null; then \
      mkdir -p /files/opt/docker-flask && mv /files/app /files/opt/docker-flask/sample && mkdir /files/app; \
    fi


# --- The image.
FROM ${BASE_IMAGE} AS runtime
LABEL org.opencontainers.image.title="docker-flask" \
      org.opencontainers.image.description="Runs a Flask application: nginx and uWSGI in production, Flask's own server in development" \
      org.opencontainers.image.licenses="MIT"

# Defaults of other variables than settings (docker_flask/plan/settings.py).
ENV PATH=/opt/docker-flask/docker_flask/cli/bin:/opt/venv/bin:/opt/docker-flask/packages/bin:$PATH \
    VIRTUAL_ENV=/opt/venv \
    # `uv sync` of an image that builds on this image installs into it, and not into /app/.venv.
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    LANG=C.UTF-8 \
    # Output of the application is in the log immediately.
    PYTHONUNBUFFERED=1 \
    # No command writes compiled files into a bind mount, not even root's `docker exec`. This costs
    # nothing: pip compiles packages when it installs them, and production can't write beside the
    # application's source. A folder for all compiled files (PYTHONPYCACHEPREFIX) would hide the
    # compiled files of packages, and every user could write code into it.
    PYTHONDONTWRITEBYTECODE=1

# libpcre2-8-0: for uWSGI's routes; python3-jinja2: renders nginx.conf, independent of the
# application's packages; tini: process 1 of a container that runs a command; tzdata-legacy: older
# names of time zones, such as US/Eastern, which Debian 12 has in tzdata. No program needs its
# setuid bit, because no program here changes users that way.
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    if ! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then set -- tzdata-legacy; fi \
 && APT_SOURCES=/sources/apt.list /sources/install-os.sh \
      libpcre2-8-0 nginx python3 python3-jinja2 tini "$@" \
 && rm -rf /var/www/html /etc/nginx/sites-enabled/default \
 # For snippets of images that build on this image, beside Debian's conf.d.
 && mkdir /etc/nginx/server.d /etc/nginx/location.d \
 # Their configurations send the log to these files.
 && ln -sf /dev/stdout /var/log/nginx/access.log \
 && ln -sf /dev/stderr /var/log/nginx/error.log \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 # The official images of Python have no compiled files, and nobody may write them later.
 && if [ -x /usr/local/bin/python3 ]; then \
      python3 -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib/python3*; \
    fi \
 && echo /opt/docker-flask > /usr/lib/python3/dist-packages/docker_flask.pth \
 && install -d -o www-data -g www-data -m 700 /run/docker-flask \
 # For data of the application; any user may write there, and delete only own files.
 && install -d -m 1777 /data \
 && nginx -v
COPY requirements_os.txt /opt/docker-flask/
RUN --mount=type=bind,from=sources,source=/sources,target=/sources \
    --mount=type=secret,id=ca \
    APT_SOURCES=/sources/apt.list /sources/install-os.sh /opt/docker-flask/requirements_os.txt

COPY --from=build /opt/docker-flask/packages /opt/docker-flask/packages
COPY --from=build /opt/venv /opt/venv
COPY --from=requirements /requirements.txt /opt/docker-flask/
COPY app.ini nginx.conf entry-point.sh /opt/docker-flask/
# After the packages, before the image's own code. Nothing else contains the version.
ARG VERSION=0.2.0
LABEL org.opencontainers.image.version="$VERSION"
RUN --mount=type=bind,from=sbom,source=/sbom,target=/sources \
    echo "$VERSION" > /opt/docker-flask/VERSION \
 && PYTHONPATH=/sources/packages python3 -S /sources/make.py \
      /opt/docker-flask/VERSION /opt/venv /opt/docker-flask/packages > /opt/docker-flask/sbom.json
COPY docker_flask /opt/docker-flask/docker_flask
# For the application's Python, and for process 1; before anything imports these modules, because
# the files that an import compiles have the time of the build in them.
RUN for python in python3 /usr/bin/python3; do \
      "$python" -m compileall -q --invalidation-mode unchecked-hash /opt/docker-flask/docker_flask || exit; \
    done \
 # No links: Python would take the script for the interpreter of /opt/venv.
 && ln -s "$(readlink -f /opt/venv/bin/python3)" /opt/docker-flask/python \
 && for name in /opt/venv/bin/python /opt/venv/bin/python3 /opt/venv/bin/python3.[0-9]*; do \
      cp --remove-destination /opt/docker-flask/docker_flask/cli/bin/python.sh "$name" || exit; \
    done \
 && python3 -m docker_flask.plan.mime_types > /opt/docker-flask/mime.types \
 && ln -s /opt/docker-flask/docker_flask/cli/bin/docker-flask /usr/local/bin/docker-flask \
 # Images that build on similar images start with these names.
 && ln -s /opt/docker-flask/entry-point.sh /entrypoint.sh \
 && ln -s /opt/docker-flask/entry-point.sh /start.sh \
 && docker-flask -h > /dev/null

ARG REVISION=unknown
LABEL org.opencontainers.image.revision="$REVISION"
RUN echo "$REVISION" > /opt/docker-flask/REVISION

WORKDIR /app
COPY --from=application /files /

# Without it, `--read-only --ipc none` would have no place to write, and `docker rm` would delete
# data. The price is a volume without a name for each container that has none at /data
# (docs/data.md).
VOLUME /data
EXPOSE 80 443 5000
# TERM drains the container, exit code 0 (docs/reliability.md).
STOPSIGNAL SIGTERM
# The command of `docker-flask health` without bash, because the health check is most of the work of
# an idle container. Like every command in a container, it starts as root, and leaves root first. A
# check lasts for half a minute, except for the first one (health.py).
HEALTHCHECK --interval=1s --timeout=40s --start-period=120s \
  CMD ["/usr/bin/python3", "-I", "-S", "/opt/docker-flask/docker_flask/cli/health.py", "--watch"]
ENTRYPOINT ["/opt/docker-flask/entry-point.sh"]


# --- The same image for those who refuse root at the start, too: docker build --target nonroot
# --- A number, because Kubernetes' runAsNonRoot can't look up names.
FROM runtime AS nonroot
USER 33:33


# --- What `docker build` builds.
FROM runtime
