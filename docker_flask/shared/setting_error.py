"""The error of a setting that is not allowed, and values in its words."""

EXIT_BAD_SETTING = 78  # EX_CONFIG in sysexits.h


class SettingError(ValueError):
    """A bad setting; the message says which setting, why, and which values are allowed."""

    code = EXIT_BAD_SETTING


def shown(text: str) -> str:
    """A value for a line of the log: quoted, and cut if it is long."""
    if len(text) <= 500:
        return repr(text)
    return f"{text[:100]!r}... ({len(text)} characters)"
