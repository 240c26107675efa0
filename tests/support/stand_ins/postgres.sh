#!/usr/bin/env bash
# The first start makes the database, with a server that has only a socket.
set -Eeuo pipefail

main() {
  if [[ ! -s $PGDATA/PG_VERSION ]]; then
    initdb --username="$POSTGRES_USER" --pwfile="${POSTGRES_PASSWORD_FILE:-/dev/stdin}" \
      --auth-local=trust --auth-host=scram-sha-256 <<<"${POSTGRES_PASSWORD-}"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl start --wait --options="-c listen_addresses=''"
    createdb --username="$POSTGRES_USER" "$POSTGRES_USER"
    pg_ctl stop --wait
  fi
  exec postgres -c listen_addresses='*'
}

main "$@"
