from . import app
from .models import greeting


@app.route('/')
def index():
    return greeting('package')
