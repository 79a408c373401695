"""How does a request get to a replica, and its answer back?"""
