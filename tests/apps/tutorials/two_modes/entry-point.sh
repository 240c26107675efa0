#!/bin/bash
if [ "$1" = "-d" ] && [ "$2" = "debug" ]; then
  cd /app && python3 app.py
else
  nginx
  uwsgi --ini /app.ini
fi
