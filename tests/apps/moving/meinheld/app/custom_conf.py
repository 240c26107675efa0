bind = "0.0.0.0:8080"
timeout = 2
keepalive = 120
