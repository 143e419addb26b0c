"""A figure of a notebook that is drawn again in its place."""

import matplotlib.pyplot as plt


class Live:
    """Shows the newest figure where the one before stood, in a notebook; elsewhere it shows nothing."""

    def __init__(self):
        self._handle = None

    def show(self, draw, *args):
        """Calls ``draw(*args)``, which leaves a figure as the functions of ``viz`` do, and shows it."""
        from IPython import display, get_ipython

        if get_ipython() is None:
            return
        draw(*args)
        figure = plt.gcf()
        if self._handle is None:
            self._handle = display.display(figure, display_id=True)
        else:
            self._handle.update(figure)
        plt.close(figure)  # else the notebook shows it again when the cell ends
