"""Prints the types that Python knows as nginx's `types`, because Flask uses Python's types.

The build of the image runs it: `python3 -m docker_flask.plan.mime_types > mime.types`.
"""

import mimetypes


def main() -> None:
    """Print nginx's block `types`."""
    mimetypes.init()
    print("types {")
    for extension, name in sorted(mimetypes.types_map.items()):
        if extension == extension.lower():  # nginx ignores the case
            print(f"    {name} {extension[1:]};")
    print("}")


if __name__ == "__main__":
    main()
