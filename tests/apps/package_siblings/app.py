from flask import Flask

from models import get_books

app = Flask(__name__)


@app.route('/books')
def books():
    return get_books()


if __name__ == '__main__':
    app.run(debug=True)
