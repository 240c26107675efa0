from flask import Flask

from blog.views import blog
from helpers.text import shout

app = Flask(__name__)
app.register_blueprint(blog, url_prefix='/blog')


@app.route('/')
def index():
    return shout('hello')


if __name__ == '__main__':
    app.run()
