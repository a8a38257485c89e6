"""The one exception for what a user can mend: it is shown as a line, without a traceback."""


class UserError(ValueError):
    """Says what was given, what was expected and what to do."""
