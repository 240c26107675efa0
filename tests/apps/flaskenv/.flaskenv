# As the tutorial has it: flask run needs no more.
FLASK_APP=hello.py
FLASK_DEBUG=1
GREETING="Hello from a file"
NAME=World
