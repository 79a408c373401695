"""Which models and replicas are there?"""
