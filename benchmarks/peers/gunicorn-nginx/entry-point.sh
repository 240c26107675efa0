#!/bin/bash
nginx && exec gunicorn -b unix:/run/app.sock app:app
