from flask import Flask


def create_app(config=None):
    app = Flask(__name__)
    app.config['GREETING'] = 'Hello'
    if config:
        app.config.update(config)

    @app.route('/')
    def index():
        return f"{app.config['GREETING']} from a factory!"

    return app


if __name__ == '__main__':
    create_app().run(debug=True)
