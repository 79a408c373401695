"""Is the data of a job prepared, and do its ranks wait for it?"""
