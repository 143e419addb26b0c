"""``python -m seglib.demo``: serves the page to this machine."""

from seglib.demo.app import main

if __name__ == "__main__":
    main()
