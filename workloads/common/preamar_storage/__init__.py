"""What both images do alike with object stores, mounted Secrets and disks. A copy is in each."""
