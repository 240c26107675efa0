#!/usr/bin/env bash
# Orders a certificate, or renews it, by uacme: https://github.com/ndilieto/uacme.
#   acme.sh order FOLDER DIRECTORY ACCOUNT ORDER -- NAME...
# FOLDER: for the keys and the certificate. DIRECTORY: the authority's address. ACCOUNT, ORDER:
# words with further options and arguments of uacme. EAB, a variable: the number and the key of an
# account at the authority. uacme also calls this file as its hook.
set -Eeuo pipefail

readonly EXIT_BUSY=3 # another container with this folder orders

# For HTTP-01: a file that the authority reads from nginx. Another type of challenge: "no".
hook() {
  local method=$1 type=$2 token=$4 content=$5
  [[ $type == http-01 && $token =~ ^[A-Za-z0-9_-]+$ ]] || return 1
  case $method in
    begin) printf '%s' "$content" >"$CHALLENGES/$token" ;;
    *) rm -f "$CHALLENGES/$token" ;;
  esac
}

order() {
  local folder=$1 account order uacme
  read -ra account <<<"$3"
  read -ra order <<<"$4"
  uacme=(uacme -c "$folder" -a "$2" -h "$0" -y)
  shift 5
  mkdir -p "$folder" "$CHALLENGES"
  exec {lock}>"$folder/lock"
  flock -n -E "$EXIT_BUSY" "$lock"
  # What a full disk has left; uacme would never replace it.
  find "$folder" -name '*.pem' -empty -delete
  if [[ ! -e $folder/account ]]; then
    # uacme takes the key on its command line only: once, for a second.
    "${uacme[@]}" ${EAB:+-e "$EAB"} "${account[@]}"
    touch "$folder/account"
  fi
  exec "${uacme[@]}" "${order[@]}" issue "$@"
}

main() {
  umask 077
  case $1 in
    order) order "${@:2}" ;;
    *) hook "$@" ;;
  esac
}

main "$@"
