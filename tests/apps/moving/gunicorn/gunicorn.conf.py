import os

bind = "0.0.0.0:8000"
workers = 3
threads = 2
timeout = 2
graceful_timeout = 5
max_requests = 1000
preload_app = True
forwarded_allow_ips = "*"
accesslog = "-"


def post_fork(server, worker):
    os.environ["GREETING"] = "hooked"
