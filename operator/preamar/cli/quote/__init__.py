"""What will a training job need, before it runs?"""
