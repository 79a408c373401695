"""What is the operator told, and do the engines agree?"""
