"""The process around the application inside its server."""

import sys

# uWSGI puts the application's folder first. This room needs the modules of the standard library,
# whatever the application calls its own; find_app.load() adds the folder again.
sys.path[:] = [path for path in sys.path if path not in ("", ".")]
