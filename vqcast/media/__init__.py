"""Video files: probing, decoding, encoding, by ffmpeg and decord."""
