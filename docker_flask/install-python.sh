#!/usr/bin/env bash
# Install Python packages; the Dockerfile uses this script, images that build on this image, and a
# start with INSTALL_ON_START=1.
#   install-python.sh FOLDER              install the packages of the application in this folder
#   install-python.sh FILE [OPTION...]    install the packages of a requirements file; pip's options
#   install-python.sh --own SERVER FILE [OPTION...]
#                                         install the image's own packages, with this server
#   install-python.sh --export FOLDER     print the application's packages as a requirements file
# The packages are those of uv.lock, poetry.lock or Pipfile.lock, else those of requirements.txt.
# pip enforces checksums if the file has any.
set -Eeuo pipefail

readonly CA=${CA_BUNDLE:-/run/secrets/ca} # certificate authorities of a proxy or mirror
readonly EXIT_BAD_FILES=78                # EX_CONFIG in sysexits.h
readonly LOCKS=(uv.lock poetry.lock Pipfile.lock)
readonly EXPORTED='# exported from a lock file, which names all packages'
# The tested versions of the tools, each of which exports its own lock file.
readonly UV=(uv==0.13.9)
readonly POETRY=(poetry==2.5.1 poetry-plugin-export==1.10.1)
readonly PIPENV=(pipenv==2026.10.3)

# Root imports nothing of the application's (docker_flask.pth).
export DOCKER_FLASK_INSTALLS=1
unset PYTHONPATH

say() { printf 'docker-flask: %s\n' "$*" >&2; }

run_pip() {
  local options=(--root-user-action=ignore --disable-pip-version-check --progress-bar off)
  # A cache outside of the image, if the caller has one: for each base, because compiled packages
  # need its libraries.
  if [[ -n ${PIP_CACHE_DIR-} ]]; then
    options+=(--cache-dir "$PIP_CACHE_DIR/$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)")
  else
    options+=(--no-cache-dir)
  fi
  [[ -z ${SOURCE_DATE_EPOCH-} ]] || options+=(--no-compile)
  [[ ! -r $CA || ! -s $CA ]] || export PIP_CERT=$CA
  pip install "${options[@]}" "$@"
}

# The same packages give the same files: a compiled file contains the date of its source. Some
# packages have files that can't be compiled; pip ignores them, too.
compile() {
  find /opt -name '*.py' -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
  python3 -m compileall -qq --invalidation-mode timestamp /opt || true
}

install() {
  # Resolved again, a plugin of the application would ask for the application itself.
  ! grep -qxF "$EXPORTED" "$1" || set -- "$@" --no-deps
  run_pip -r "$@" || return
  [[ -z ${SOURCE_DATE_EPOCH-} ]] || compile
}

# Install the image's own packages from their lock file, which names both application servers.
install_own() {
  local server=$1 other=gunicorn own
  case $server in
    uwsgi) ;;
    gunicorn) other=uwsgi ;;
    *)
      say "--build-arg APP_SERVER=$server is not allowed; use uwsgi or gunicorn"
      exit "$EXIT_BAD_FILES"
      ;;
  esac
  own=$(mktemp)
  sed "/^$other==/,/^ *# via/d" "$2" >"$own"
  install "$own" "${@:3}" || {
    [[ $server != uwsgi ]] || say "if uWSGI can't be compiled for $(python3 --version) (see above), build an image" \
      "without uWSGI: --build-arg APP_SERVER=gunicorn"
    exit 1
  }
  rm "$own"
}

# Print the name of the file that names the packages, nothing if there is no such file.
choose() {
  local name found=()
  for name in "${LOCKS[@]}"; do
    [[ ! -f $name ]] || found+=("$name")
  done
  if ((${#found[@]} > 1)); then
    say "${found[*]}: lock files of several tools are in $PWD; keep one of them"
    exit "$EXIT_BAD_FILES"
  fi
  if ((${#found[@]} == 1)); then
    [[ ! -f requirements.txt ]] || say "requirements.txt is ignored, because ${found[0]} names the packages"
    echo "${found[0]}"
  elif [[ -f requirements.txt ]]; then
    choose_requirements
  fi
}

# The first line of requirements.lock tells whether requirements.txt has changed since `make lock`.
choose_requirements() {
  local first='' checksum
  [[ ! -f requirements.lock ]] || read -r first <requirements.lock
  checksum=$(sha256sum <requirements.txt)
  if [[ $first == "# sha256 of requirements.txt: ${checksum%% *}" ]]; then
    echo requirements.lock
    return
  fi
  if [[ $first == "# sha256 of requirements.txt: "* ]]; then
    say "requirements.txt has changed since the last \"make lock\": requirements.lock is ignored;" \
      "run \"make lock\" to renew it"
  fi
  echo requirements.txt
}

# Print the packages that a file in this folder names, as a requirements file. uWSGI is the image's
# own package, and stays what it is.
print_packages() {
  case $1 in
    uv.lock) export_by export_uv "${UV[@]}" ;;
    poetry.lock) export_by export_poetry "${POETRY[@]}" ;;
    Pipfile.lock) export_by export_pipenv "${PIPENV[@]}" ;;
    # The result lies in another folder than the files that this file includes.
    *) utf8 "$1" | sed -E "s#^(-r|-c|--requirement|--constraint)[ =]*([^/:]+)\$#\1 $PWD/\2#" ;;
  esac | sed -E '/^uwsgi([^[:alnum:]._-]|$)/I { :more; /\\$/ { N; b more }; d }'
}

# Print a file; Windows' shell writes UTF-16, its editors a byte order mark.
utf8() {
  local reader=(cat)
  [[ $(head -c 2 "$1" | od -An -tx1) != ' ff fe' ]] || reader=(iconv -f UTF-16 -t UTF-8)
  "${reader[@]}" "$1" | sed $'1s/^\xef\xbb\xbf//'
}

export_uv() {
  local options=(--frozen --no-dev --no-emit-workspace --no-editable --no-header --no-annotate --quiet)
  own_index || options+=(--emit-index-url)
  UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never python3 -P -m uv export "${options[@]}"
}

export_poetry() {
  local options=(--no-interaction)
  ! own_index || options+=(--without-urls)
  python3 -P -m poetry export "${options[@]}"
}

export_pipenv() {
  local options=(--hash)
  ! own_index || options+=(--exclude-index)
  PIPENV_IGNORE_VIRTUALENVS=1 python3 -P -m pipenv requirements "${options[@]}"
}

# True if the build or the machine has chosen an index, which replaces those that a lock file names.
own_index() { [[ -n ${PIP_INDEX_URL-} ]] || pip config get global.index-url &>/dev/null; }

# Call a function that exports a lock file with packages, which are removed at the end. -P in the
# functions: modules in the application's folder must not replace the tool's modules.
export_by() {
  HOME=$SCRATCH run_pip --quiet --target "$SCRATCH/packages" "${@:2}" >&2
  echo "$EXPORTED"
  HOME=$SCRATCH PYTHONPATH=$SCRATCH/packages "$1"
}

main() {
  if [[ $1 == --own ]]; then
    install_own "${@:2}"
    return
  fi
  if [[ -f $1 ]]; then
    install "$@"
    return
  fi
  SCRATCH=$(mktemp -d)
  trap 'rm -rf "$SCRATCH"' EXIT
  local exports='' file
  if [[ $1 == --export ]]; then
    exports=yes
    shift
  fi
  cd "$1"
  file=$(choose)
  [[ -n $file ]] || return 0
  print_packages "$file" >"$SCRATCH/requirements.txt"
  if [[ -n $exports ]]; then
    cat "$SCRATCH/requirements.txt"
  else
    say "installing the packages of $PWD/$file"
    install "$SCRATCH/requirements.txt"
  fi
}

main "$@"
