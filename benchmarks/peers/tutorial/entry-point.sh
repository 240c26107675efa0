#!/bin/bash
nginx && uwsgi --ini /etc/flask/app.ini
