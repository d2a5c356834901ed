"""One rung a file: what is known of how a reference went into the mixture, from the audio."""
