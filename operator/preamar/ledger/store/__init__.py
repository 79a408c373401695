"""Where are rows kept, and how do they get there?"""
