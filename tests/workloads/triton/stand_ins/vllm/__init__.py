"""In the place of vLLM, which needs a GPU: the names that we use of it, and an answer that anyone can
foresee. A word of the prompt is a token; the answer is the prompt's words again and again.
"""
