"""The validation loss: of pictures that are held out, at the same timesteps and noise each time."""
