"""Whose key is it?"""
