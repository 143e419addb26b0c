"""How the exercises check an answer: what is wrong in one sentence, and no stack trace for it.

A check cell says ``with check("name"):`` and asserts, with messages of the form ``"What is wrong. What to do"``. For
Jupyter and nbgrader a refused answer is a cell that failed; other errors of an answer keep Python's own traceback.
"""

import contextlib
import sys


class Refused(AssertionError):
    """An answer is not right yet. IPython shows the message alone, without a stack trace."""

    def _render_traceback_(self):  # IPython looks for this name
        return [str(self)]


@contextlib.contextmanager
def check(name):
    """Checks the answer called ``name``: a function, or a variable, of the cell above.

    Within it, what is written to stderr (warnings, progress bars) goes to stdout, as nbgrader gives no points to a
    check cell that wrote to stderr.

    Raises:
        Refused: the answer is missing, or not written yet, or an assertion with a message failed.

    Example:
        >>> with check("half"):
        ...     assert 4 / 2 == 2, "It is too small. Divide by 2"
        half: passed
    """
    try:
        with contextlib.redirect_stderr(sys.stdout):
            yield
    except NotImplementedError as error:
        if error.args:  # not the starter's
            raise
        what = "not written yet: replace the line `raise NotImplementedError()` in the cell above, run that cell"
        raise Refused(f"{name} is {what}, then this one again") from None
    except NameError as error:
        if error.name != name:
            raise
        raise Refused(f"{name} is not defined: run the cell above, then this one again") from None
    except AssertionError as error:
        if not error.args:
            raise
        raise Refused(f"{name}: {error}") from None
    print(f"{name}: passed")
