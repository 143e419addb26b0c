"""A page in the browser: a network names the pixels of a photo, or segments the object that one clicks on.

``make demo`` serves it, or ``python -m seglib.demo --models FOLDER`` where Gradio is installed. The page is served to
this machine alone and asks no other for anything; GRADIO_SERVER_PORT chooses its port.

What is kept of a photo: its file is deleted once it is read. The pixels and the files that the page shows and offers
stay until the next photo replaces them, or for about an hour; everything is gone when the server ends. Only a server
that is killed (SIGKILL) leaves its temporary folder behind.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of the processor, not of the photo
