#!/bin/bash
# The container's entry point: handles the arguments and installs packages at the start, then
# docker_flask or the user's command replaces this process.
trap 'exit 143' TERM # first: without a handler, the kernel does not send the signal to process 1
trap 'exit 130' INT
set -Eeuo pipefail

readonly EXIT_USAGE=64       # EX_USAGE in sysexits.h
readonly EXIT_NOT_SERVING=70 # EX_SOFTWARE
readonly EXIT_INSTALL=69     # EX_UNAVAILABLE
readonly IMAGE_FILES=/opt/docker-flask
readonly VENV=/opt/venv
# Executes a command as a user: docker_flask/cli/execute.py.
readonly EXECUTE=(/usr/bin/python3 -I -S "$IMAGE_FILES/docker_flask/cli/execute.py")
readonly SERVICE_USER=www-data
readonly INSTALLED=/var/lib/docker-flask/installed

usage() {
  cat <<'TEXT'
docker-flask runs a Flask application, in one of two modes:

  docker run -d -p 8091:80 docker-flask
      production: nginx in front of uWSGI, on port 80
  docker run -it -p 5000:5000 -v "$PWD/app:/app" docker-flask -d debug
      development: Flask's own server with its debugger, on port 5000, reloaded at every edit

Options:
  -d debug    development mode
  -h          this text
  --version   the version of the image

Commands (docker run --rm docker-flask COMMAND, or docker exec CONTAINER docker-flask COMMAND):
  settings      print each setting, its value and the origin of the value
  nginx-config  print the configuration of nginx
  status        print what runs, who waits, and where (in a running container; --json, --watch)
  reload        load changed code without losing a request (in a running container)
  health        exit 0 when requests are being served (in a running container)
  run COMMAND   run a command as the application: its user, prestart.sh, its environment
  any other command runs unchanged: docker run --rm -it docker-flask bash

Settings are environment variables (docker run -e NAME=VALUE); docs/settings.md explains each.
TEXT
}

say() { printf 'docker-flask: %s\n' "${*//$'\n'/ }" >&2; }

fail() {
  say "${@:2}"
  exit "$1"
}

# Replace this shell. Signals stay blocked and pending until the program has its handlers: the
# kernel would drop a TERM for process 1 without a handler.
become() {
  exec /usr/bin/env --block-signal=TERM --block-signal=INT --block-signal=HUP "$@"
}

# A program of the image, which leaves root first.
become_python() {
  become /usr/bin/python3 -I -m docker_flask "$@"
}

# True if a mode runs in this container. Containers may share their processes, but not their cgroup.
runs_mode() {
  local folder words own
  own=$(</proc/self/cgroup)
  for folder in /proc/[0-9]*; do
    { mapfile -d '' words <"$folder/cmdline"; } 2>/dev/null || continue # it has ended
    [[ "${words[*]:1}" == "-I -m docker_flask "@(serve|debug) ]] || continue
    { [[ "$(<"$folder/cgroup")" != "$own" ]] || return 0; } 2>/dev/null
  done
  return 1
}

# A second mode would take the sockets of the first one.
check_alone() {
  ! runs_mode || fail "$EXIT_USAGE" \
    "this container runs in a mode already, so it takes settings, nginx-config, status, reload, health, run and other commands only;" \
    "start a second mode in a container of its own"
}

# True if this start must install packages: the first start, or the first one after an edit of the
# files.
install_wanted() {
  local word=${INSTALL_ON_START:-0}
  case "${word,,}" in
    1 | on | true | yes) ;;
    *) return 1 ;;
  esac
  [[ "$(requirements_sum)" != "$(cat "$INSTALLED" 2>/dev/null)" ]]
}

# Files only: a pipe or a device may have no end.
requirements_sum() {
  local file
  for file in "$IMAGE_FILES"/requirements*.txt requirements*.txt ./*.lock; do
    [[ ! -f $file ]] || cat "$file" || true
  done | sha256sum
}

# The application's user must not be able to name what root installs.
check_sources() {
  local found
  found=$(/usr/bin/python3 -I -S "$IMAGE_FILES/docker_flask/cli/install_sources.py")
  [[ -z $found ]] || fail "$EXIT_INSTALL" \
    "INSTALL_ON_START=1 installs as root, but $SERVICE_USER, the application's user, can write to $found;" \
    "change the owner or the mode (chown root, chmod go-w), or install the packages when you build the image"
}

# The image's files first, then the application's files, which may be in a bind mount.
install_requirements() {
  local folder
  [[ $EUID -eq 0 ]] || fail "$EXIT_INSTALL" \
    "INSTALL_ON_START=1 needs root, but this container runs as uid $EUID; install the packages when you build the image"
  check_sources
  for folder in "$IMAGE_FILES" "$PWD"; do
    if [[ -f $folder/requirements_os.txt ]]; then
      install_step "$IMAGE_FILES/docker_flask/install-os.sh" "$folder/requirements_os.txt"
    fi
    install_step "$IMAGE_FILES/docker_flask/install-python.sh" "$folder"
  done
  mkdir -p "${INSTALLED%/*}"
  requirements_sum >"$INSTALLED"
}

# Run a command that a stop signal can interrupt: bash runs traps only between commands, or while it
# waits for a background command.
install_step() {
  local code=0
  printf 'docker-flask: %s\n' "$*" >&2
  HOME=/root "$@" >&2 & # pip reads its configuration at home
  wait $! || code=$?
  [[ $code -eq 0 ]] || fail "$EXIT_INSTALL" \
    "INSTALL_ON_START=1: \"$*\" failed with code $code (the lines above show why); the application does not start"
}

install() {
  if install_wanted; then
    install_requirements
  fi
}

# The image's virtual environment may be a copy of another Python's, or not the first one in PATH.
check_venv() {
  local own=("$IMAGE_FILES"/packages/lib/python3*) found=("$VENV"/lib/python3*) folder folders
  [[ -x $VENV/bin/python && ${found[*]##*/} == "${own[*]##*/}" ]] || fail "$EXIT_NOT_SERVING" \
    "$VENV has packages for ${found[*]##*/} and the interpreter $(readlink -m "$VENV/bin/python"), but this image has" \
    "${own[*]##*/}: instead of a virtual environment, COPY requirements.txt, and RUN pip install -r requirements.txt"
  IFS=: read -ra folders <<<"$PATH"
  for folder in "${folders[@]}"; do
    [[ $folder == "$VENV/bin" || ! -f $folder/../pyvenv.cfg ]] ||
      say "the virtual environment ${folder%/*} in PATH is not used, the application runs in $VENV: remove" \
        "${folder%/*} from PATH, and install its packages into $VENV"
  done
}

# libpq and LibreOffice need an entry for the user. `sed` replaces the file, which fails, and must,
# if the file is the machine's: mounted.
name_owner() {
  local uid gid
  [[ $EUID -eq 0 ]] && read -r uid gid < <(stat -c '%u %g' . 2>/dev/null) || return 0
  if ! getent passwd "$uid" >/dev/null; then
    sed -i "\$ a uid$uid:x:$uid:$gid::/data/home:/bin/sh" /etc/passwd 2>/dev/null || true
  fi
}

# The application's Python, because .flaskenv needs its python-dotenv. where: "container" if the
# command is what the container runs, "inside" for `docker exec`.
run_command() {
  local where=$1
  [[ $# -gt 1 ]] ||
    fail "$EXIT_USAGE" "run needs a command, as in: docker-flask run flask db upgrade"
  [[ $where == inside ]] || install
  local before=(service /usr/bin/tini -s --)
  [[ $where == container ]] || before=(running)
  become "${EXECUTE[@]}" "${before[@]}" /opt/venv/bin/python -P -m docker_flask.cli.run "$@"
}

# A hint for Dockerfiles from tutorials, whose last line starts a server.
name_own_server() {
  local shell='(/bin/sh -c )?(exec )?' python='python[0-9.]* (-u )?'
  local server='(daphne|granian|gunicorn|hypercorn|uvicorn|uwsgi|waitress(-serve)?|flask( .*)? run)'
  local script='(\./|/app/)?((app|application|hello|main|run|server|wsgi)\.py|manage\.py runserver)'
  if [[ $* =~ ^$shell(($python-m )?$server|$python$script)( |$) ]]; then
    printf 'docker-flask: %s\n' \
      "running \"${*//$'\n'/ }\" without nginx and uWSGI; to let the image serve the application, remove CMD from the Dockerfile" >&2
  fi
}

main() {
  local where=container
  if [[ ${1-} == --inside ]]; then # cli/bin/docker-flask
    where=inside
    shift
  fi
  ! runs_mode || where=inside # by this program's other names, too
  case "${1-}" in
    "")
      check_alone
      install
      check_venv
      become_python serve
      ;;
    -h | --help) usage ;;
    --version) printf 'docker-flask %s (%s)\n' "$(<"$IMAGE_FILES/VERSION")" "$(<"$IMAGE_FILES/REVISION")" ;;
    -d)
      [[ "${2-}" == debug ]] ||
        fail "$EXIT_USAGE" "-d ${2:-without a value} is not allowed; the only mode is -d debug"
      [[ $# -eq 2 ]] || fail "$EXIT_USAGE" "unexpected argument \"$3\": -d debug takes no arguments"
      check_alone
      install
      check_venv
      name_owner
      become_python debug
      ;;
    -*) fail "$EXIT_USAGE" "unknown option \"$1\"; use -d debug, -h or --version" ;;
    # -S: the health check runs often, must be fast, and needs no packages.
    health) exec /usr/bin/python3 -I -S "$IMAGE_FILES/docker_flask/cli/health.py" ;;
    settings | nginx-config | reload | status) become_python "$@" ;;
    run) run_command "$where" "${@:2}" ;;
    # This program, as images that build on similar images start it.
    docker-flask | /start.sh | /entrypoint.sh) main "${@:2}" ;;
    *)
      [[ $where == container ]] || exec "${EXECUTE[@]}" running "$@"
      name_own_server "$@"
      become /usr/bin/tini -s -- "${EXECUTE[@]}" same "$@"
      ;;
  esac
}

main "$@"
