#!/usr/bin/env bash
# Install Debian/Ubuntu packages; the Dockerfile uses this script, and a start with
# INSTALL_ON_START=1.
#   install-os.sh FILE_OR_PACKAGE...
# A file contains names, separated by spaces or newlines, and comments after a #. Editors of Windows
# put a byte order mark before them.
set -Eeuo pipefail

readonly MIRROR=${APT_SOURCES:-}          # a sources.list to use instead of the system's
readonly CA=${CA_BUNDLE:-/run/secrets/ca} # certificate authorities of a proxy or mirror

names() {
  local source
  for source in "$@"; do
    if [[ -f $source ]]; then
      sed $'1s/^\xef\xbb\xbf//; s/#.*//' "$source"
    else
      printf '%s\n' "$source"
    fi
  done | tr -s ' \t\r' '\n' | sed '/^$/d'
}

apt() {
  local options=(-o Acquire::Retries=3 -o DPkg::Lock::Timeout=60)
  if [[ -n $MIRROR && -s $MIRROR ]]; then
    options+=(-o "Dir::Etc::SourceList=$MIRROR" -o Dir::Etc::SourceParts=/dev/null)
  fi
  if [[ -r $CA && -s $CA ]]; then
    options+=(-o "Acquire::https::CAInfo=$CA")
  fi
  DEBIAN_FRONTEND=noninteractive apt-get -q "${options[@]}" "$@"
}

main() {
  local packages
  mapfile -t packages < <(names "$@")
  [[ ${#packages[@]} -gt 0 ]] || return 0
  local package
  for package in "${packages[@]}"; do
    # apt would remove the package of this name.
    if [[ $package == *- ]]; then
      printf 'docker-flask: "%s" is not the name of a package: remove the last "-"\n' "$package" >&2
      exit 78 # EX_CONFIG in sysexits.h
    fi
  done
  apt update
  apt install -y --no-install-recommends -- "${packages[@]}" # a word of a file is never an option
  # Beside logs and lists, ldconfig's cache: it has the times at which files were installed.
  rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old \
    /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
}

main "$@"
