"""The one exception for what a user can mend."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A value that the user gave cannot be used.

    The message names the value, what is allowed and the way out, in one sentence that
    a command line can print as it is. Bugs raise other exceptions, with a traceback.
    """
