"""One file per format that a picture is written in."""
