"""A page with two callbacks, written as Dash's tutorial does."""

from dash import Dash, Input, Output, callback, dcc, html

app = Dash()
app.layout = html.Div(
    [
        dcc.Input(id="name", value="world"),
        html.Div(id="greeting"),
        dcc.Upload("a file", id="file"),
        html.Div(id="size"),
    ]
)


@callback(Output("greeting", "children"), Input("name", "value"))
def greet(name):
    return f"Hello {name}"


@callback(Output("size", "children"), Input("file", "contents"))
def measure(contents):
    return len(contents or "")


if __name__ == "__main__":
    app.run(debug=True)
