"""From the user's text to the n-th sample: documents, tokens, order."""
