"""Makes a corpus of tokens in advance, in parallel: filter, remove duplicates, tokenise, shard."""
