"""The command line's own error: a sentence for the person who typed the command."""


class Failure(Exception):
    """The command cannot do what was asked; `str(error)` is the one sentence to print.

    Args:
        sentence: what was expected, what was found, what to do.
        exit_code: what the process ends with.
    """

    def __init__(self, sentence: str, *, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
