"""May a job begin?"""
