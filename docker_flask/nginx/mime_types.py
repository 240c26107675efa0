"""Prints the types that Python knows as nginx's `types`, because Flask uses Python's types.

The build of the image runs it: `python3 -m docker_flask.nginx.mime_types > mime.types`.
"""

import mimetypes
from collections import defaultdict


def main() -> None:
    """Print nginx's block `types`."""
    mimetypes.init()
    extensions: dict[str, set[str]] = defaultdict(set)
    for extension, name in sorted(mimetypes.types_map.items()):
        if extension == extension.lower():  # nginx ignores the case
            extensions[name].add(extension[1:])
    print("types {")
    for name, known in extensions.items():
        print(f"    {name} {' '.join(sorted(known))};")
    print("}")


if __name__ == "__main__":
    main()
