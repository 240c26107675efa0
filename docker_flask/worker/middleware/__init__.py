"""The way of a request through a worker; chain.py shows the order."""
