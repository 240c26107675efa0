"""Neighbours of a word: its vectors are loaded at import, as a model is, and take 140 MB."""

import numpy
from flask import Flask

app = Flask(__name__)
VECTORS = numpy.random.default_rng(1).standard_normal((90_000, 400), dtype=numpy.float32)


@app.get("/")
def page():
    return "Neighbours\n"


@app.get("/neighbours/<int:word>")
def neighbours(word):
    return {"nearest": int(numpy.argmax(VECTORS @ VECTORS[word]))}
