"""A page in the browser: drop a photo, see how a trained model segments it, and with what confidence.

``make demo`` serves it, or ``python -m seglib.demo --models FOLDER`` where Gradio is installed. The page is served to
this machine alone and asks no other for anything.

What is kept of a photo: its file is deleted once it is read. The pixels and the files that the page shows and offers
stay until the next photo replaces them, or for about an hour; everything is gone when the server ends. Only a server
that is killed (SIGKILL) leaves its temporary folder behind.
"""
