"""What does Prometheus get?"""
