"""The loss checker counts what happens to every request while a container is stopped or broken.

client.py    sends numbered requests, and never retries
exchange.py  one request over HTTP/1.1, and the verdict on it
http2.py     the same over HTTP/2
channel.py   their connection, with TLS or without
response.py  reads an HTTP/1.1 response and knows whether all of it arrived
result.py    verdicts, and the list of them that one load leaves behind
app.py       the application under load: notes each id at its start and at its end
record.py    joins the two: what was begun, what was lost, what ran twice
"""
