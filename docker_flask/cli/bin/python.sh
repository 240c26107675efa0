#!/bin/bash -p
# /opt/venv/bin/python: root leaves root before Python starts, because Python reads PYTHONPATH and
# /app before it reads any code of the image. The application may be able to write there.
if ((EUID == 0)); then
  exec /usr/bin/python3 -I -S /opt/docker-flask/docker_flask/cli/execute.py python "$0" "$@"
fi
if [[ ! -w /tmp && -z ${TMPDIR-} ]]; then # as name_user() of shared/drop_privileges.py does
  if [[ -w /dev/shm ]]; then export TMPDIR=/dev/shm; else export TMPDIR=/data; fi
fi
exec -a "$0" /opt/docker-flask/python "$@"
