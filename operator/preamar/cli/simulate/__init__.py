"""What would each rule of scaling have done with a recorded load? See ``preamar simulate``."""
